"""A job has the model while it runs: on a worker thread where a screen must stay alive, inline everywhere else."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

PAUSE_S = 0.02
"""Seconds between two looks at whether a pause is over: a hand does not feel it, and a processor neither."""


class Job(Generic[T]):
    """Work that can be asked to stop and be waited for; made and started once.

    Args:
        name: what it is, for messages: "sweep", "run".
        work: gets the job, asks `job.should_stop()` at every step boundary, returns the result.

    Attributes:
        interrupted: whether it was the interrupt key that stopped it.
        seconds_paused: how long it has waited in pauses that are over.
        told_at: when what came of it is shown, a moment before it is over, by `time.monotonic()`; None until then.
    """

    def __init__(self, name: str, work: Callable[["Job[T]"], T]) -> None:
        self.name = name
        self.interrupted = False
        self.told_at: float | None = None
        self._work = work
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._begun = False
        # Plain flags, not events: an interrupt may come while another one is being handled, and an event has a lock.
        self._stopping = False
        self._pausing = False
        self._thread: threading.Thread | None = None
        self.seconds_paused = 0.0
        self._over = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<{self.name}: {'running' if self.running else 'failed' if self._error else 'done'}>"

    @property
    def running(self) -> bool:
        """Whether it still has the model, or is about to get it."""
        return not self._over.is_set()

    @property
    def error(self) -> BaseException | None:
        """What it ended with, when it did not end well."""
        return self._error

    @property
    def pausing(self) -> bool:
        """Whether `should_stop` would wait."""
        return self._pausing and not self._stopping

    def should_stop(self) -> bool:
        """Whether it was asked to stop; cheap enough for every step. Returns when a pause is over."""
        if self._pausing:
            self._wait_out_the_pause()
        return self._stopping

    def pause(self) -> None:
        """Ask it to wait at the next step boundary, for `resume` or `stop`.

        Raises:
            RuntimeError: it runs on the calling thread, where nobody could end the pause.
        """
        if self._thread is threading.current_thread():
            raise RuntimeError(f"The {self.name} runs on this thread, which would wait for itself.")
        self._pausing = True

    def resume(self) -> None:
        """Go on after a pause; without one, nothing happens."""
        self._pausing = False

    def _wait_out_the_pause(self) -> None:
        began = time.monotonic()
        while self.pausing:
            time.sleep(PAUSE_S)
        self.seconds_paused += time.monotonic() - began

    def stop(self, *, interrupted: bool = False) -> None:
        """Ask it to end at the next step boundary. Returns at once, also in a signal handler; asking twice is no harm.

        Args:
            interrupted: it was the interrupt key, not a Stop button; only the wording of the ending differs.
        """
        self.interrupted = self.interrupted or interrupted
        self._stopping = True

    def wait(self, timeout: float | None = None) -> T:
        """Its result, when it is over.

        Raises:
            BaseException: what the job raised.
            TimeoutError: it was not over after `timeout` seconds.
        """
        if not self._over.wait(timeout):
            raise TimeoutError(f"The {self.name} was still running after {timeout} s.")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def when_over(self, callback: Callable[[], object]) -> None:
        """Call back as soon as the job is over, on its own thread; at once, and here, when it is over already."""
        with self._lock:
            if self.running:
                self._callbacks.append(callback)
                return
        callback()

    def execute(self) -> None:
        """Do the work on the calling thread and keep what comes of it. Called once, by a launcher."""
        if not self._begin():
            return
        self._thread = threading.current_thread()
        try:
            self._result = self._work(self)
        except BaseException as error:
            self._error = error
        finally:
            self._finish()

    def abandon(self, error: BaseException) -> bool:
        """End a job that never began, because what should have started it failed; False when it did begin."""
        if not self._begin():
            return False
        self._error = error
        self._finish()
        return True

    def _begin(self) -> bool:
        with self._lock:
            begun, self._begun = self._begun, True
        return not begun

    def _finish(self) -> None:
        with self._lock:
            self._over.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                log.exception("Something that waited for the %s failed.", self.name)


class Turn:
    """Whose turn it is: one job at a time in a process, whichever widget it belongs to.

    Two jobs would share the random generators, and quite possibly the model.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job[Any] | None = None

    def take(self, job: Job[Any]) -> Job[Any] | None:
        """Give the turn to a job; when another one has it, nothing happens and that one is returned."""
        with self._lock:
            if self._job is None:
                self._job = job
                return None
            return self._job

    def give_back(self, job: Job[Any]) -> None:
        """End a job's turn, if it has it."""
        with self._lock:
            if self._job is job:
                self._job = None


Launcher = Callable[[Job[T]], None]


def run_inline(job: Job[T]) -> None:
    """Do the job here and now; return when it is over. What it raised is raised here."""
    job.execute()
    if job.error is not None:
        raise job.error


def run_in_thread(job: Job[T]) -> None:
    """Start the job on a thread of its own and return at once; what it raises is kept for `wait()`."""
    threading.Thread(target=job.execute, name=f"lrwidget {job.name}", daemon=True).start()
