"""A sweep measures what a plain loop would, and however it ends everything is bit for bit as before."""

import math
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lrwidget.engine.errors import EmptyLoaderError, InputError, InputTypeError, LossError, ModelMismatchError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.sweeps.curve import LossCurve, StopReason
from lrwidget.engine.sweeps.sweep import Sweep, SweepConfig, SweepPoint, range_test
from tests.engine.oracle import changes, of_everything
from tests.engine.zoo import Augmented, Wild, adam, classification, loader, net, train

Check = Callable[[], None]


class UserError(Exception):
    """The user's own."""


def in_training(model: nn.Module | None = None, **options: Any) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    """A model that has been trained a little: moments in the optimizer, gradients on the parameters."""
    model = net() if model is None else model
    optimizer = adam(model)
    batches = loader(**options)
    train(model, optimizer, batches, 3)
    return model, optimizer, batches


def raise_at(call: int, error: BaseException, then: Callable[..., Any]) -> Callable[..., Any]:
    """`then`, which raises `error` at its call number `call`."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return then(*args, **kwargs)

    return wrapped


# What it measures ----------------------------------------------------------------------------------------------------


def test_a_sweep_measures_what_a_plain_loop_with_these_lrs_measures() -> None:
    model, optimizer, batches = in_training(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    curve = range_test(model, optimizer, batches, F.cross_entropy, start_lr=1e-5, end_lr=1e-1, num_steps=20)

    losses = []
    stream = iter([batch for _ in range(4) for batch in batches])
    for step in range(20):
        lr = 1e-5 * (1e-1 / 1e-5) ** (step / 19)
        for group, ratio in zip(optimizer.param_groups, (0.1, 1.0), strict=True):
            group["lr"] = lr * ratio
        x, y = next(stream)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(curve.lrs, [1e-5 * 1e4 ** (i / 19) for i in range(20)], rtol=1e-12)
    assert curve.ratios == (0.1, 1.0)
    assert curve.stop_reason is StopReason.FINISHED
    np.testing.assert_allclose(curve.losses, losses, rtol=1e-5)


def test_two_sweeps_of_one_model_give_the_same_curve_to_the_bit() -> None:
    model, optimizer, batches = in_training()
    first = range_test(model, optimizer, batches, F.cross_entropy, num_steps=12)
    second = range_test(model, optimizer, batches, F.cross_entropy, num_steps=12)
    assert first.losses.tobytes() == second.losses.tobytes()


def test_a_linear_sweep_has_equal_steps_between_its_lrs() -> None:
    config = SweepConfig(start_lr=0.1, end_lr=0.5, num_steps=5, mode="linear")
    np.testing.assert_allclose([config.lr_at(i) for i in range(5)], [0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_ends_of_a_sweep_are_exactly_those_asked_for() -> None:
    config = SweepConfig(start_lr=1e-7, end_lr=10.0, num_steps=100)
    assert (config.lr_at(0), config.lr_at(99)) == (1e-7, 10.0)


def test_every_group_sweeps_at_its_share_of_the_fastest() -> None:
    model, optimizer, batches = in_training()
    used: list[tuple[float, ...]] = []
    optimizer.register_step_pre_hook(lambda o, a, k: used.append(tuple(g["lr"] for g in o.param_groups)))
    curve = range_test(model, optimizer, batches, F.cross_entropy, num_steps=10, end_lr=1e-2)
    np.testing.assert_allclose(used, curve.group_lrs, rtol=1e-12)
    np.testing.assert_allclose(curve.group_lrs[:, 0] * 10, curve.group_lrs[:, 1], rtol=1e-12)


def test_an_exploding_model_ends_its_sweep_early_and_says_so() -> None:
    model = nn.Linear(6, 3)
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    curve = range_test(model, sgd, loader(), F.cross_entropy, start_lr=1e-3, end_lr=1e6, num_steps=200)
    assert curve.stop_reason in (StopReason.DIVERGED, StopReason.NOT_FINITE)
    assert len(curve) < 200


def test_a_loss_that_becomes_nan_is_the_last_point_of_the_curve() -> None:
    model, optimizer, batches = in_training()
    loss_fn = raise_at(10**9, UserError(), F.cross_entropy)
    calls = 0

    def nan_at_6(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return loss_fn(output, target) * (math.nan if calls == 6 else 1.0)

    curve = range_test(model, optimizer, batches, nan_at_6, num_steps=30)
    assert curve.stop_reason is StopReason.NOT_FINITE
    assert len(curve) == 6
    assert math.isnan(curve.losses[-1])


def test_the_sweep_of_one_shot_batches_ends_with_what_it_has() -> None:
    model, optimizer, batches = in_training()
    once = iter(list(batches))
    curve = range_test(model, optimizer, once, F.cross_entropy, num_steps=30)
    assert curve.stop_reason is StopReason.RAN_DRY
    assert len(curve) == len(batches)


def test_a_loader_shorter_than_the_sweep_starts_over_and_reshuffles() -> None:
    model, optimizer, _ = in_training()
    orders: list[list[float]] = [[]]
    data = loader(batch_size=16)

    def look(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        orders[-1].append(float(target.float().mean()))
        if len(orders[-1]) == 3:
            orders.append([])
        return F.cross_entropy(output, target)

    curve = range_test(model, optimizer, data, look, num_steps=9)
    assert len(curve) == 9
    assert len({tuple(order) for order in orders[:3]}) > 1


# Given back, however it ends ------------------------------------------------------------------------------------------

ENDINGS = ["finished", "stopped", "diverged", "nan", "ran dry"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_sweep_that_ends_by_itself_gives_everything_back(ending: str) -> None:
    model, optimizer, batches = in_training()
    source: Any = iter(list(batches)) if ending == "ran dry" else batches
    loss_fn: Any = F.cross_entropy
    if ending == "nan":
        loss_fn = lambda out, y: F.cross_entropy(out, y) * (math.nan if out.detach().abs().max() > 8 else 1)  # noqa: E731
    before = of_everything(model, optimizer, loaders=(batches,))
    end_lr = 1e5 if ending in ("diverged", "nan") else 1e-3
    loop = Loop(model, optimizer, source, loss_fn)
    sweep = Sweep(loop, SweepConfig(end_lr=end_lr, num_steps=60))
    points: list[SweepPoint] = []
    curve = sweep.run(lambda: ending == "stopped" and len(points) == 7, points.append)
    assert not changes(before, of_everything(model, optimizer, loaders=(batches,)))
    assert len(curve) == len(points)
    expected = {"finished": StopReason.FINISHED, "stopped": StopReason.STOPPED, "ran dry": StopReason.RAN_DRY}
    assert curve.stop_reason is expected.get(ending, curve.stop_reason)
    assert curve.note


@pytest.mark.parametrize(
    "error", [UserError("mine"), KeyboardInterrupt(), torch.OutOfMemoryError("full"), SystemExit(1)]
)
@pytest.mark.parametrize("place", ["forward", "loss", "backward", "step", "loader", "callback", "stop"])
def test_an_exception_anywhere_gives_everything_back_and_keeps_the_points(place: str, error: BaseException) -> None:
    model, optimizer, batches = in_training(Wild())
    loss_fn: Any = F.cross_entropy
    source: Any = batches
    on_point: Any = lambda point: None  # noqa: E731
    should_stop: Any = lambda: False  # noqa: E731
    handles = []
    if place == "forward":
        handles.append(model.head.register_forward_pre_hook(raise_at(5, error, lambda *a: None)))
    elif place == "loss":
        loss_fn = raise_at(5, error, F.cross_entropy)
    elif place == "backward":
        handles.append(model.head.weight.register_hook(raise_at(5, error, lambda g: g)))
    elif place == "step":
        handles.append(optimizer.register_step_post_hook(raise_at(5, error, lambda *a: None)))
    elif place == "loader":
        source = DataLoader(
            batches.dataset, 8, shuffle=True, collate_fn=raise_at(5, error, torch.utils.data.default_collate)
        )
    elif place == "callback":
        on_point = raise_at(4, error, on_point)
    else:
        should_stop = raise_at(5, error, should_stop)
    before = of_everything(model, optimizer, loaders=(batches, source))
    sweep = Sweep(Loop(model, optimizer, source, loss_fn), SweepConfig(num_steps=20))
    with pytest.raises(type(error)) as caught:
        sweep.run(should_stop, on_point)
    assert caught.value is error or place == "backward"  # autograd makes a new one of some
    assert not changes(before, of_everything(model, optimizer, loaders=(batches, source)))
    assert len(sweep.curve()) == 4
    interrupted = isinstance(error, KeyboardInterrupt)
    assert sweep.curve().stop_reason is (StopReason.INTERRUPTED if interrupted else StopReason.FAILED)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("place", ["forward", "loss", "train step", "callback", "stop"])
@pytest.mark.parametrize("training", [True, False])
def test_a_stop_iteration_of_the_users_reaches_them_as_it_is(place: str, training: bool) -> None:
    model, optimizer, batches = in_training(Wild())
    model.train(training)
    error = StopIteration("no entry is long enough")
    hooks = {"forward": lambda: model.head.register_forward_pre_hook(raise_at(3, error, lambda *a: None))}
    hooks.get(place, lambda: None)()

    def step(batch: Any) -> torch.Tensor:
        return train(model, optimizer, [batch], 1)[0]

    loss_fn = raise_at(3, error, F.cross_entropy) if place == "loss" else F.cross_entropy
    train_step = raise_at(3, error, step) if place == "train step" else None
    before = of_everything(model, optimizer, loaders=(batches,))
    sweep = Sweep(Loop(model, optimizer, batches, loss_fn, train_step=train_step), SweepConfig(num_steps=9))
    should_stop = raise_at(3, error, lambda: False) if place == "stop" else lambda: False
    on_point = raise_at(2, error, lambda point: None) if place == "callback" else lambda point: None
    with pytest.raises(StopIteration) as caught:
        sweep.run(should_stop, on_point)
    assert caught.value is error
    assert not changes(before, of_everything(model, optimizer, loaders=(batches,)))
    assert len(sweep.curve()) == 2
    assert sweep.curve().stop_reason is StopReason.FAILED


def test_range_test_raises_the_users_own_exception_with_the_points_so_far() -> None:
    model, optimizer, batches = in_training()
    error = UserError("mine")
    with pytest.raises(UserError) as caught:
        range_test(model, optimizer, batches, raise_at(5, error, F.cross_entropy))
    assert caught.value is error
    assert len(caught.value.curve) == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["raise_signal", "kill"])
def test_a_real_ctrl_c_in_a_script_ends_the_sweep_and_is_raised(how: str) -> None:
    model, optimizer, batches = in_training()
    before = of_everything(model, optimizer, loaders=(batches,))
    points: list[SweepPoint] = []

    def press(point: SweepPoint) -> None:
        points.append(point)
        if len(points) == 5:
            signal.raise_signal(signal.SIGINT) if how == "raise_signal" else os.kill(os.getpid(), signal.SIGINT)

    sweep = Sweep(Loop(model, optimizer, batches, F.cross_entropy), SweepConfig(num_steps=20))
    with pytest.raises(KeyboardInterrupt):
        sweep.run(on_point=press)
    assert not changes(before, of_everything(model, optimizer, loaders=(batches,)))
    assert sweep.curve().stop_reason is StopReason.INTERRUPTED
    assert len(sweep.curve()) == 5


def test_a_sweep_of_a_model_that_writes_everywhere_leaves_no_trace() -> None:
    model, optimizer, batches = in_training(Wild())
    before = of_everything(model, optimizer, loaders=(batches,))
    curve = range_test(model, optimizer, batches, F.cross_entropy, num_steps=15)
    assert len(curve) == 15
    assert not changes(before, of_everything(model, optimizer, loaders=(batches,)))


def test_a_fresh_optimizer_has_no_state_after_a_sweep() -> None:
    model = net()
    optimizer = adam(model)
    range_test(model, optimizer, loader(), F.cross_entropy, num_steps=5)
    assert not optimizer.state
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_in_eval_mode_is_swept_in_training_mode_and_found_in_eval_mode() -> None:
    model = net()
    optimizer = adam(model)
    model.eval()
    model[3].train()
    modes: list[bool] = []
    model[1].register_forward_pre_hook(lambda module, args: modes.append(module.training))
    range_test(model, optimizer, loader(), F.cross_entropy, num_steps=5)
    assert all(modes)
    assert [module.training for module in model.modules()] == [False, False, False, False, True, False]


def test_frozen_batch_norm_in_eval_mode_stays_so_during_the_sweep() -> None:
    model = net()
    model[1].eval()
    before = of_everything(model)
    seen: list[bool] = []
    model[1].register_forward_pre_hook(lambda module, args: seen.append(module.training))
    range_test(model, adam(model), loader(), F.cross_entropy, num_steps=5)
    assert not any(seen)
    assert before["Sequential0/1 training"] is False


def test_verify_says_that_all_was_given_back() -> None:
    model, optimizer, batches = in_training(Wild())
    sweep = Sweep(Loop(model, optimizer, batches, F.cross_entropy), SweepConfig(num_steps=5), verify=True)
    sweep.run()
    assert sweep._given_back is True


# A sweep costs no randomness -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("own_generator", [True, False])
def test_training_after_a_sweep_equals_training_without_one(workers: int, own_generator: bool) -> None:
    def run(swept: bool) -> tuple[list[float], list[bytes]]:
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        model = net()
        optimizer = adam(model)
        options: dict[str, Any] = {"generator": torch.Generator().manual_seed(4)} if own_generator else {}
        batches = DataLoader(Augmented(), batch_size=8, shuffle=True, num_workers=workers, **options)
        losses = train(model, optimizer, batches, 4)
        if swept:
            range_test(model, optimizer, batches, F.cross_entropy, num_steps=8)
        losses += train(model, optimizer, batches, 8)
        return losses, [tensor.numpy().tobytes() for tensor in model.state_dict().values()]

    assert run(swept=True) == run(swept=False)


def test_training_goes_on_the_same_when_a_persistent_worker_pool_was_half_used() -> None:
    def run(swept: bool) -> list[float]:
        torch.manual_seed(1)
        model = net()
        optimizer = adam(model)
        batches = DataLoader(Augmented(), batch_size=8, shuffle=True, num_workers=1, persistent_workers=True)
        losses = train(model, optimizer, batches, 8)
        workers = [worker.pid for worker in batches._iterator._workers]
        if swept:
            range_test(model, optimizer, batches, F.cross_entropy, num_steps=8)
        assert [worker.pid for worker in batches._iterator._workers] == workers
        losses += train(model, optimizer, batches, 8)
        batches._iterator._shutdown_workers()
        return losses

    assert run(swept=True) == run(swept=False)


# Bad input ------------------------------------------------------------------------------------------------------------


def message(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert text.startswith("Got "), text
    assert "expected" in text or "takes" in text, text
    return text


def test_an_optimizer_of_another_model_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelMismatchError) as error:
        range_test(net(), adam(net()), loader(), F.cross_entropy)
    assert "again from model.parameters()" in message(error)


@pytest.mark.parametrize("empty", [[], DataLoader([], batch_size=2), iter(())])
def test_an_empty_loader_is_refused(empty: Any) -> None:
    model = net()
    with pytest.raises(EmptyLoaderError) as error:
        range_test(model, adam(model), empty, F.cross_entropy)
    assert "no batch" in message(error)


@pytest.mark.parametrize("lr", [math.nan, math.inf, -1e-3])
def test_groups_whose_lrs_have_no_ratio_are_refused(lr: float) -> None:
    model, optimizer, batches = in_training()
    optimizer.param_groups[1]["lr"] = lr
    with pytest.raises(InputError) as error:
        range_test(model, optimizer, batches, F.cross_entropy)
    assert f"the LRs 0.001, {lr:g};" in message(error)


def test_a_loader_emptied_by_drop_last_says_that() -> None:
    model = net()
    with pytest.raises(EmptyLoaderError) as error:
        range_test(model, adam(model), loader(samples=4, drop_last=True), F.cross_entropy)
    assert "drop_last=True" in message(error)


def test_a_first_loss_that_is_not_finite_is_an_error_and_gives_everything_back() -> None:
    model, optimizer, batches = in_training()
    before = of_everything(model, optimizer, loaders=(batches,))
    with pytest.raises(LossError) as error:
        range_test(model, optimizer, batches, lambda out, y: F.cross_entropy(out, y) * math.inf)
    assert "inf at the first step" in message(error)
    assert not changes(before, of_everything(model, optimizer, loaders=(batches,)))


@pytest.mark.parametrize(
    "options",
    [
        {"start_lr": 1.0, "end_lr": 0.1},
        {"start_lr": 0.0},
        {"start_lr": -1e-3},
        {"end_lr": math.inf},
        {"start_lr": math.nan},
        {"start_lr": "1e-3"},
        {"num_steps": 1},
        {"num_steps": 10.5},
        {"num_steps": True},
        {"mode": "log"},
        {"num_steps": "100"},
        {"smoothing": 1.0},
        {"smoothing": "little"},
        {"smoothing": None},
        {"diverge_ratio": 0},
        {"diverge_ratio": "never"},
        {"diverge_ratio": True},
        {"amp": "fp8"},
        {"accumulate": 0},
        {"accumulate": 1.5},
        {"clip_grad_norm": -1.0},
        {"clip_grad_norm": "1"},
    ],
)
def test_a_range_or_option_that_cannot_be_is_refused_by_name(options: dict[str, Any]) -> None:
    model = net()
    with pytest.raises(InputError) as error:
        range_test(model, adam(model), loader(), F.cross_entropy, **options)
    assert any(name in message(error) for name in options)


def test_numbers_of_numpy_are_as_good_as_pythons() -> None:
    config = SweepConfig(
        start_lr=np.float32(1e-6),
        end_lr=np.logspace(-3, 0, 4)[-1],
        num_steps=np.arange(7)[-1],
        smoothing=np.float64(0.2),
        diverge_ratio=np.float32(3),
    )
    assert config == SweepConfig(
        start_lr=float(np.float32(1e-6)), end_lr=1.0, num_steps=6, smoothing=0.2, diverge_ratio=3.0
    )
    assert {type(getattr(config, name)) for name in ("start_lr", "end_lr", "smoothing", "diverge_ratio")} == {float}
    assert type(config.num_steps) is int
    model = net()
    curve = range_test(
        model,
        adam(model),
        loader(),
        F.cross_entropy,
        num_steps=np.int64(4),
        accumulate=np.int32(2),
        clip_grad_norm=np.float32(1),
    )
    assert len(curve) == 4


@pytest.mark.parametrize(("option", "meant"), [("num_it", "num_steps"), ("step_mode", "mode"), ("end_rl", "end_lr")])
def test_an_unknown_option_is_answered_with_the_one_that_was_meant(option: str, meant: str) -> None:
    model = net()
    with pytest.raises(InputTypeError) as error:
        range_test(model, adam(model), loader(), F.cross_entropy, **{option: 10})
    assert f"Did you mean {meant!r}" in message(error)


def test_the_same_data_is_learned_after_a_sweep() -> None:
    x, y = classification()
    model = net()
    optimizer = adam(model)
    range_test(model, optimizer, [(x, y)], F.cross_entropy, num_steps=50)
    losses = train(model, optimizer, [(x, y)], 60)
    assert losses[-1] < losses[0] * 0.75


# What the gradients say -----------------------------------------------------------------------------------------------


def test_a_curve_tells_whose_gradient_is_how_large_at_the_current_weights() -> None:
    model = net()
    optimizer = adam(model)
    batches = loader()
    (inputs, targets), *_ = batches
    model.train()
    state = torch.get_rng_state()
    F.cross_entropy(model(inputs), targets).backward()
    squared = [sum(float((p.grad.double() ** 2).sum()) for p in group["params"]) for group in optimizer.param_groups]
    optimizer.zero_grad()
    torch.set_rng_state(state)
    curve = range_test(model, optimizer, [(inputs, targets)], F.cross_entropy, num_steps=5, clip_grad_norm=1e-3)
    assert curve.gradient_shares == pytest.approx([part / sum(squared) for part in squared], rel=1e-3)


def test_gradients_that_cannot_be_seen_are_not_told() -> None:
    model = net()
    optimizer = adam(model)

    def train_step(batch: Any) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    assert range_test(model, optimizer, loader(), num_steps=3, train_step=train_step).gradient_shares == ()


def test_a_growing_curve_has_the_smoothed_losses_that_it_would_compute_itself() -> None:
    model = net()
    sweep = Sweep(Loop(model, adam(model), loader(), F.cross_entropy), SweepConfig(num_steps=30, diverge_ratio=None))
    for curve in (sweep.run(), replace(sweep.curve(), seconds=1.0)):
        again = LossCurve.from_dict(curve.to_dict())
        assert np.array_equal(curve.smoothed, again.smoothed) and curve.same_as(replace(again, seconds=curve.seconds))


# A few steps ahead ----------------------------------------------------------------------------------------------------


def ends(kind: str) -> tuple[Any, dict[str, Any], Callable[[], bool]]:
    """A loss, options of a sweep, and when to stop, for each way in which a sweep ends."""
    calls = [0]

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if kind == "an exception" and calls[0] == 17:
            raise ZeroDivisionError("the user's own")
        if kind == "an exception beyond the end" and not torch.isfinite(output).all():
            raise ValueError("the user's own check")
        loss = F.cross_entropy(output, target)
        return loss * math.nan if kind.startswith("not finite") and calls[0] >= 11 else loss

    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return kind == "stopped" and asked[0] > 13

    high = {"end_lr": 1e6} if "diverged" in kind or "beyond" in kind else {"end_lr": 1e-2}
    return loss_fn, {"num_steps": 60, "start_lr": 1e-4, **high}, should_stop


ENDINGS_AHEAD = [
    "finished",
    "diverged",
    "not finite",
    "stopped",
    "an exception",
    "an exception beyond the end",
    "ran dry",
]


@pytest.mark.parametrize("kind", ENDINGS_AHEAD)
@pytest.mark.parametrize("how", [{}, {"accumulate": 3}, {"clip_grad_norm": 0.5}, {"amp": "bf16"}], ids=str)
def test_a_sweep_that_runs_ahead_of_its_losses_sees_the_same_and_gives_back_the_same(
    kind: str, how: dict[str, Any]
) -> None:
    def swept(lag: int) -> tuple[LossCurve, str]:
        torch.manual_seed(3)
        loss_fn, config, should_stop = ends(kind)
        model = net()
        data: Any = iter(list(loader())) if kind == "ran dry" else loader()
        loop = Loop(model, adam(model), data, loss_fn, **how)
        sweep = Sweep(loop, SweepConfig(**config), verify=True, lag=lag)
        before = of_everything(model, *loop.optimizers)
        try:
            sweep.run(should_stop)
            raised = ""
        except (ZeroDivisionError, ValueError) as error:
            raised = repr(error)
        assert not changes(before, of_everything(model, *loop.optimizers))
        return sweep.curve(), raised

    (there, raised), (ahead, raised_ahead) = swept(0), swept(4)
    assert raised == raised_ahead
    assert np.array_equal(there.losses, ahead.losses, equal_nan=True)
    assert np.array_equal(there.lrs, ahead.lrs)
    assert np.array_equal(there.smoothed, ahead.smoothed, equal_nan=True)
    assert (there.stop_reason, there.gradient_shares) == (ahead.stop_reason, ahead.gradient_shares)


@pytest.mark.parametrize("kind", ["finished", "diverged", "not finite"])
def test_the_users_own_step_runs_ahead_as_well(kind: str) -> None:
    def swept(lag: int) -> LossCurve:
        torch.manual_seed(3)
        loss_fn, config, _ = ends(kind)
        model = net()
        optimizer = adam(model)

        def train_step(batch: Any) -> torch.Tensor:
            optimizer.zero_grad()
            loss = loss_fn(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            return loss.detach()

        return Sweep(Loop(model, optimizer, loader(), train_step=train_step), SweepConfig(**config), lag=lag).run()

    there, ahead = swept(0), swept(5)
    assert np.array_equal(there.losses, ahead.losses, equal_nan=True) and there.stop_reason == ahead.stop_reason


def test_a_first_loss_that_is_not_finite_is_an_error_ahead_too() -> None:
    model = net()
    loop = Loop(model, adam(model), loader(), lambda output, target: F.cross_entropy(output, target) * math.inf)
    with pytest.raises(LossError, match="first step"):
        Sweep(loop, SweepConfig(num_steps=30), lag=4).run()


@pytest.mark.gpu
def test_on_a_gpu_the_curve_is_that_of_a_look_at_every_step() -> None:
    def swept(lag: int | None) -> LossCurve:
        torch.manual_seed(3)
        model = net().cuda()
        optimizer = torch.optim.AdamW(model.parameters(), capturable=True)
        config = SweepConfig(num_steps=200, end_lr=1e4)
        return Sweep(Loop(model, optimizer, loader(), F.cross_entropy), config, verify=True, lag=lag).run()

    there, ahead = swept(0), swept(None)
    assert np.array_equal(there.losses, ahead.losses) and there.stop_reason == ahead.stop_reason


@pytest.mark.parametrize(
    "config",
    [
        {"start_lr": 1e-3, "end_lr": 1e-3 * (1 + 1e-15), "num_steps": 10},
        {"start_lr": 1.0, "end_lr": 1 + 1e-11, "num_steps": 100, "mode": "linear"},
    ],
)
def test_a_range_whose_rates_cannot_be_told_apart_is_refused_before_the_sweep(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="can be told apart"):
        SweepConfig(**config)


def test_a_range_wider_than_numbers_is_refused_before_the_sweep() -> None:
    with pytest.raises(InputError, match="ends whose ratio is a number"):
        SweepConfig(start_lr=1e-200, end_lr=1e200)


def test_a_curve_seen_while_it_grows_stays_as_it_was() -> None:
    model = net()
    sweep = Sweep(Loop(model, adam(model), loader(), F.cross_entropy), SweepConfig(num_steps=200, diverge_ratio=None))
    looks: list[tuple[LossCurve, list[float]]] = []

    def look(point: SweepPoint) -> None:
        if point.step % 7 == 0:
            curve = sweep.curve()
            looks.append((curve, curve.losses.tolist()))

    final = sweep.run(on_point=look)
    assert len(looks) == 29
    for curve, losses in looks:
        assert curve.losses.tolist() == losses == final.losses[: len(losses)].tolist()
        assert not any(array.flags.writeable for array in (curve.lrs, curve.losses, curve.smoothed))
