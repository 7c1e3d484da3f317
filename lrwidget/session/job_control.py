"""The one job of a session: whose turn it is, how it is started, paused and stopped, and what is shown of that."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lrwidget.engine.errors import BusyError, InputError
from lrwidget.session.jobs import Job, Launcher, Turn, run_inline
from lrwidget.session.messages import failure
from lrwidget.session.screen import WATCHER_FAILED, Changes, Screen
from lrwidget.state import Phase

T = TypeVar("T")

CANNOT_PAUSE = (
    "expected one from another thread, as a button's, because nothing here could end it. Call stop() instead."
)

BUSY = """Got a request for a {wanted} while a {running} has the model; expected one at a time. Wait for it, or stop it
first (w.stop(), or the Stop button)."""

BUSY_ELSEWHERE = """Got a request for a {wanted} while another widget's {running} is under way; expected one at a time,
because they share the random generators and maybe the model. Wait for that one, or stop it first."""

AT_REST = {"stopping": False, "paused": False, "validating": False}
"""What the state shows of a job that nothing has been asked of, and that takes steps if it runs."""

log = logging.getLogger(__name__)

turn = Turn()
"""One job at a time in this process."""


class JobControl:
    """Starts jobs one at a time, passes on what is asked of them, and shows who has the model.

    Args:
        screen: where it is shown.
        launch: runs a job: inline or on a thread.

    Attributes:
        job: the last one that was started, whether it runs or is over.
    """

    def __init__(self, screen: Screen, launch: Launcher[Any]) -> None:
        self.job: Job[Any] | None = None
        self._screen = screen
        self._launch = launch

    def start(self, job: Job[T], shown: Changes, end: Callable[..., object]) -> Job[T]:
        """Show that a job starts, and launch it; when that fails, nothing has changed.

        Args:
            job: calls `end` itself once it has begun.
            shown: what the state shows of it from now on.
            end: called as `end(job, **changes)` when it could not begin.

        Raises:
            BusyError: another one runs.
        """
        self._take_turn(job)
        before = {name: getattr(self._screen.state, name) for name in shown if name != "phase"}
        try:
            self.job = job
            self._screen.show(**shown, **AT_REST)
            self._launch(job)
        except BaseException as error:
            if job.abandon(error):
                end(job, **{**before, "message": f"Not started: {failure(error)}"})
            raise
        return job

    def end(self, job: Job[Any], settle: Callable[[], object], changes: Changes) -> None:
        """The last word of a job: its result and, after that and unthrottled, that the model is the user's again.

        Args:
            job: the one that ends.
            settle: what else follows from its result, before the model is the user's.
            changes: what the state shows of its result.
        """
        job.told_at = time.monotonic()
        with self._screen.lock:
            try:
                self._screen.show(**{**changes, "progress": None})
                settle()
            except Exception:
                log.exception(WATCHER_FAILED)
            finally:
                # In any case: what says for ever that it is busy cannot be used again.
                turn.give_back(job)
                self._screen.show(phase=Phase.IDLE, **AT_REST)

    def between_jobs(self, name: str, work: Callable[[], T]) -> T:
        """Do something short with the model, here and now, in a turn of its own.

        Raises:
            BusyError: a job runs.
        """
        job = Job(name, lambda job: work())
        self._take_turn(job)
        try:
            run_inline(job)
        finally:
            turn.give_back(job)
        return job.wait()

    def pause(self) -> None:
        """Ask the running job to wait at its next step boundary, and keep the model; without one, nothing happens.

        Raises:
            InputError: the job runs in the calling thread, where nothing could end the pause.
        """
        job = self.job
        if job is None or not job.running:
            return
        try:
            job.pause()
        except RuntimeError as error:
            raise InputError(f"Got a pause from inside the running {job.name}; {CANNOT_PAUSE}") from error
        state = self._screen.state
        with self._screen.lock:
            # It may have ended since, and said so, or another may have begun.
            if self.job is job and state.phase is not Phase.IDLE and not state.stopping:
                self._screen.show(paused=True, message=f"The {job.name} is paused, and still has the model.")

    def resume(self) -> None:
        """Let a paused job go on; without one, nothing happens."""
        job, state = self.job, self._screen.state
        if job is None or not state.paused:
            return
        job.resume()
        with self._screen.lock:
            if state.paused:
                self._screen.show(paused=False, message=f"The {job.name} goes on.")

    def stop(self, *, interrupted: bool = False) -> None:
        """Ask the running job to end at its next step boundary; without one, nothing happens."""
        job, state = self.job, self._screen.state
        if job is not None and job.running:
            job.stop(interrupted=interrupted)
            with self._screen.lock:
                if self.job is job and state.phase is not Phase.IDLE:  # and no other, begun since
                    self._screen.show(stopping=True, message=f"The {job.name} ends after the current step.")

    def let_go(self, forget: Callable[[], object]) -> None:
        """Forget the job, and whatever else there is to be forgotten, as soon as it has given the model back."""

        def forget_all() -> None:
            forget()
            self.job = None

        if self.job is None:
            forget_all()
        else:
            self.job.when_over(forget_all)

    def _take_turn(self, job: Job[Any]) -> None:
        running = turn.take(job)
        if running is not None:
            text = BUSY if running is self.job else BUSY_ELSEWHERE
            raise BusyError(text.format(wanted=job.name, running=running.name))
