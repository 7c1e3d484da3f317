"""Ctrl-C, a batch system's signal, or the death of a loader's worker, while something is borrowed.

Each ends the work, if its handler raises, and never the giving back.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, Self

from torch.utils.data._utils import signal_handling

Handler = Callable[[int, FrameType | None], object]

SIGNALS = tuple(signal.valid_signals())  # asked once: to make the names of the numbers takes 70 µs
END_OF_WORKER = getattr(signal, "SIGCHLD", None)  # not on Windows


class InterruptShield:
    """Keeps signals waiting while any of the `guarded` functions is on the stack; lets them through at other moments.

    A Ctrl-C that waits is raised when the shield is lifted, unless an exception is on its way already: an impatient
    second and third cannot break into the clean-up that the first one set off. To look at the stack, rather than at a
    flag that the clean-up sets, leaves no gap between the last line of a `with` body and the first of its `__exit__`.

    Any other signal that has a handler in Python, which may raise just as well (SIGTERM that exits, an alarm, what a
    batch system sends before it kills), waits likewise; its handler is called when the shield is lifted, once.

    The error that torch raises when a worker of a loader has died is kept out too, and dropped: whoever asks that
    loader for a batch hears of it again.

    Signals reach only Python's main thread; elsewhere raising and lifting do nothing. So do they for a signal that the
    process ignores, or that a handler has which is not Python's.

    Args:
        *guarded: functions, of which `__enter__` and `__exit__` of the contexts inside are the usual ones.
    """

    def __init__(self, *guarded: Callable[..., Any]) -> None:
        own = (InterruptShield.__enter__, InterruptShield.__exit__)
        self._guarded = frozenset(function.__code__ for function in (*guarded, *own))
        self._previous: dict[int, Handler] = {}
        self.pending: list[int] = []
        """The signals that wait, each once."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            try:
                for signum in SIGNALS:
                    previous = signal.getsignal(signum)
                    if callable(previous) and not isinstance(previous, signal.Handlers):
                        self._previous[signum] = previous
                        signal.signal(signum, self._on_signal)
                self._deliver(self._previous)
            except BaseException as error:  # of a handler whose turn had not come yet, or of one that was called now
                self.__exit__(type(error))
                raise
        return self

    def __exit__(self, exc_type: object, *_: object) -> None:
        """Put the former handlers back; a Ctrl-C that was kept is raised now unless an exception is on its way."""
        handlers = dict(self._previous)
        try:
            self._lift()
        except BaseException:
            self._deliver(handlers, interrupt=False)
            raise
        self._deliver(handlers, interrupt=exc_type is None)

    def _lift(self) -> None:
        """Put the former handlers back; one that is called as soon as it is there cannot keep the others away."""
        try:
            while self._previous:
                signum, handler = next(iter(self._previous.items()))
                # `==`: a bound method is a new object at every look. Another handler is somebody else's by now: it
                # stays.
                if signal.getsignal(signum) == self._on_signal:
                    signal.signal(signum, handler)
                self._previous.pop(signum, None)
        except BaseException:
            self._lift()
            raise

    def _deliver(self, handlers: Mapping[int, Handler], *, interrupt: bool = True) -> None:
        """Call the handlers of the signals that wait, as if they had come to the code outside of all that is guarded.

        Args:
            handlers: the former ones.
            interrupt: whether a Ctrl-C is raised.
        """
        frame: FrameType | None = sys._getframe()
        while frame is not None and self._on_stack(frame):
            frame = frame.f_back
        while self.pending:
            signum = self.pending.pop(0)
            try:
                if signum != signal.SIGINT:
                    handlers[signum](signum, frame)
                elif interrupt:
                    raise KeyboardInterrupt
            except BaseException:
                self._deliver(handlers, interrupt=False)
                raise

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._on_stack(frame):
            if signum != END_OF_WORKER and signum not in self.pending:
                self.pending.append(signum)
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
