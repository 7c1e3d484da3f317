import logging
import math
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from traitlets import TraitError

from lrwidget.engine.errors import BusyError, EmptyLoaderError, InputError, InputTypeError, LossError, LRWidgetError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.fit import fit
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.sweeps.sweep import range_test
from lrwidget.session.jobs import Job, run_in_thread, run_inline
from lrwidget.session.kept_sweeps import MOST_KEPT
from lrwidget.session.pace import REFRESH_S, SCREEN_SHARE, SLOWEST_REFRESH_S
from lrwidget.session.picks import START_LR
from lrwidget.session.session import Session
from lrwidget.state import Phase, RunOptions
from tests.engine import oracle
from tests.engine.zoo import Stream, adam, loader, net, train

LAUNCHERS = [pytest.param(run_inline, id="inline"), pytest.param(run_in_thread, id="thread")]
launchers = pytest.mark.parametrize("launch", LAUNCHERS)

Launch = Callable[[Job[Any]], None]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("lrwidget"):
            thread.join(10)
            assert not thread.is_alive()


def a_loop(loss_fn: Any = F.cross_entropy, **options: Any) -> Loop:
    model = options.pop("model", None) or net()
    optimizer = options.pop("optimizer", None) or adam(model)
    options.setdefault("train_dl", loader())
    return Loop(model, optimizer, options.pop("train_dl"), loss_fn, **options)


def three_groups() -> Loop:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    groups = [{"params": layer.parameters(), "lr": lr} for layer, lr in zip(model, (1e-5, 1e-4, 1e-3), strict=True)]
    return a_loop(model=model, optimizer=torch.optim.SGD(groups, momentum=0.9))


class Pausing:
    """A loss that stops at one of its calls until it is told to go on: what lets a test look in the middle of a job."""

    def __init__(self, at: int) -> None:
        self.calls, self.at = 0, at
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.at:
            self.reached.set()
            assert self.go.wait(10)
        return F.cross_entropy(output, target)


def failing_at(call: int, error: BaseException) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    calls = [0]

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == call:
            raise error
        return F.cross_entropy(output, target)

    return loss_fn


def print_of(loop: Loop) -> oracle.Prints:
    return oracle.of_everything(loop.model, *loop.optimizers, loaders=(loop.train_dl,))


def over(job: Job[Any]) -> Any:
    """Wait for a job on whichever thread; what it raised is no matter here."""
    try:
        return job.wait(20)
    except Exception as error:
        return error


# ---- at the start ----------------------------------------------------------------------------------------------------


def test_the_markers_stand_where_the_optimizer_is() -> None:
    state = Session(a_loop()).state
    assert state.lrs == (1e-3, 1e-2)
    assert state.phase is Phase.IDLE
    assert state.title == "Sequential · AdamW · 2 groups"
    assert state.message.startswith("Sweep to see")


def test_a_group_without_an_lr_gets_a_place_on_the_axis() -> None:
    model = net()
    assert Session(a_loop(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0))).state.lrs == (START_LR,)


def test_attaching_changes_nothing() -> None:
    loop = a_loop()
    before = print_of(loop)
    Session(loop)
    assert not oracle.changes(before, print_of(loop))


def test_the_title_names_every_optimizer() -> None:
    model = net()
    pair = [torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.Adam(model[4].parameters())]
    assert Session(a_loop(model=model, optimizer=pair)).state.title == "Sequential · SGD + Adam · 2 groups"


# ---- picks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pick", "lrs"),
    [
        (1e-2, (1e-2, 1e-2, 1e-2)),
        (slice(1e-4, 1e-2), (1e-4, 1e-3, 1e-2)),
        (slice(1e-2), (1e-3, 1e-3, 1e-2)),
        ([1e-4, 5e-4, 1e-2], (1e-4, 5e-4, 1e-2)),
    ],
)
def test_a_pick_is_in_the_state_and_in_the_plan(pick: Any, lrs: tuple[float, ...]) -> None:
    session = Session(three_groups())
    session.pick(pick)
    assert session.state.lrs == pytest.approx(lrs)
    assert session.state.plan.max_lrs == session.state.lrs


def test_picking_max_lr_keeps_the_ratios() -> None:
    session = Session(three_groups())
    session.pick_max(1e-2)
    assert session.state.lrs == pytest.approx((1e-4, 1e-3, 1e-2))
    assert max(session.state.lrs) == 1e-2


def test_moving_an_outer_marker_spreads_the_inner_one_and_one_put_by_hand_stays() -> None:
    session = Session(three_groups())
    session.pick_group(2, 1e-1)
    assert session.state.lrs == pytest.approx((1e-5, 1e-3, 1e-1))
    session.pick_group(1, 5e-3)
    session.pick_group(0, 1e-6)
    assert session.state.lrs == (1e-6, 5e-3, 1e-1)


def test_a_slice_forgets_what_was_put_by_hand() -> None:
    session = Session(three_groups())
    session.pick_group(1, 5e-3)
    session.pick(slice(1e-4, 1e-2))
    session.pick_group(2, 1e-2)
    assert session.state.lrs == pytest.approx((1e-4, 1e-3, 1e-2))


@pytest.mark.parametrize(
    "pick",
    [
        lambda s: s.pick(0.0),
        lambda s: s.pick([1e-3]),
        lambda s: s.pick("1e-3"),
        lambda s: s.pick_max(0.0),
        lambda s: s.pick_max(math.nan),
        lambda s: s.pick_max(True),
        lambda s: s.pick_max("0.1"),
        lambda s: s.pick_max(5e-324),  # the slower groups' would be 0
        lambda s: s.pick_group(0, -1.0),
        lambda s: s.pick_group(0, math.inf),
    ],
)
def test_what_is_no_lr_is_refused_and_nothing_moves(pick: Callable[[Session], None]) -> None:
    session = Session(three_groups())
    before, plan = session.state.lrs, session.state.plan
    with pytest.raises(LRWidgetError, match=r"(?s)Got .*; expected"):
        pick(session)
    assert session.state.lrs == before
    assert session.state.plan == plan


def test_lrs_that_overflow_are_refused_where_there_is_no_plan_to_check_them() -> None:
    session = Session(a_loop(train_dl=torch.utils.data.DataLoader(Stream(), batch_size=8)))
    with pytest.raises((LRWidgetError, TraitError)):
        session.pick_max(5e-324)
    assert session.state.lrs == (1e-3, 1e-2)


def test_resetting_the_pick_goes_back_to_the_optimizers_lrs_before_any_sweep() -> None:
    session = Session(three_groups())
    session.pick(1.0)
    session.reset_pick()
    assert session.state.lrs == (1e-5, 1e-4, 1e-3)


