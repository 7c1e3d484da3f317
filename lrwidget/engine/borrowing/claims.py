"""One sweep or run at a time on one model: the second is refused before it touches anything."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

from torch import nn

from lrwidget.engine.borrowing.interrupts import InterruptShield
from lrwidget.engine.errors import BusyError

BUSY = """Got a request to {wanted} a {thing} that another {running} has at this moment; expected one at a time. Wait
until that has ended, or stop it."""

_lock = threading.Lock()
_held: dict[int, str] = {}


class claimed:
    """A context in which nobody else may sweep or train the things named, nor others that share their parameters.

    Args:
        things: models and optimizers.
        what: "sweep" or "run", for the message to whoever comes second.

    Raises:
        BusyError: on entering, when one of them is claimed.
    """

    def __init__(self, things: Iterable[Any], what: str) -> None:
        self._things = [thing for thing in things if thing is not None]
        self._what = what
        self._keys: set[int] = set()

    @staticmethod
    def shield(*guarded: Callable[..., Any]) -> InterruptShield:
        """What to enter first: keeps Ctrl-C out of the claiming, the letting go, and the `guarded` functions."""
        return InterruptShield(claimed.__enter__, claimed.__exit__, *guarded)

    def __enter__(self) -> Self:
        keys = {id(thing): thing for thing in self._things}
        for thing in self._things:
            # A compiled or a DDP-wrapped model is another object with the same parameters.
            parameters = list(thing.parameters()) if isinstance(thing, nn.Module) else []
            keys.update((id(parameter), thing) for parameter in parameters)
        with _lock:
            for key, thing in keys.items():
                if key in _held:
                    wanted = "train" if self._what == "run" else self._what
                    raise BusyError(BUSY.format(wanted=wanted, thing=type(thing).__name__, running=_held[key]))
            self._keys = set(keys)
            _held.update(dict.fromkeys(keys, self._what))
        return self

    def __exit__(self, *_: object) -> None:
        keys, self._keys = self._keys, set()
        with _lock:
            for key in keys:
                _held.pop(key, None)
