"""State to views: whatever is assigned to the state is drawn, once, soon, and without harm to who assigned it.

Only what streams while a job runs is throttled: the curve of a sweep, the history of a run, the progress. No timer
draws what was left out; the session does, by the promise that a job ends with `phase` going to idle, which draws
everything. All other changes are drawn at once (a marker limits its own rate while it is dragged, and always tells
where it was dropped).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lrwidget.ui.parts.view import STREAMED, View

if TYPE_CHECKING:
    from lrwidget.state import LRState

log = logging.getLogger(__name__)


class Binding:
    """Views that follow a state until `close`; made by `bind`."""

    def __init__(
        self,
        state: "LRState",
        views: Iterable[View],
        traits: Iterable[str] | None,
        refresh_s: float,
        clock: Callable[[], float],
        on_error: Callable[[Exception], object] | None,
    ) -> None:
        self._state = state
        self._followers = [Follower(view, clock, on_error) for view in views]
        self._refresh_s = refresh_s
        # Reentrant: an `on_error` that assigns to the state comes back here, in the same thread.
        self._lock = threading.RLock()
        watched = {name for follower in self._followers for name in follower.view.watches}
        self._names = sorted((watched if traits is None else set(traits)) | {"phase"})
        state.observe(self._changed, self._names)
        self.flush()

    def flush(self) -> None:
        """Draw what is not drawn yet, now."""
        with self._lock:
            for follower in self._followers:
                follower.draw(self._state)

    def redraw(self, view: View) -> None:
        """Draw a view once more, though nothing that it shows has changed."""
        with self._lock:
            for follower in self._followers:
                if follower.view is view:
                    follower.draw(self._state, again=True)

    def close(self) -> None:
        """Stop following; later changes draw nothing. Closing twice is fine."""
        with self._lock:
            if self._names:
                self._state.unobserve(self._changed, self._names)
            self._names, self._followers = [], []

    def _changed(self, change: Any) -> None:
        with self._lock:
            name = change["name"]
            # In a pause nothing streams: what still comes is how far the job is, until it goes on.
            if name in STREAMED.get(self._state.phase, ()) and not self._state.paused:
                for follower in self._followers:
                    if name in follower.view.watches:
                        follower.stream(self._state, self._refresh_s)
                return
            for follower in self._followers:
                # Whoever holds notifications back may have changed more than the phase: at its turn draw all there is.
                if name == "phase" or name in follower.view.watches:
                    follower.draw(self._state)


class Follower:
    """One view: what it has drawn, when, and how it failed."""

    def __init__(self, view: View, clock: Callable[[], float], on_error: Callable[[Exception], object] | None) -> None:
        self.view = view
        self._clock, self._on_error = clock, on_error
        self._drawn: tuple[Any, ...] | None = None
        self._drawn_at = -float("inf")
        self._failures: set[type[Exception]] = set()

    def draw(self, state: "LRState", *, again: bool = False) -> None:
        """Let the view render, unless it has drawn the same values and is not to do so again."""
        values = tuple(getattr(state, name) for name in self.view.watches)
        if again or values != self._drawn:
            self._drawn, self._drawn_at = values, self._clock()
            self._try(self.view.render, state)

    def stream(self, state: "LRState", refresh_s: float) -> None:
        """Let the view show what streams, unless it has drawn something within these seconds, or those it wants."""
        now = self._clock()
        if now - self._drawn_at >= max(refresh_s, self.view.refresh_s):
            self._drawn, self._drawn_at = None, now
            self._try(self.view.stream, state)

    def _try(self, draw: "Callable[[LRState], None]", state: "LRState") -> None:
        try:
            draw(state)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Tell of a failure once: a view that fails would do so at every step of a run."""
        if type(error) in self._failures:
            return
        self._failures.add(type(error))
        log.error("%s cannot draw; the rest goes on without it.", type(self.view).__name__, exc_info=error)
        if self._on_error is not None:
            self._on_error(error)


def bind(
    state: "LRState",
    views: Iterable[View],
    traits: Iterable[str] | None = None,
    *,
    refresh_s: float = 0.05,
    clock: Callable[[], float] = time.monotonic,
    on_error: Callable[[Exception], object] | None = None,
) -> Binding:
    """Draw the state in the views, now and whenever it changes.

    A view that raises is logged once for each kind of error, told to `on_error`, and asked again at the next change;
    whoever assigns to the state never sees its exception. Views are asked one at a time, in whichever thread assigns.

    Args:
        state: what is shown.
        views: what shows it, drawn in this order.
        traits: names to follow, beside `phase`; by default all that any view watches.
        refresh_s: shortest time between two redraws of a view for what a running job streams, in seconds; the default,
            0.05, bounds what a notebook server has to let through, and lets through all that the session's own pace,
            0.1, shows: a bound near that would leave out every other redraw.
        clock: seconds from any start; replaced in tests.
        on_error: called with the exception of a view that fails.
    """
    return Binding(state, views, traits, refresh_s, clock, on_error)