# ---- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({}, {"total_steps": 30}),
        ({"epochs": 2}, {"total_steps": 12}),
        ({"steps": 50}, {"total_steps": 50}),
        ({"epochs": 2, "preset": "fastai"}, {"total_steps": 12, "preset": "fastai"}),
        ({"epochs": 2, "freeze_epochs": 1}, {"total_steps": 18, "freeze_steps": 6}),
        ({"steps": 50, "pct_start": 0.5, "div": 3}, {"total_steps": 50, "pct_start": 0.5, "div": 3}),
        ({"momentum": (0.8, 0.9), "anneal": "linear", "phases": 3}, {"total_steps": 30} | {
            "momentum": (0.8, 0.9), "anneal": "linear", "phases": 3}),
    ],
)  # fmt: skip
def test_a_plan_is_what_one_cycle_gives_for_the_same_pick(asked: dict[str, Any], made: dict[str, Any]) -> None:
    loop = a_loop()
    session = Session(loop)
    session.pick((3e-4, 3e-3))
    wanted = one_cycle((3e-4, 3e-3), groups=[group.name for group in loop.groups], **made)
    assert session.plan(**asked) == wanted


def test_the_plan_on_the_screen_is_the_plan_that_is_asked_for_without_arguments() -> None:
    session = Session(a_loop())
    assert session.state.plan == session.plan()
    session.set_options(RunOptions(epochs=2, preset="fastai", pct_start=0.4, freeze_epochs=1))
    assert session.state.plan == session.plan() == session.plan(2, preset="fastai", pct_start=0.4, freeze_epochs=1)


def test_steps_are_counted_as_optimizer_steps() -> None:
    assert Session(a_loop(accumulate=4)).plan(3).total_steps == 3 * 2


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"epochs": 2, "steps": 5}, "Got epochs=2 and steps=5; expected one of them"),
        ({"epochs": 0}, "Got epochs=0; expected a whole number, 1 or more"),
        ({"epochs": 1.5}, r"Got epochs=1\.5"),
        ({"epochs": True}, "Got epochs=True"),
        ({"steps": 0}, "total_steps"),
        ({"pct_start": 2.0}, "pct_start"),
        ({"preset": "fastest"}, "preset"),
        ({"freeze_epochs": -1}, "freeze_epochs"),
        ({"freeze_epochs": 0.5}, "freeze_epochs"),
        ({"freeze_epochs": True}, "freeze_epochs"),
        ({"div_factor": 10}, "Did you mean 'div'"),
        ({"max_lr": 0.1}, "max_lr"),
        ({"groups": 2}, "groups"),
    ],
)
def test_options_that_no_plan_can_have_are_refused_by_name(asked: dict[str, Any], says: str) -> None:
    session = Session(a_loop())
    before = session.state.options
    for make in (session.plan, session.fine_tune):
        with pytest.raises((InputError, InputTypeError), match=says):
            make(**asked)
    assert session.state.options == before
    assert session.state.phase is Phase.IDLE


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"pct_start": -1.0}, {"preset": "no such"}, {"div": 0.0}])
def test_fields_with_what_no_plan_can_have_are_refused_and_nothing_changes(bad: dict[str, Any]) -> None:
    session = Session(a_loop())
    options, plan = session.state.options, session.state.plan
    with pytest.raises(InputError):
        session.set_options(replace(options, **bad))
    assert session.state.options is options
    assert session.state.plan is plan


def test_without_the_length_of_an_epoch_a_plan_needs_its_steps() -> None:
    session = Session(a_loop(train_dl=torch.utils.data.DataLoader(Stream(), batch_size=8)))
    assert session.state.plan is None
    session.pick(1e-3)
    with pytest.raises(InputError, match=r"without a length.*number of steps"):
        session.plan(2)
    assert session.plan(steps=40).total_steps == 40


# ---- sweeps ----------------------------------------------------------------------------------------------------------


@launchers
def test_a_sweep_leaves_its_curve_its_advice_and_an_idle_state(launch: Launch) -> None:
    session = Session(a_loop(), launch=launch)
    curve = session.sweep(num_steps=40).wait(20)
    state = session.state
    assert state.curve is curve
    assert (len(curve), curve.stop_reason) in [(40, StopReason.FINISHED), (len(curve), StopReason.DIVERGED)]
    assert state.advice == curve.suggest()
    assert (state.phase, state.progress, state.stopping, state.error) == (Phase.IDLE, None, False, "")
    assert state.message == f"{curve.note} The model is as it was before."


@launchers
def test_everything_a_sweep_touched_is_bit_for_bit_as_before(launch: Launch) -> None:
    loop = a_loop()
    train(loop.model, loop.optimizers[0], loop.train_dl, 5)
    before = print_of(loop)
    Session(loop, launch=launch).sweep(num_steps=30).wait(20)
    assert not oracle.changes(before, print_of(loop))


def test_a_sweep_on_a_thread_gives_the_headless_curve_to_the_last_bit() -> None:
    torch.manual_seed(5)
    loop = a_loop()
    swept = Session(loop, launch=run_in_thread).sweep(num_steps=30, end_lr=1.0).wait(20)
    alone = range_test(loop.model, loop.optimizers, loop.train_dl, loop.loss_fn, num_steps=30, end_lr=1.0)
    assert np.array_equal(swept.losses, alone.losses)
    assert np.array_equal(swept.lrs, alone.lrs)


