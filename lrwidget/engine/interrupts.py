"""Ctrl-C, or the death of a loader's worker, while something is borrowed: it ends the work, never the giving back."""

import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Self

from torch.utils.data._utils import signal_handling

Handler = Callable[[int, FrameType | None], object]

RAISING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGCHLD") if hasattr(signal, name))
"""Signals whose handlers raise wherever the program is: Ctrl-C; and torch's for the end of a loader's worker."""


class InterruptShield:
    """Keeps Ctrl-C waiting while any of the `guarded` functions is on the stack; lets it through at any other moment.

    A Ctrl-C that waits is raised when the shield is lifted, unless an exception is on its way already: an impatient
    second and third cannot break into the clean-up that the first one set off. To look at the stack, rather than at a
    flag that the clean-up sets, leaves no gap between the last line of a `with` body and the first of its `__exit__`.

    The error that torch raises when a worker of a loader has died is kept out likewise, and dropped: whoever asks
    that loader for a batch hears of it again.

    Signals reach only Python's main thread; elsewhere raising and lifting do nothing. So do they for a signal that the
    process ignores, or that a handler has which is not Python's.

    Args:
        *guarded: functions, of which `__enter__` and `__exit__` of the contexts inside are the usual ones.
    """

    def __init__(self, *guarded: Callable[..., Any]) -> None:
        own = (InterruptShield.__enter__, InterruptShield.__exit__)
        self._guarded = frozenset(function.__code__ for function in (*guarded, *own))
        self._previous: dict[int, Handler] = {}
        self.pending = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in RAISING:
                previous = signal.getsignal(signum)
                if callable(previous) and not isinstance(previous, signal.Handlers):
                    self._previous[signum] = previous
                    signal.signal(signum, self._on_signal)
            if self.pending:
                self.__exit__(None)
        return self

    def __exit__(self, exc_type: object, *_: object) -> None:
        """Put the former handlers back; a Ctrl-C that was kept is raised now unless an exception is on its way."""
        previous, self._previous = self._previous, {}
        for signum, handler in previous.items():
            # `==`: a bound method is a new object at every look. Another handler is somebody else's by now: it stays.
            if signal.getsignal(signum) == self._on_signal:
                signal.signal(signum, handler)
        pending, self.pending = self.pending, False
        if pending and exc_type is None:
            raise KeyboardInterrupt

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._on_stack(frame):
            self.pending = self.pending or signum == signal.SIGINT
        elif signum in self._previous:
            self._previous[signum](signum, frame)

    def _on_stack(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code in self._guarded:
                return True
            frame = frame.f_back
        return False


def expect_workers(loaders: Iterable[Any]) -> None:
    """Let torch set its handler for the end of workers now, if these loaders will have some.

    It does so anyway when the first of them starts. But that is inside of a shield, which would not know of it.
    """
    if any(getattr(loader, "num_workers", 0) for loader in loaders):
        signal_handling._set_SIGCHLD_handler()
