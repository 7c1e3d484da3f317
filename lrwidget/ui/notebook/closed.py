"""What is left of a widget that was closed: its results, and one clear answer to everything else.

A notebook keeps what its cells have returned (`Out[3]`, `_`), closed widgets among them. They must not keep the user's
model, optimizer and data as well.
"""

from typing import TYPE_CHECKING, NoReturn, cast

from lrwidget.engine.errors import LRWidgetError

if TYPE_CHECKING:
    from lrwidget.session.session import Session
    from lrwidget.state import LRState

CLOSED = """Got a request to a widget that is closed: w.close() was called, or its cell has run again; expected an open
one. Attach again, with %lrfind or lrwidget.attach(...). Its results stay: w.curve, w.lrs, w.history."""


class Closed:
    """Takes the place of a session, and in the session that of the loop.

    Args:
        state: with the results.
    """

    job = None

    def __init__(self, state: "LRState") -> None:
        self.state = state

    def stop(self) -> None:
        """Nothing runs."""

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse everything else."""
        if name.startswith("__"):
            raise AttributeError(name)  # Python asks for these to find out what kind of thing it is
        raise LRWidgetError(CLOSED)


def let_go(session: "Session") -> "Session":
    """Let a session go of all that is the user's, as soon as its job has given it back; what takes its place."""
    if is_closed(session):
        return session
    closed = Closed(session.state)
    session.let_go(closed)
    return cast("Session", closed)


def is_closed(session: object) -> bool:
    """Whether this is what `let_go` has left."""
    return isinstance(session, Closed)


def check_open(session: object) -> None:
    """Check that a widget can still be shown.

    Raises:
        LRWidgetError: it is closed.
    """
    if is_closed(session):
        raise LRWidgetError(CLOSED)