def test_a_sweep_remembers_what_it_was_asked_for() -> None:
    session = Session(a_loop())
    session.sweep(num_steps=12, start_lr=1e-5, end_lr=1e-1)
    assert (session.state.config.num_steps, session.state.config.start_lr) == (12, 1e-5)
    session.sweep(start_lr=1e-4)
    assert (len(session.state.curve), session.state.config.start_lr, session.state.config.end_lr) == (12, 1e-4, 1e-1)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"num_it": 10}, InputTypeError, r"sweep\(\) takes .*num_steps.* Did you mean 'num_steps'"),
        ({"start_lr": 1.0, "end_lr": 0.1}, InputError, r"Got start_lr=1 and end_lr=0\.1; expected start_lr below"),
        ({"num_steps": 1}, InputError, "num_steps=1"),
        ({"start_lr": 0.0}, InputError, r"start_lr=0\.0"),
        ({"mode": "log"}, InputError, "mode='log'"),
    ],
)
def test_a_range_that_cannot_be_swept_is_refused_and_nothing_changes(
    changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    session = Session(a_loop())
    curve = session.sweep(num_steps=10).wait()
    config = session.state.config
    with pytest.raises(error, match=says):
        session.sweep(**changes)
    assert session.state.config is config
    assert session.state.curve is curve
    assert session.state.phase is Phase.IDLE


def a_learning_loop() -> Loop:
    """Learns within a sweep and diverges, so that there is something to recommend."""
    return a_loop(train_dl=loader(samples=256, batch_size=32))


def test_the_recommendation_is_taken_as_long_as_nothing_was_picked() -> None:
    session = Session(a_learning_loop())
    curve = session.sweep().wait()
    recommended = curve.suggest().recommended.lr
    assert recommended is not None
    assert max(session.state.lrs) == recommended
    assert session.state.lrs[0] / session.state.lrs[1] == pytest.approx(0.1)
    assert session.state.plan.max_lrs == session.state.lrs


@pytest.mark.parametrize("pick", [lambda s: s.pick(5e-3), lambda s: s.pick_max(5e-3), lambda s: s.pick_group(1, 5e-3)])
def test_a_pick_is_not_overruled_by_a_recommendation(pick: Callable[[Session], None]) -> None:
    session = Session(a_learning_loop())
    pick(session)
    picked = session.state.lrs
    session.sweep()
    assert session.state.lrs == picked


def test_a_pick_made_while_the_sweep_runs_is_not_overruled_either() -> None:
    loss = Pausing(at=20)
    session = Session(a_loop(loss, train_dl=loader(256, 32)), launch=run_in_thread)
    job = session.sweep(num_steps=60)
    assert loss.reached.wait(10)
    session.pick_group(1, 5e-3)
    assert session.state.lrs == (1e-3, 5e-3)
    assert session.state.plan.max_lrs == (1e-3, 5e-3)
    loss.go.set()
    job.wait(20)
    assert session.state.lrs == (1e-3, 5e-3)


def test_resetting_the_pick_after_a_sweep_goes_back_to_the_recommendation() -> None:
    session = Session(a_learning_loop())
    session.sweep()
    recommended = session.state.lrs
    session.pick(1.0)
    session.reset_pick()
    assert session.state.lrs == pytest.approx(recommended)


def test_a_recommendation_that_was_taken_is_no_pick_and_gives_way_to_the_next() -> None:
    session = Session(a_learning_loop())
    session.sweep()
    session.sweep(end_lr=100.0)
    assert max(session.state.lrs) == session.state.advice.recommended.lr


# ---- how a job ends --------------------------------------------------------------------------------------------------


def test_stop_ends_a_sweep_at_the_next_step_and_keeps_the_curve() -> None:
    loss = Pausing(at=5)
    loop = a_loop(loss)
    before = print_of(loop)
    session = Session(loop, launch=run_in_thread)
    job = session.sweep(num_steps=1000)
    assert loss.reached.wait(10)
    session.stop()
    assert session.state.stopping
    loss.go.set()
    curve = job.wait(20)
    assert (len(curve), curve.stop_reason) == (5, StopReason.STOPPED)
    assert session.state.curve is curve
    assert not session.state.stopping
    assert not oracle.changes(before, print_of(loop))


@pytest.mark.parametrize("start", [Session.sweep, Session.fine_tune])
def test_how_a_job_ends_is_no_error_though_something_was_refused_while_it_ran(
    start: Callable[[Session], Job[Any]],
) -> None:
    loss = Pausing(at=3)
    session = Session(a_loop(loss), launch=run_in_thread)
    job = start(session)
    assert loss.reached.wait(10)
    session.state.failed = True  # as a widget shows what it was refused
    loss.go.set()
    over(job)
    assert not session.state.failed


def test_while_a_run_validates_all_of_its_steps_are_shown_and_that_it_does() -> None:
    validates, go = threading.Event(), threading.Event()

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad:
            validates.set()
            assert go.wait(10)
        return F.cross_entropy(output, target)

    loop = a_loop(loss, train_dl=loader(64, 16), valid_dl=loader(16, 16))
    session = Session(loop, launch=run_in_thread, clock=lambda: 0.0)  # nothing is ever due
    session.set_options(RunOptions(epochs=2))
    job = session.fine_tune()
    assert validates.wait(10)
    state = session.state
    assert state.validating and len(state.history) == 4 and state.progress.step == 4
    go.set()
    over(job)
    assert not state.validating and len(state.history.epochs) == 2


@pytest.mark.parametrize("ask", ["stop", "pause"])
def test_what_is_asked_of_a_job_that_ends_meanwhile_is_not_shown_of_the_next_one(ask: str) -> None:
    first, second = Pausing(at=3), Pausing(at=3)
    losses = [first, second]
    session = Session(a_loop(lambda output, target: losses[0](output, target)), launch=run_in_thread)
    job = session.sweep(num_steps=50)
    assert first.reached.wait(10)
    asked = getattr(job, ask)

    def ask_late(**options: Any) -> None:
        asked(**options)
        first.go.set()
        job.resume()
        over(job)
        losses.pop(0)
        session.sweep(num_steps=50)
        assert second.reached.wait(10)

    setattr(job, ask, ask_late)
    getattr(session, ask)()
    assert not session.state.stopping and not session.state.paused
    second.go.set()
    assert over(session.job).stop_reason is StopReason.FINISHED


@pytest.mark.parametrize("start", [Session.sweep, Session.fine_tune])
def test_a_job_that_is_stopped_before_its_first_step_has_no_points_and_no_trouble(
    start: Callable[[Session], Job[Any]],
) -> None:
    def stop_then_start(job: Job[Any]) -> None:
        job.stop()
        run_in_thread(job)

    loop = a_loop()
    before = oracle.of_everything(loop.model)
    session = Session(loop, launch=stop_then_start)
    result = start(session).wait(20)
    assert (len(result), result.stop_reason) == (0, StopReason.STOPPED)
    assert session.state.phase is Phase.IDLE
    assert session.loop.lrs() == (1e-3, 1e-2)
    assert not oracle.changes(before, oracle.of_everything(loop.model))


def test_an_interrupt_that_a_kernel_passes_on_is_said_to_be_one() -> None:
    loss = Pausing(at=3)
    session = Session(a_loop(loss), launch=run_in_thread)
    job = session.sweep()
    assert loss.reached.wait(10)
    session.stop(interrupted=True)
    loss.go.set()
    assert job.wait(20).stop_reason is StopReason.INTERRUPTED
    assert session.state.message.startswith("Interrupted at lr")


def test_stop_without_a_job_does_nothing() -> None:
    session = Session(a_loop())
    session.stop()
    session.sweep(num_steps=5)
    session.stop()
    assert not session.state.stopping


def press_ctrl_c(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    signal.raise_signal(signal.SIGINT)
    return F.cross_entropy(output, target)


@pytest.mark.parametrize("start", [Session.sweep, Session.fine_tune])
def test_inline_ctrl_c_ends_a_job_as_stop_does(start: Callable[[Session], Job[Any]]) -> None:
    session = Session(a_loop(press_ctrl_c))
    result = start(session).wait()
    assert result.stop_reason is StopReason.INTERRUPTED
    assert session.state.phase is Phase.IDLE
    assert session.state.message.startswith("Interrupted")
    assert session.state.error == ""


def test_inline_ctrl_c_gives_everything_back() -> None:
    calls = [0]

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return (press_ctrl_c if calls[0] == 8 else F.cross_entropy)(output, target)

    loop = a_loop(loss_fn)
    before = print_of(loop)
    session = Session(loop)
    session.sweep()
    assert len(session.state.curve) == 7
    assert not oracle.changes(before, print_of(loop))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@launchers
def test_the_users_exception_is_raised_and_what_was_measured_before_it_is_kept(launch: Launch) -> None:
    loop = a_loop(failing_at(8, ZeroDivisionError("in the user's loss")))
    before = print_of(loop)
    session = Session(loop, launch=launch)
    with pytest.raises(ZeroDivisionError, match="in the user's loss"):
        session.sweep().wait(20)
    state = session.state
    assert (len(state.curve), state.curve.stop_reason) == (7, StopReason.FAILED)
    assert state.message == "ZeroDivisionError: in the user's loss"
    assert "raise error\nZeroDivisionError: in the user's loss" in state.error  # the user's own line
    assert "sweep.py" not in state.error
    assert state.phase is Phase.IDLE
    assert not oracle.changes(before, print_of(loop))


def test_after_an_exception_the_next_sweep_runs_and_takes_the_traceback_away() -> None:
    session = Session(a_loop(failing_at(8, RuntimeError("once"))))
    with pytest.raises(RuntimeError):
        session.sweep()
    session.sweep(num_steps=10)
    assert session.state.error == ""
    assert len(session.state.curve) == 10


@launchers
def test_an_exception_in_a_run_keeps_its_history_and_gives_the_lrs_back(launch: Launch) -> None:
    session = Session(a_loop(failing_at(8, ZeroDivisionError("in the user's loss"))), launch=launch)
    with pytest.raises(ZeroDivisionError):
        session.fine_tune(3).wait(20)
    state = session.state
    assert (len(state.history), state.history.stop_reason) == (7, StopReason.FAILED)
    assert "ZeroDivisionError" in state.error
    assert state.phase is Phase.IDLE
    assert session.loop.lrs() == (1e-3, 1e-2)


def test_an_error_of_lrwidgets_own_says_all_without_a_traceback() -> None:
    def no_number(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, target) * math.nan

    session = Session(a_loop(no_number))
    with pytest.raises(LossError):
        session.sweep()
    assert session.state.error == ""
    assert session.state.message.startswith("LossError: Got a loss of nan at the first step")


def test_an_exception_without_words_is_named_by_its_kind() -> None:
    session = Session(a_loop(failing_at(1, KeyError())))
    with pytest.raises(KeyError):
        session.sweep()
    assert "KeyError" in session.state.message


def test_a_loader_that_turns_out_empty_is_said() -> None:
    class Empty:
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    session = Session(a_loop(train_dl=Empty()))
    with pytest.raises(EmptyLoaderError, match="yields no batch"):
        session.sweep()
    assert session.state.phase is Phase.IDLE


# ---- one at a time ---------------------------------------------------------------------------------------------------


STARTS = [
    pytest.param(lambda s: s.sweep(), "request for a sweep while", id="sweep"),
    pytest.param(lambda s: s.fine_tune(), "request for a run while", id="run"),
    pytest.param(lambda s: s.restore_best(), "request for a return to the best weights while", id="restore"),
]


@pytest.mark.parametrize(("start", "says"), STARTS)
def test_a_second_job_is_refused_while_one_runs_and_nothing_on_the_screen_changes(
    start: Callable[[Session], Any], says: str
) -> None:
    loss = Pausing(at=5)
    session = Session(a_loop(loss), launch=run_in_thread)
    job = session.sweep(num_steps=20)
    assert loss.reached.wait(10)
    shown = {name: getattr(session.state, name) for name in session.state.trait_names()}
    with pytest.raises(BusyError, match=rf"(?s){says} a sweep has the model.*Stop"):
        start(session)
    # The session's own job may have shown more points meanwhile; it may not have been disturbed.
    assert session.job is job
    assert {name for name, value in shown.items() if getattr(session.state, name) is not value} <= {"curve", "progress"}
    loss.go.set()
    assert len(job.wait(20)) == 20


@pytest.mark.parametrize(("start", "says"), STARTS)
def test_another_sessions_job_is_refused_too_because_both_share_the_random_generators(
    start: Callable[[Session], Any], says: str
) -> None:
    loss = Pausing(at=5)
    first, second = Session(a_loop(loss), launch=run_in_thread), Session(a_loop())
    second.sweep(num_steps=10)
    curve = second.state.curve
    job = first.sweep(num_steps=20)
    assert loss.reached.wait(10)
    with pytest.raises(BusyError, match=rf"(?s){says} another widget's sweep"):
        start(second)
    assert second.state.curve is curve
    assert second.state.phase is Phase.IDLE
    loss.go.set()
    job.wait(20)
    start(second)


def test_who_hears_that_a_job_is_over_may_start_the_next_one_at_once() -> None:
    """Also on the very thread that ends."""
    session = Session(a_loop(), launch=run_in_thread)
    jobs: list[Job[Any]] = []
    session.state.observe(
        lambda change: jobs.append(session.fine_tune(1)) if change["new"] is Phase.IDLE and not jobs else None, "phase"
    )
    session.sweep(num_steps=5).wait(20)
    assert jobs[0].wait(20).stop_reason is StopReason.FINISHED


def test_two_jobs_right_after_each_other_never_get_in_each_others_way() -> None:
    session = Session(a_loop(), launch=run_in_thread)
    for _ in range(15):
        session.sweep(num_steps=3).wait(20)
        session.fine_tune(steps=2).wait(20)
    assert session.state.phase is Phase.IDLE


def test_a_job_that_cannot_be_started_changes_nothing_and_the_next_one_can() -> None:
    short_of_threads = False

    def launch(job: Job[Any]) -> None:
        if short_of_threads:
            raise RuntimeError("can't start new thread")
        run_inline(job)

    session = Session(a_loop(), launch=launch)
    curve = session.sweep(num_steps=10).wait()
    short_of_threads = True
    for start in (session.sweep, session.fine_tune):
        with pytest.raises(RuntimeError, match="can't start new thread"):
            start()
        assert session.state.phase is Phase.IDLE
        assert session.state.curve is curve
        assert session.state.history is None
        assert session.state.progress is None
        assert session.state.message == "Not started: RuntimeError: can't start new thread"
        assert session.job is not None
        assert not session.job.running
    short_of_threads = False
    assert len(session.sweep(num_steps=5).wait()) == 5


def test_an_interrupt_while_a_job_is_being_started_leaves_a_session_that_can_be_used() -> None:
    session = Session(a_loop())

    def interrupt(change: Any) -> None:
        if change["new"] is Phase.SWEEPING:
            session.state.unobserve(interrupt, "phase")
            raise KeyboardInterrupt

    session.state.observe(interrupt, "phase")
    with pytest.raises(KeyboardInterrupt):
        session.sweep()
    assert session.state.phase is Phase.IDLE
    assert len(session.sweep(num_steps=5).wait()) == 5


def test_an_interrupt_while_a_job_says_that_it_is_over_leaves_a_session_that_can_be_used() -> None:
    session = Session(a_loop())

    def interrupt(change: Any) -> None:
        if change["new"] is not None:
            session.state.unobserve(interrupt, "advice")
            raise KeyboardInterrupt

    session.state.observe(interrupt, "advice")
    with pytest.raises(KeyboardInterrupt):
        session.sweep(num_steps=5)
    assert session.state.phase is Phase.IDLE
    session.fine_tune(1)


# ---- runs ------------------------------------------------------------------------------------------------------------


@launchers
def test_a_run_trains_every_step_with_exactly_the_plans_lrs(launch: Launch) -> None:
    trained: list[list[float]] = []
    loop = a_loop()
    loop.optimizers[0].register_step_post_hook(lambda o, *_: trained.append([g["lr"] for g in o.param_groups]))
    session = Session(loop, launch=launch)
    session.pick((3e-4, 3e-3))
    plan = session.plan(2, preset="fastai")
    history = session.fine_tune(2, preset="fastai").wait(20)
    wanted = plan.lr_at(np.arange(12))
    assert np.array_equal(np.array(trained), wanted)
    assert np.array_equal(history.lrs, wanted)
    assert np.array_equal(history.momentum, plan.momentum_at(np.arange(12)), equal_nan=True)
    assert history.stop_reason is StopReason.FINISHED


def test_a_run_trains_the_very_weights_that_fit_trains() -> None:
    def trained(through_session: bool) -> list[torch.Tensor]:
        torch.manual_seed(3)
        loop = a_loop()
        if through_session:
            session = Session(loop, launch=run_in_thread)
            session.sweep(num_steps=10).wait(20)  # also: training after a sweep equals training without one
            session.pick(1e-2)
            session.fine_tune(2).wait(20)
        else:
            plan = one_cycle(1e-2, 12, loop.optimizers[0])
            fit(loop.model, loop.optimizers[0], loop.train_dl, loop.loss_fn, plan)
        return [*loop.model.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(trained(True), trained(False), strict=True))


def test_the_plan_on_the_screen_is_the_runs_while_it_runs_and_the_next_ones_after_it() -> None:
    loss = Pausing(at=3)
    session = Session(a_loop(loss), launch=run_in_thread)
    plan = session.plan(2, div=10.0, phases=3)
    job = session.fine_tune(2, div=10.0, phases=3)
    assert loss.reached.wait(10)
    assert session.state.plan == plan and "the next one" not in session.state.message
    session.pick(5e-3)
    assert "the next one" in session.state.message
    session.set_options(replace(session.state.options, pct_start=0.5))
    assert session.state.plan == plan
    loss.go.set()
    assert np.array_equal(job.wait(20).lrs, plan.lr_at(np.arange(12)))
    assert session.state.lrs == (5e-3, 5e-3)
    assert session.state.plan == session.plan() == session.plan(2, div=10.0, pct_start=0.5)


def test_options_no_plan_can_have_are_refused_during_a_run_as_well() -> None:
    loss = Pausing(at=3)
    session = Session(a_loop(loss), launch=run_in_thread)
    job = session.fine_tune(1)
    assert loss.reached.wait(10)
    options = session.state.options
    with pytest.raises(InputError):
        session.set_options(replace(options, pct_start=7.0))
    assert session.state.options is options
    loss.go.set()
    job.wait(20)


def test_what_a_run_was_asked_for_stays_in_the_fields() -> None:
    session = Session(a_loop())
    session.fine_tune(2, preset="fastai", pct_start=0.3)
    assert session.state.options == RunOptions(epochs=2, preset="fastai", pct_start=0.3)


def test_a_run_by_steps_trains_from_a_loader_without_a_length() -> None:
    session = Session(a_loop(train_dl=torch.utils.data.DataLoader(Stream(), batch_size=8)))
    assert session.state.plan is None
    assert len(session.fine_tune(steps=7).wait()) == 7
    assert session.state.options.steps == 7 and session.state.plan is not None
    assert len(session.fine_tune().wait()) == 7, "as the field says by now"


def test_stop_ends_a_run_and_the_optimizer_has_its_own_lrs_again() -> None:
    loss = Pausing(at=4)
    session = Session(a_loop(loss), launch=run_in_thread)
    job = session.fine_tune(100)
    assert loss.reached.wait(10)
    session.stop()
    loss.go.set()
    history = job.wait(20)
    assert (len(history), history.stop_reason) == (4, StopReason.STOPPED)
    assert session.loop.lrs() == (1e-3, 1e-2)
    assert session.state.message.startswith("Stopped after 4 of 600 steps")


def test_a_run_with_validation_says_how_good_it_became_and_can_go_back_to_the_best() -> None:
    loop = a_loop(valid_dl=loader(seed=4, shuffle=False))
    session = Session(loop)
    assert session.restore_best() is None
    session.pick(slice(1e-3, 1e-2))
    history = session.fine_tune(3).wait()
    assert "At the end: validation loss" in session.state.message
    assert "accuracy" in session.state.message
    with torch.no_grad():
        for parameter in loop.model.parameters():
            parameter.zero_()
    best = session.restore_best()
    assert best == history.best_epoch
    assert any(parameter.any() for parameter in loop.model.parameters())
    assert session.state.message == f"The model has the weights of epoch {best.epoch} again."


@pytest.mark.parametrize("keep_best", [True, False])
def test_the_way_back_to_a_better_epoch_is_told_where_its_weights_are_kept(keep_best: bool) -> None:
    session = Session(a_loop(valid_dl=loader(seed=4, shuffle=False)))
    session.pick_max(10.0)
    history = session.fine_tune(4, keep_best=keep_best).wait()
    assert history.best_epoch is not history.epochs[-1]
    assert "was better" in session.state.run_message
    assert ("restore_best()" in session.state.run_message) == session.state.keeps_best == keep_best
    assert (session.restore_best() is not None) == keep_best


def test_of_a_run_that_broke_down_the_way_back_is_told_once() -> None:
    calls = 0

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += output.requires_grad
        return F.cross_entropy(output, target) * (math.inf if calls > 14 else 1)

    session = Session(a_loop(loss_fn, valid_dl=loader(seed=4, shuffle=False)))
    session.pick_max(0.5)
    history = session.fine_tune(4).wait()
    assert history.stop_reason is StopReason.NOT_FINITE
    said = session.state.run_message
    assert "At the end: validation loss" in said
    assert said.count("restore_best()") == 1 and "was better" not in said


def test_a_run_after_a_run_goes_on_from_its_weights() -> None:
    session = Session(a_loop())
    first = session.fine_tune(3).wait()
    second = session.fine_tune(3).wait()
    assert second.losses[0] < first.losses[0]
    assert session.state.history is second


# ---- what is shown while a job runs ----------------------------------------------------------------------------------


class Clock:
    """Time that goes by when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("to_draw", [0.0, 0.004, 0.1])
def test_the_curve_grows_in_the_state_by_the_clock_and_not_by_the_step(to_draw: float) -> None:
    clock = Clock()

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        clock.now += 0.01
        return F.cross_entropy(output, target)

    session = Session(a_loop(loss_fn), clock=clock)
    lengths: list[int] = []

    def draw(change: Any) -> None:
        lengths.append(0 if change["new"] is None else len(change["new"]))
        clock.now += to_draw

    session.state.observe(draw, "curve")
    session.sweep(num_steps=600, diverge_ratio=None, end_lr=1e-3)
    assert lengths == sorted(lengths)
    assert lengths[-1] == 600
    between = max(REFRESH_S, min(to_draw / SCREEN_SHARE, SLOWEST_REFRESH_S))
    assert len(lengths) == pytest.approx(6 / between, rel=0.25)


@pytest.mark.parametrize("trait", ["curve", "progress", "phase", "message", "advice", "lrs", "plan"])
def test_a_watcher_that_fails_is_logged_and_ends_no_job(trait: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(change: Any) -> None:
        raise ValueError("the watcher's")

    session = Session(a_learning_loop())
    session.state.observe(fail, trait)
    with caplog.at_level(logging.ERROR, "lrwidget"):
        curve = session.sweep().wait()
    assert len(curve) > 50
    assert session.state.curve is curve
    assert session.state.phase is Phase.IDLE
    assert "the job goes on" in caplog.text


def test_picks_from_several_threads_while_a_job_shows_its_points_lose_nothing() -> None:
    """Traitlets hold notifications back for one thread at a time only."""
    session = Session(a_loop(), launch=run_in_thread, clock=lambda: next(ticks))
    ticks = iter(range(10**9))  # every step is due
    failures: list[BaseException] = []
    stop = threading.Event()

    def drag() -> None:
        n = 0
        try:
            while not stop.is_set():
                n += 1
                session.pick_max(1e-3 * (1 + n % 7))
                session.set_options(RunOptions(epochs=1 + n % 3))
        except BaseException as error:
            failures.append(error)

    draggers = [threading.Thread(target=drag) for _ in range(2)]
    for dragger in draggers:
        dragger.start()
    job = session.sweep(num_steps=150, end_lr=1e-3, diverge_ratio=None)
    curve = job.wait(60)
    stop.set()
    for dragger in draggers:
        dragger.join(10)
    assert failures == []
    assert len(curve) == 150
    assert session.state.plan == session.plan()
    assert "notify_change" not in vars(session.state)  # traitlets is back to its own


# ---- groups ----------------------------------------------------------------------------------------------------------


def test_splitting_gives_a_marker_per_group_and_unsplitting_the_same_groups_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = [(torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 0, 1]))] * 20
    session = Session(Loop(model, optimizer, batches, nn.CrossEntropyLoss()))
    (group,) = optimizer.param_groups
    content = dict(group)

    session.split(3)
    assert [g.name for g in session.state.groups] == ["stem", "body", "head"]
    session.pick(slice(1e-5, 1e-3))
    assert session.state.lrs == pytest.approx((1e-5, 1e-4, 1e-3))
    session.sweep(num_steps=12, verify=True)
    assert session.state.curve is not None
    assert session.state.curve.names == ("stem", "body", "head")
    assert session.state.curve.given_back is True
    session.fine_tune(1)
    assert session.state.history is not None
    assert session.state.history.lrs.shape == (20, 3)
    state = dict(optimizer.state)

    session.unsplit()
    assert optimizer.param_groups[0] is group
    assert len(optimizer.param_groups) == 1
    assert group == content
    assert dict(optimizer.state) == state
    assert session.state.lrs == (1e-3,)
    assert session.plan(1).n_groups == 1


def test_a_max_lr_that_was_picked_stays_when_groups_are_split_and_joined() -> None:
    model = net()
    session = Session(Loop(model, torch.optim.SGD(model.parameters(), lr=0.1), loader(), F.cross_entropy))
    session.pick_max(2.3e-3)
    session.split(2)
    assert session.state.lrs == pytest.approx((2.3e-3,) * 2)
    session.unsplit()
    assert session.state.lrs == pytest.approx((2.3e-3,))


def test_splitting_what_cannot_be_split_changes_nothing() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = Session(Loop(model, optimizer, [(torch.ones(2, 2), torch.tensor([0, 1]))], nn.CrossEntropyLoss()))
    with pytest.raises(InputError, match="Got"):
        session.split(3)
    assert len(optimizer.param_groups) == len(session.state.groups) == 1


# ---- undo, together, frozen, names -----------------------------------------------------------------------------------


def test_every_way_to_pick_can_be_undone() -> None:
    session = Session(three_groups())
    doings: list[Callable[[], object]] = [
        lambda: session.pick(1e-2),
        lambda: session.pick_max(3e-2),
        lambda: session.pick_group(0, 1e-6),
        lambda: session.reset_pick(),
    ]
    for do in doings:
        before = session.state.lrs
        do()
        after = session.state.lrs
        assert after != before and session.state.can_undo
        session.undo()
        assert session.state.lrs == before and session.state.can_redo
        assert session.state.plan is not None and session.state.plan.max_lrs == before
        session.redo()
        assert session.state.lrs == after


def test_a_pick_that_is_refused_is_nothing_to_undo() -> None:
    session = Session(three_groups())
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(InputError):
            session.pick_max(bad)
    assert not session.state.can_undo


def test_together_a_dragged_marker_takes_all_others_along() -> None:
    session = Session(three_groups())
    session.set_together(True)
    for lr in (2e-4, 3e-4, 4e-4):
        session.pick_group(1, lr, dragging=True)
    session.pick_group(1, 5e-4)
    assert session.state.lrs == pytest.approx((5e-5, 5e-4, 5e-3))
    session.undo()
    assert session.state.lrs == (1e-5, 1e-4, 1e-3)


def test_a_reset_goes_to_the_recommendation_and_can_be_undone() -> None:
    session = Session(a_learning_loop())
    session.sweep()
    recommended = session.state.lrs
    session.pick(slice(1e-6, 1e-5))
    session.reset_pick()
    assert session.state.lrs == recommended
    session.undo()
    assert session.state.lrs == (1e-6, 1e-5)


def test_a_frozen_group_does_not_train_and_the_others_do() -> None:
    loop = three_groups()
    session = Session(loop)
    session.freeze(1, True)
    assert session.state.frozen == (False, True, False)
    before = [p.detach().clone() for p in loop.model.parameters()]
    session.fine_tune(steps=3)
    same = [torch.equal(p, old) for p, old in zip(loop.model.parameters(), before, strict=True)]
    assert same == [False, False, True, True, False, False]
    assert all(p.requires_grad for p in loop.model.parameters())
    session.freeze(1, False)
    assert session.state.frozen == ()


def test_one_group_has_to_train() -> None:
    session = Session(three_groups())
    session.freeze(0, True), session.freeze(1, True)
    with pytest.raises(InputError):
        session.freeze(2, True)
    assert session.state.frozen == (True, True, False)


def test_a_group_can_be_renamed_on_the_screen_alone() -> None:
    loop = three_groups()
    before = print_of(loop)
    session = Session(loop)
    session.rename_group(2, " head ")
    assert [group.name for group in session.state.groups][2] == "head"
    assert session.plan().names[2] == "head"
    session.sweep(num_steps=3)
    assert session.state.curve is not None and session.state.curve.names[2] == "head"
    assert not oracle.changes(before, print_of(loop))
    for bad in ("", "  ", session.state.groups[0].name):
        with pytest.raises(InputError):
            session.rename_group(2, bad)


# ---- kept sweeps -----------------------------------------------------------------------------------------------------


def test_sweeps_are_kept_and_one_of_them_is_chosen() -> None:
    session = Session(a_learning_loop())
    session.sweep(num_steps=20)
    session.sweep(num_steps=30)
    state = session.state
    assert [(sweep.name, sweep.curve.num_steps) for sweep in state.sweeps] == [("sweep 1", 20), ("sweep 2", 30)]
    assert state.chosen == 1 and state.curve is state.sweeps[1].curve
    session.choose_sweep(0)
    assert state.curve is state.sweeps[0].curve and state.advice is state.sweeps[0].advice
    session.rename_sweep(0, "small batches")
    assert state.sweeps[0].name == "small batches"


def test_choosing_a_sweep_moves_only_markers_that_nobody_has_moved() -> None:
    session = Session(a_learning_loop())
    session.sweep(num_steps=100)
    session.sweep(num_steps=60)
    session.choose_sweep(0)
    assert session.state.advice is not None
    assert max(session.state.lrs) == session.state.advice.recommended.lr
    session.pick_max(1.23e-4)
    session.choose_sweep(1)
    assert max(session.state.lrs) == 1.23e-4


@pytest.mark.parametrize(("removed", "chosen", "left"), [(0, 1, 1), (1, 0, 0), (2, 1, 1)])
def test_a_removed_sweep_is_gone_and_another_one_is_chosen(removed: int, chosen: int, left: int) -> None:
    session = Session(a_learning_loop())
    for steps in (5, 6, 7):
        session.sweep(num_steps=steps)
    session.choose_sweep(2)
    session.remove_sweep(removed)
    assert len(session.state.sweeps) == 2
    assert session.state.chosen == 1
    assert session.state.curve is session.state.sweeps[1].curve
    session.remove_sweep(1), session.remove_sweep(0)
    assert session.state.sweeps == () and session.state.chosen is None and session.state.curve is None


def test_a_sweep_without_a_point_is_not_kept_and_one_that_is_stopped_is() -> None:
    stopping = Pausing(4)
    session = Session(a_loop(stopping), launch=run_in_thread)
    job = session.sweep(num_steps=50)
    assert stopping.reached.wait(10)
    session.stop()
    stopping.go.set()
    over(job)
    assert [len(sweep.curve) for sweep in session.state.sweeps] == [4]


@pytest.mark.parametrize("index", [-1, 1, 7])
def test_a_sweep_that_is_not_there_is_an_error_and_changes_nothing(index: int) -> None:
    session = Session(a_learning_loop())
    session.sweep(num_steps=5)
    for do in (session.choose_sweep, session.remove_sweep, lambda index: session.rename_sweep(index, "a")):
        with pytest.raises(InputError):
            do(index)
    assert session.state.chosen == 0


# ---- pauses ----------------------------------------------------------------------------------------------------------


class Looking:
    """A loss that counts its calls and lets a test wait for them."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = threading.Condition()

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        with self.called:
            self.calls += 1
            self.called.notify_all()
        return F.cross_entropy(output, target)

    def wait_for(self, calls: int) -> None:
        with self.called:
            assert self.called.wait_for(lambda: self.calls >= calls, 10)


@pytest.mark.parametrize("name", ["sweep", "run"])
def test_before_a_job_waits_in_a_pause_all_of_its_steps_are_shown(name: str) -> None:
    loss = Pausing(at=3)
    session = Session(a_loop(loss), launch=run_in_thread)
    job: Job[Any] = session.sweep(num_steps=400) if name == "sweep" else session.fine_tune(steps=400)
    assert loss.reached.wait(10)
    session.pause()
    seen = threading.Event()
    session.state.observe(lambda _: session.state.progress.step == 3 and seen.set(), "progress")
    loss.go.set()
    assert seen.wait(10)
    shown = session.state.curve if name == "sweep" else session.state.history
    assert shown is not None and len(shown) == 3 and session.state.paused
    session.stop()
    job.wait(10)


def test_a_paused_sweep_waits_keeps_the_model_and_ends_as_if_it_had_not_waited() -> None:
    torch.manual_seed(1)
    whole = Session(a_loop(), launch=run_inline)
    whole.sweep(num_steps=400, diverge_ratio=None, end_lr=1e-2)
    torch.manual_seed(1)
    loss = Pausing(at=3)
    session = Session(a_loop(loss), launch=run_in_thread)
    job = session.sweep(num_steps=400, diverge_ratio=None, end_lr=1e-2)
    assert loss.reached.wait(10)
    session.pause()
    loss.go.set()
    assert session.state.paused
    with pytest.raises(TimeoutError):
        job.wait(0.3)
    assert loss.calls == 3
    with pytest.raises(BusyError):
        session.fine_tune(steps=1)
    session.resume()
    curve = over(job)
    assert not session.state.paused and session.state.phase is Phase.IDLE
    assert whole.state.curve is not None
    assert np.array_equal(curve.losses, whole.state.curve.losses)


@pytest.mark.parametrize("kind", ["sweep", "run"])
def test_a_paused_job_can_be_stopped(kind: str) -> None:
    looking = Looking()
    session = Session(a_loop(looking), launch=run_in_thread)
    job: Job[Any] = session.sweep(num_steps=5000) if kind == "sweep" else session.fine_tune(steps=5000)
    looking.wait_for(2)
    session.pause()
    session.stop()
    over(job)
    assert session.state.phase is Phase.IDLE and not session.state.paused
    assert looking.calls < 5000


def test_a_pause_without_a_job_or_from_inside_of_one_is_no_trap() -> None:
    session = Session(a_loop())
    session.pause()
    session.resume()
    assert not session.state.paused
    told: list[str] = []

    def watch(change: Any) -> None:
        if change["new"] is not None and len(change["new"]) and not told:
            with pytest.raises(InputError) as caught:
                session.pause()
            told.append(str(caught.value))

    session.state.observe(watch, "curve")
    session.sweep(num_steps=20)
    assert told and "stop()" in told[0]


# ---- a run's own options ---------------------------------------------------------------------------------------------


def test_a_run_tells_its_steps_and_epochs_and_writes_checkpoints_where_asked(tmp_path: Path) -> None:
    steps: list[int] = []
    epochs: list[int] = []
    session = Session(a_loop(valid_dl=loader(12)))
    session.fine_tune(
        2,
        on_step=lambda point: steps.append(point.step),
        on_epoch=lambda epoch: epochs.append(epoch.epoch),
        checkpoint_dir=tmp_path / "run",
        patience=5,
    )
    assert session.state.history is not None
    assert steps == list(range(len(session.state.history))) and epochs == [1, 2]
    assert list((tmp_path / "run").glob("*.json"))


@pytest.mark.parametrize(
    ("of_loop", "asked", "says"),
    [
        (
            {"metrics": {"one": lambda output, target: 1.0}},
            {},
            r"Got metrics \(one\) without valid_dl; expected batches",
        ),
        ({}, {"checkpoint_every": 5}, "Got checkpoint_every=5 without checkpoint_dir; expected a folder"),
        ({}, {"patience": 2}, "Got patience without valid_dl; expected batches"),
    ],
)
def test_options_of_which_nothing_would_come_are_refused_as_in_a_script_and_nothing_changes(
    of_loop: dict[str, Any], asked: dict[str, Any], says: str
) -> None:
    loop = a_loop(**of_loop)
    before, session = print_of(loop), Session(loop)
    shown = {name: getattr(session.state, name) for name in session.state.trait_names()}
    with pytest.raises(InputError, match=says):
        session.fine_tune(1, **asked)
    assert all(getattr(session.state, name) is value for name, value in shown.items())
    assert session.job is None and not oracle.changes(before, print_of(loop))
    with pytest.raises(InputError, match=says):
        given = {"plan": session.plan(1), **of_loop, **asked}
        fit(loop.model, loop.optimizers[0], loop.train_dl, loop.loss_fn, **given)


def test_the_best_weights_are_kept_without_validation_too() -> None:
    loop = a_loop()
    session = Session(loop)
    session.fine_tune(2)
    after = [p.detach().clone() for p in loop.model.parameters()]
    with torch.no_grad():
        for parameter in loop.model.parameters():
            parameter.zero_()
    assert session.restore_best() is not None
    assert all(torch.equal(p, kept) for p, kept in zip(loop.model.parameters(), after, strict=True))


def test_options_of_the_screen_reach_the_plan() -> None:
    session = Session(three_groups())
    session.set_options(RunOptions(momentum=(0.8, 0.9), anneal="linear", phases=3))
    cycle = session.plan().cycles[-1]
    assert (cycle.momentum, cycle.anneal, cycle.phases) == ((0.8, 0.9), "linear", 3)
    session.set_options(RunOptions(preset="fastai", momentum=None))
    assert session.plan().cycles[-1].momentum is None


def test_a_group_that_was_added_during_a_run_is_on_the_screen_after_it() -> None:
    loop = three_groups()
    loop.optimizers[0].param_groups.pop()
    loop = a_loop(model=loop.model, optimizer=loop.optimizers[0])
    session = Session(loop)

    def unfreeze(epoch: Any) -> None:
        if epoch.epoch == 1:
            loop.optimizers[0].add_param_group({"params": list(loop.model[2].parameters()), "lr": 1e-2})  # type: ignore[attr-defined]

    session.fine_tune(2, on_epoch=unfreeze)
    assert len(session.state.groups) == len(session.state.lrs) == len(session.plan().max_lrs) == 3
    assert session.state.history is not None and session.state.history.lrs.shape[1] == 3
    session.fine_tune(1)
    assert session.state.history.stop_reason is StopReason.FINISHED


def test_the_oldest_sweep_makes_room_when_there_are_too_many() -> None:
    session = Session(a_learning_loop())
    for _ in range(MOST_KEPT + 3):
        session.sweep(num_steps=2)
    names = [sweep.name for sweep in session.state.sweeps]
    assert names == [f"sweep {number}" for number in range(4, MOST_KEPT + 4)]
    assert session.state.chosen == MOST_KEPT - 1


def test_another_chosen_sweep_is_what_the_status_tells_of() -> None:
    stopping = Pausing(30)
    session = Session(a_loop(stopping), launch=run_in_thread)
    over(session.sweep(num_steps=10))
    job = session.sweep(num_steps=50)
    assert stopping.reached.wait(10)
    session.stop()
    stopping.go.set()
    over(job)
    assert session.state.message.startswith("Stopped")
    session.choose_sweep(0)
    assert session.state.message == session.state.sweep_message and "all planned steps" in session.state.message
    session.remove_sweep(1), session.remove_sweep(0)
    assert session.state.sweep_message == "" and session.state.message.startswith("Sweep to see")


def test_what_ended_a_sweep_is_told_below_its_curve() -> None:
    session = Session(a_loop(failing_at(7, ZeroDivisionError("my own mistake"))))
    with pytest.raises(ZeroDivisionError):
        session.sweep()
    assert "ZeroDivisionError: my own mistake" in session.state.sweep_message
    assert session.state.sweep_message.endswith("The model is as it was before.")


def test_a_job_that_runs_has_not_ended_for_any_reason() -> None:
    session = Session(a_learning_loop())
    seen: list[Any] = []

    def look(change: Any) -> None:
        if change["new"] is not None and session.state.phase is not Phase.IDLE and len(change["new"]) in range(1, 5):
            seen.append((change["new"].stop_reason, change["new"].note))

    session.state.observe(look, ["curve", "history"])
    session.sweep(num_steps=20)
    session.fine_tune(steps=20)
    assert len(seen) >= 2 and set(seen) == {(None, "")}
