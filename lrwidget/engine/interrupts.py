"""Ctrl-C while something is borrowed: it ends the work at once, but never the giving back."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class InterruptShield:
    """Keeps Ctrl-C waiting while any of the `guarded` functions is on the stack; lets it through at any other moment.

    A Ctrl-C that waits is raised when the shield is lifted, unless an exception is on its way already: an impatient
    second and third cannot break into the clean-up that the first one set off. To look at the stack, rather than at a
    flag that the clean-up sets, leaves no gap between the last line of a `with` body and the first of its `__exit__`.

    Signals reach only Python's main thread; elsewhere raising and lifting do nothing. So do they when the process
    ignores SIGINT, or a handler that is not Python's has it.
    """

    def __init__(self, *guarded: Callable[..., Any]) -> None:
        own = (InterruptShield.__enter__, InterruptShield.__exit__)
        self._guarded = frozenset(function.__code__ for function in (*guarded, *own))
        self._previous: Callable[[int, FrameType | None], object] | None = None
        self.pending = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGINT)
            if callable(previous) and not isinstance(previous, signal.Handlers):
                self._previous = previous
                signal.signal(signal.SIGINT, self._on_interrupt)
                if self.pending:
                    self.__exit__(None)
        return self

    def __exit__(self, exc_type: object, *_: object) -> None:
        """Put the former handler back; a Ctrl-C that was kept is raised now unless an exception is on its way."""
        previous, self._previous = self._previous, None
        # `==`: a bound method is a new object at every look. Another handler meanwhile is somebody else's: it stays.
        if previous is not None and signal.getsignal(signal.SIGINT) == self._on_interrupt:
            signal.signal(signal.SIGINT, previous)
        pending, self.pending = self.pending, False
        if pending and exc_type is None:
            raise KeyboardInterrupt

    def _on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._on_stack(frame):
            self.pending = True
        elif self._previous is not None:
            self._previous(signum, frame)

    def _on_stack(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code in self._guarded:
                return True
            frame = frame.f_back
        return False
