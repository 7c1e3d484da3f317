"""How often a running job is looked at, and what is said of its speed."""

import pytest

from lrwidget.session.jobs import Job
from lrwidget.session.pace import REFRESH_S, SCREEN_SHARE, SLOWEST_REFRESH_S, Pace


class Clock:
    """Time that goes by when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_job() -> Job[None]:
    return Job("sweep", lambda job: None)


def test_progress_counts_steps_and_tells_pace_and_time_left_without_the_pauses() -> None:
    times = iter([10.0, 25.0])
    job = Job("sweep", lambda job: None)
    job.seconds_paused = 5.0
    pace = Pace(50, lambda: next(times), job)
    progress = pace.progress(10, loss=1.5, lr=1e-3)
    assert (progress.step, progress.total, progress.loss, progress.lr) == (10, 50, 1.5, 1e-3)
    assert progress.steps_per_second == pytest.approx(1.0)
    assert progress.seconds_left == pytest.approx(40.0)


@pytest.mark.parametrize("to_draw", [0.0, 0.001, 0.004, 0.1])
def test_the_longer_it_takes_to_show_the_later_it_is_due_again(to_draw: float) -> None:
    clock = Clock()
    pace = Pace(100, clock, a_job())
    assert pace.due()
    clock.now += to_draw
    pace.shown()
    again = max(REFRESH_S, min(to_draw / SCREEN_SHARE, to_draw + SLOWEST_REFRESH_S))
    clock.now = 0.999 * again
    assert not pace.due()
    clock.now = 1.001 * again
    assert pace.due()


@pytest.mark.parametrize("step_s", [0.0004, 0.007, 0.03, 0.06, 0.09])
def test_it_is_due_ten_times_a_second_however_long_a_step_and_a_look_take(step_s: float) -> None:
    clock = Clock()
    pace = Pace(10**6, clock, a_job())
    looks = 0
    while clock.now < 20.0:
        if pace.due():
            looks += 1
            clock.now += 0.0015
            pace.shown()
        clock.now += step_s
    assert looks == pytest.approx(20 * 10, abs=2)


def test_what_a_pause_has_kept_from_being_shown_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(100, clock, a_job())
    assert pace.due()
    clock.now = 60.0
    assert pace.due()
    clock.now = 60.09
    assert not pace.due()
    clock.now = 60.11
    assert pace.due()


def test_before_the_first_step_there_is_no_speed_to_tell() -> None:
    progress = Pace(100, Clock(), a_job()).progress(0, loss=1.0, lr=1e-3)
    assert progress.steps_per_second is None and progress.seconds_left is None
