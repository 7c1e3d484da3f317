import math

import numpy as np
import pytest
from torch.nn import functional as F

from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.group_schedule import GroupSchedule
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.ending import Ending
from lrwidget.engine.runs.run_log import RunLog
from lrwidget.engine.sweeps.curve import StopReason
from tests.engine.zoo import adam, loader, net


def a_log(losses: list[float], *, epoch_after: int | None = None) -> RunLog:
    log = RunLog(10)
    for step, loss in enumerate(losses, start=1):
        log.took(loss)
        if step == epoch_after:
            log.end_epoch(0.5, {"accuracy": 0.75})
    return log


def test_an_epoch_is_the_mean_of_its_own_steps() -> None:
    log = a_log([4.0, 2.0, 1.0, 3.0], epoch_after=2)
    assert log.within_epoch
    last = log.end_epoch(None, {})
    assert [(e.epoch, e.step, e.train_loss, e.valid_loss) for e in log.epochs] == [(1, 2, 3.0, 0.5), (2, 4, 2.0, None)]
    assert log.epochs[-1] is last and not log.within_epoch


def test_an_epoch_without_a_step_has_no_training_loss() -> None:
    log = RunLog(10)
    assert not log.within_epoch
    assert math.isnan(log.end_epoch(None, {}).train_loss)


def test_a_log_that_goes_on_is_the_same_as_one_that_never_stopped() -> None:
    schedule = a_schedule()
    whole, first, second = (a_log(losses, epoch_after=2) for losses in ([4.0, 2.0, 1.0], [4.0, 2.0], []))
    second.go_on(first.state())
    second.took(1.0)
    one, other = (log.history(schedule, Ending(10)) for log in (whole, second))
    assert np.array_equal(one.losses, other.losses) and np.array_equal(one.smoothed, other.smoothed)
    assert one.epochs == other.epochs


def a_schedule() -> GroupSchedule:
    model = net()
    schedule = GroupSchedule(Loop(model, adam(model), loader(), F.cross_entropy), one_cycle(0.1, 10, 2))
    schedule.begin()
    return schedule


def test_a_history_has_the_schedule_of_its_steps_and_the_words_of_its_end() -> None:
    log, schedule, ending = a_log([4.0, 2.0, 1.0]), a_schedule(), Ending(10)
    log.seconds = 1.5
    ending.reason = StopReason.STOPPED
    ending.close(log.steps)
    history = log.history(schedule, ending)
    assert np.array_equal(history.lrs, schedule.plan.lr_at(np.arange(3)))
    assert (history.note, history.seconds, history.total_steps) == ("Stopped after 3 of 10 steps.", 1.5, 10)
    assert history.smoothed[-1] == pytest.approx(type(history)(**fields_of(history)).smoothed[-1])


def fields_of(history: object) -> dict[str, object]:
    names = ("losses", "lrs", "momentum", "epochs", "names", "total_steps")
    return {name: getattr(history, name) for name in names}
