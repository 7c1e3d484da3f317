"""One job at a time: started, shown, paused, stopped, over."""

import threading
from typing import Any

import pytest

from lrwidget.engine.errors import BusyError, InputError
from lrwidget.session.job_control import JobControl
from lrwidget.session.jobs import Job, Launcher, run_in_thread, run_inline
from lrwidget.session.screen import Screen
from lrwidget.state import Phase
from tests.ui.states import a_state


class Waiting:
    """Work that takes steps until it is stopped, and then as long as its last step takes."""

    def __init__(self) -> None:
        self.begun, self.last_step = threading.Event(), threading.Event()
        self.last_step.set()

    def __call__(self, job: Job[Any]) -> str:
        self.begun.set()
        while not job.should_stop():
            pass
        assert self.last_step.wait(10)
        return "done"


def a_control(launch: Launcher[Any] = run_in_thread) -> tuple[JobControl, Screen]:
    screen = Screen(a_state())
    return JobControl(screen, launch), screen


def ending(control: JobControl, **told: Any) -> Any:
    """What a session does when a job ends."""

    def end(job: Job[Any], **changes: Any) -> None:
        control.end(job, lambda: None, {**told, **changes})

    return end


def started(control: JobControl, waiting: Waiting) -> Job[str]:
    def work(job: Job[str]) -> str:
        result = waiting(job)
        ending(control, message="over")(job)
        return result

    job = control.start(Job("run", work), {"phase": Phase.TRAINING, "message": "Training."}, ending(control))
    assert waiting.begun.wait(10)
    return job


def test_a_job_is_shown_from_its_start_to_its_end() -> None:
    control, screen = a_control()
    waiting = Waiting()
    waiting.last_step.clear()
    job = started(control, waiting)
    assert control.job is job and (screen.state.phase, screen.state.message) == (Phase.TRAINING, "Training.")
    control.stop()
    assert screen.state.stopping and screen.state.message == "The run ends after the current step."
    seen: list[tuple[Phase, bool]] = []
    screen.state.observe(lambda _: seen.append((screen.state.phase, screen.state.stopping)), ["phase", "stopping"])
    waiting.last_step.set()
    assert job.wait(10) == "done" and job.told_at is not None
    assert (screen.state.phase, screen.state.message, screen.state.stopping) == (Phase.IDLE, "over", False)
    assert (Phase.TRAINING, False) not in seen  # or Stop could be pressed once more


def test_while_one_runs_the_next_is_refused_and_so_is_one_of_somebody_else() -> None:
    control, _ = a_control()
    job = started(control, Waiting())
    other, theirs = a_control(run_inline)
    with pytest.raises(BusyError, match="request for a sweep while a run has the model"):
        control.start(Job("sweep", lambda job: None), {}, ending(control))
    with pytest.raises(BusyError, match="request for a split while a run has the model"):
        control.between_jobs("split", lambda: None)
    with pytest.raises(BusyError, match="another widget's run"):
        other.start(Job("sweep", lambda job: None), {"message": "?"}, ending(other))
    assert control.job is job and other.job is None and theirs.state.message == ""
    control.stop()
    job.wait(10)
    assert control.between_jobs("split", lambda: 5) == 5


def test_what_is_done_between_jobs_gives_its_turn_back_when_it_fails() -> None:
    control, _ = a_control()
    with pytest.raises(ZeroDivisionError):
        control.between_jobs("split", lambda: 1 // 0)
    assert control.between_jobs("split", lambda: 5) == 5 and control.job is None


def test_a_job_that_cannot_be_launched_leaves_what_was_shown() -> None:
    def no_thread(job: Job[Any]) -> None:
        raise RuntimeError("can't start new thread")

    control, screen = a_control(no_thread)
    screen.show(title="as it was")
    with pytest.raises(RuntimeError, match="can't start"):
        control.start(Job("run", lambda job: None), {"title": "new", "phase": Phase.TRAINING}, ending(control))
    assert (screen.state.title, screen.state.phase) == ("as it was", Phase.IDLE)
    assert screen.state.message == "Not started: RuntimeError: can't start new thread"


def test_what_fails_while_a_job_ends_leaves_nobody_busy(caplog: pytest.LogCaptureFixture) -> None:
    control, screen = a_control(run_inline)

    def work(job: Job[Any]) -> None:
        control.end(job, lambda: 1 // 0, {"message": "over"})

    control.start(Job("run", work), {"phase": Phase.TRAINING}, ending(control))
    assert screen.state.phase is Phase.IDLE and "ZeroDivisionError" in caplog.text
    assert control.between_jobs("split", lambda: 5) == 5


def test_a_pause_is_shown_until_it_is_over_and_refused_from_inside() -> None:
    control, screen = a_control()
    job = started(control, Waiting())
    control.pause()
    assert screen.state.paused and "paused" in screen.state.message
    control.resume()
    assert not screen.state.paused and "goes on" in screen.state.message
    control.stop()
    job.wait(10)
    inline, _ = a_control(run_inline)

    def work(job: Job[Any]) -> None:
        try:
            with pytest.raises(InputError, match=r"from inside the running run; .*Call stop\(\) instead"):
                inline.pause()
        finally:
            ending(inline)(job)

    inline.start(Job("run", work), {"phase": Phase.TRAINING}, ending(inline))


def test_a_job_is_let_go_of_when_it_is_over_and_not_before() -> None:
    control, _ = a_control()
    forgotten: list[bool] = []
    job = started(control, Waiting())
    control.let_go(lambda: forgotten.append(True))
    assert not forgotten and control.job is job
    over = threading.Event()
    job.when_over(over.set)
    control.stop()
    assert over.wait(10) and forgotten == [True] and control.job is None
    control.let_go(lambda: forgotten.append(True))
    assert len(forgotten) == 2, "at once, when there is none"
