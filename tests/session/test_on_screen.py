"""What the screen shows of a sweep and of a run, without a session."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lrwidget.engine.errors import InputError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.run import Run
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.sweeps.sweep import Sweep, SweepConfig
from lrwidget.session.jobs import Job
from lrwidget.session.messages import AS_BEFORE, failed
from lrwidget.session.on_screen import RunOnScreen, SweepOnScreen
from lrwidget.state import LRState, Phase
from tests.engine.zoo import adam, loader, net


class Shown:
    """Takes what is shown, at a clock on which every step is due."""

    def __init__(self) -> None:
        self.changes: list[dict[str, Any]] = []
        self._now = 0.0

    def __call__(self, **changes: Any) -> None:
        self.changes.append(changes)

    def clock(self) -> float:
        self._now += 1.0
        return self._now


def raising(error: BaseException, at: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    calls = [0]

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == at:
            raise error
        return F.cross_entropy(output, target)

    return loss_fn


def a_loop(loss_fn: Any = F.cross_entropy) -> Loop:
    torch.manual_seed(0)
    model = net()
    return Loop(model, adam(model), loader(), loss_fn, valid_dl=loader(16))


def a_sweep(loss_fn: Any = F.cross_entropy) -> SweepOnScreen:
    sweep = Sweep(a_loop(loss_fn), SweepConfig(num_steps=6, diverge_ratio=None))
    return SweepOnScreen(sweep, lambda curve, advice: {"chosen": 0} if len(curve) else {})


def a_run(loss_fn: Any = F.cross_entropy, on_step: Callable[[Any], object] = lambda point: None) -> RunOnScreen:
    return RunOnScreen(Run(a_loop(loss_fn), one_cycle(1e-3, 8, 2)), on_step, lambda epoch: None)


MAKERS = [pytest.param(a_sweep, "curve", id="sweep"), pytest.param(a_run, "history", id="run")]


@pytest.mark.parametrize(("make", "trait"), MAKERS)
def test_it_grows_step_by_step_to_the_result(make: Any, trait: str) -> None:
    on_screen, shown = make(), Shown()
    job: Job[Any] = Job(on_screen.name, lambda job: None)
    result = on_screen.work(job, shown, shown.clock)
    steps = [changes for changes in shown.changes if "validating" not in changes]
    assert [len(changes[trait]) for changes in steps] == list(range(1, len(result) + 1))
    assert [changes["progress"].step for changes in steps] == list(range(1, len(result) + 1))
    ended = on_screen.ended(result)
    assert ended[trait] is result and ended["message"].startswith(result.note)


@pytest.mark.parametrize(("make", "trait"), MAKERS)
def test_every_trait_that_is_told_of_is_one_of_the_state(make: Any, trait: str) -> None:
    on_screen, traits = make(), set(LRState().traits())
    job: Job[Any] = Job(on_screen.name, lambda job: None)
    begun = on_screen.begins()
    assert begun["phase"] is (Phase.SWEEPING if trait == "curve" else Phase.TRAINING) and begun["progress"].step == 0
    result = on_screen.work(job, lambda **changes: None, Shown().clock)
    for changes in (begun, on_screen.ended(result), on_screen.failed(ValueError())):
        assert changes.keys() <= traits


@pytest.mark.parametrize(("make", "trait"), MAKERS)
def test_ctrl_c_ends_it_with_what_it_has(make: Any, trait: str) -> None:
    on_screen = make(raising(KeyboardInterrupt(), at=4))
    result = on_screen.work(Job(on_screen.name, lambda job: None), lambda **changes: None, Shown().clock)
    assert (len(result), result.stop_reason) == (3, StopReason.INTERRUPTED)


@pytest.mark.parametrize(("make", "trait"), MAKERS)
def test_an_error_is_raised_and_told_with_the_steps_before_it(make: Any, trait: str) -> None:
    on_screen = make(raising(ZeroDivisionError("mine"), at=4))
    with pytest.raises(ZeroDivisionError) as caught:
        on_screen.work(Job(on_screen.name, lambda job: None), lambda **changes: None, Shown().clock)
    told = on_screen.failed(caught.value)
    assert len(told[trait]) == 3 and told["failed"] and told["message"] == "ZeroDivisionError: mine"
    assert "raise error" in told["error"], "the user's own line"


def test_only_a_sweep_with_points_is_kept() -> None:
    on_screen = a_sweep()
    job: Job[Any] = Job("sweep", lambda job: None)
    job.stop()
    nothing = on_screen.work(job, lambda **changes: None, Shown().clock)
    assert "chosen" not in on_screen.ended(nothing)
    again = a_sweep()
    curve = again.work(Job("sweep", lambda job: None), lambda **changes: None, Shown().clock)
    assert again.ended(curve)["chosen"] == 0 and again.ended(curve)["sweep_message"].endswith(AS_BEFORE)


def test_a_stop_by_the_interrupt_key_is_told_as_one() -> None:
    job: Job[Any] = Job("sweep", lambda job: None)
    job.stop(interrupted=True)
    assert a_sweep().work(job, lambda **changes: None, Shown().clock).stop_reason is StopReason.INTERRUPTED


def test_an_error_of_lrwidgets_own_is_one_line_and_has_no_traceback() -> None:
    error = InputError("Got this;\nexpected that.")
    error.add_note("A note.")
    assert failed(error) == {
        "failed": True,
        "message": "InputError: Got this; expected that.\nA note.",
        "error": "",
    }
