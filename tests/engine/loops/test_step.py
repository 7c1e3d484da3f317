"""A step is one real optimizer step, with accumulation, clipping, scaling and closures as in a loop by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrwidget.engine.errors import InputError, LossError
from lrwidget.engine.loops.batches import Batches
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.loops.step import needs_closure
from lrwidget.engine.sweeps.sweep import range_test
from tests.engine.zoo import OPTIMIZERS, classification, loader, make_optimizer, net


def plain() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def weights(model: nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def by_engine(steps: int, batches: Any, make: Callable[[nn.Module], Any], **options: Any) -> tuple[Any, ...]:
    model = plain()
    take = Loop(model, make(model), batches, F.cross_entropy, **options).stepper()
    drawn = Batches(batches)
    results = [take(drawn) for _ in range(steps)]
    return weights(model), [result.loss for result in results], [result.advanced for result in results]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_of_every_optimizer_is_the_step_of_a_plain_loop(name: str) -> None:
    batch = classification(16)
    found, losses, advanced = by_engine(3, [batch], lambda model: make_optimizer(name, model))

    model = plain()
    optimizer = make_optimizer(name, model)
    expected: list[float] = []
    for _ in range(3):

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        loss = optimizer.step(closure) if "LBFGS" in name else closure()
        if "LBFGS" not in name:
            optimizer.step()
        expected.append(float(loss.detach()))
    assert found == weights(model)
    assert losses == pytest.approx(expected, rel=1e-6)
    assert all(advanced)


def test_a_point_of_an_accumulating_loop_is_a_window_with_its_mean_loss() -> None:
    batches = list(loader())[:4]
    found, losses, _ = by_engine(2, batches, sgd, accumulate=2)
    model = plain()
    optimizer = sgd(model)
    expected = []
    for window in (batches[:2], batches[2:]):
        optimizer.zero_grad()
        parts = [F.cross_entropy(model(x), y) for x, y in window]
        for part in parts:
            (part / 2).backward()
        optimizer.step()
        expected.append(sum(part.item() for part in parts) / 2)
    assert found == weights(model)
    assert losses == pytest.approx(expected)


def test_a_window_cut_short_by_the_end_of_a_pass_is_a_mean_of_what_it_has() -> None:
    batches = list(loader())[:3]
    _, losses, _ = by_engine(2, batches, sgd, accumulate=2)
    found, _, _ = by_engine(2, batches, sgd, accumulate=2)
    model = plain()
    optimizer = sgd(model)
    for window in (batches[:2], batches[2:]):
        optimizer.zero_grad()
        for x, y in window:
            (F.cross_entropy(model(x), y) / len(window)).backward()
        optimizer.step()
    assert found == weights(model)
    assert len(losses) == 2


def test_clipping_is_over_all_parameters_of_all_optimizers() -> None:
    batch = classification(16)

    def both(model: nn.Module) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(model[0].parameters(), lr=0.5), torch.optim.SGD(model[2].parameters(), lr=0.5)]  # type: ignore[index]

    found, _, _ = by_engine(2, [batch], both, clip_grad_norm=0.01)
    model = plain()
    optimizers = both(model)
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        for optimizer in optimizers:
            optimizer.step()
    assert found == weights(model)


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("own_scaler", [True, False])
def test_fp16_scales_unscales_and_clips_as_by_hand(clip: float | None, own_scaler: bool) -> None:
    batch = classification(16)
    options: dict[str, Any] = {"amp": "fp16", "clip_grad_norm": clip}
    if own_scaler:
        options["scaler"] = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    found, losses, advanced = by_engine(3, [batch], sgd, **options)

    model = plain()
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", init_scale=2.0**16)
    expected = []
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = F.cross_entropy(model(batch[0]), batch[1])
        scaler.scale(loss).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
        expected.append(loss.item())
    assert found == weights(model)
    assert losses == expected
    assert all(advanced)


def test_a_step_the_scaler_skipped_has_not_advanced() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    _, _, advanced = by_engine(2, [classification(16)], sgd, amp="fp16", scaler=scaler)
    assert advanced == [False, False]
    assert scaler.get_scale() == 2.0**118


def test_a_scaler_that_grows_has_advanced() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0, growth_interval=1)
    _, _, advanced = by_engine(2, [classification(16)], sgd, amp="fp16", scaler=scaler)
    assert advanced == [True, True]
    assert scaler.get_scale() == 4.0


def test_bf16_runs_the_forward_in_bf16_and_keeps_the_weights_in_fp32() -> None:
    seen: list[torch.dtype] = []
    model = plain()
    model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    Loop(model, sgd(model), [classification(8)], F.cross_entropy, amp="bf16").stepper()(Batches([classification(8)]))
    assert seen == [torch.bfloat16]
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_accumulation_and_fp16_go_together() -> None:
    batches = list(loader())[:2]
    found, losses, _ = by_engine(1, batches, sgd, accumulate=2, amp="fp16")
    model = plain()
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", init_scale=2.0**16)
    for x, y in batches:
        with torch.autocast("cpu", dtype=torch.float16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss / 2).backward()
    scaler.step(optimizer)
    assert found == weights(model)
    assert len(losses) == 1


def test_a_loss_that_is_not_finite_leaves_the_weights_alone() -> None:
    model = plain()
    before = weights(model)
    loop = Loop(model, sgd(model), [classification(8)], lambda o, y: F.cross_entropy(o, y) * math.nan)
    loss, advanced = loop.stepper()(loop.batches())
    assert math.isnan(loss)
    assert not advanced
    assert weights(model) == before


@pytest.mark.parametrize("value", [-3.0, 0.0, 1e30])
def test_losses_of_any_sign_and_size_are_losses(value: float) -> None:
    model = plain()
    loop = Loop(model, sgd(model), [classification(8)], lambda o, y: o.sum() * 0 + value)
    assert loop.stepper()(loop.batches()).loss == pytest.approx(value)


@pytest.mark.parametrize(
    ("loss", "dtype"), [(torch.tensor(3), "int64"), (torch.tensor(1.5), "float32"), (torch.tensor(True), "bool")]
)
def test_a_loss_without_a_gradient_says_what_may_be_the_matter(loss: torch.Tensor, dtype: str) -> None:
    model = plain()
    loop = Loop(model, sgd(model), [classification(8)], lambda o, y: loss)
    with pytest.raises(LossError, match=rf"(?s)^Got a loss \(torch.{dtype}\) that no gradient.*expected.*detached"):
        loop.stepper()(loop.batches())


@pytest.mark.parametrize(
    ("returned", "expected"),
    [(0.5, 0.5), (3, 3.0), (torch.tensor(0.5), 0.5), (torch.tensor([2]), 2.0), (torch.tensor(0.5).numpy(), 0.5)],
)
def test_a_train_step_may_return_any_number(returned: Any, expected: float) -> None:
    model = plain()
    loop = Loop(model, sgd(model), [1, 2], train_step=lambda batch: returned)
    assert loop.stepper()(loop.batches()) == (expected, True)


def test_a_train_step_may_return_its_loss_with_the_graph() -> None:
    model = plain()
    loop = Loop(model, sgd(model), [classification(8)], train_step=lambda b: F.cross_entropy(model(b[0]), b[1]))
    assert loop.stepper()(loop.batches()).loss > 0


@pytest.mark.parametrize("returned", [None, "0.5", (1.0, 2.0), torch.ones(2)])
def test_a_train_step_that_returns_no_number_is_told_to(returned: Any) -> None:
    model = plain()
    loop = Loop(model, sgd(model), [1], train_step=lambda batch: returned)
    with pytest.raises(LossError, match=r"^Got .*; expected|^Got .* from train_step; expected"):
        loop.stepper()(loop.batches())


def test_closures_with_fp16_are_refused() -> None:
    model = plain()
    optimizer = torch.optim.LBFGS(model.parameters())
    assert needs_closure(optimizer)
    assert not needs_closure(sgd(model))
    with pytest.raises(InputError, match=r"^Got amp='fp16' with an optimizer that calls a closure.*expected bf16"):
        Loop(model, optimizer, [1], F.cross_entropy, amp="fp16").stepper()


def test_a_loss_with_parameters_of_its_own_trains_them() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(output * self.scale, target)

    model, loss_fn = net(), Weighted()
    optimizer = torch.optim.SGD([*model.parameters(), *loss_fn.parameters()], lr=0.1)
    loop = Loop(model, optimizer, loader(), loss_fn)
    loop.stepper()(loop.batches())
    assert loss_fn.scale.item() != 1.0


def test_sparse_gradients_cannot_be_clipped_and_the_error_says_so() -> None:
    model = nn.Sequential(nn.EmbeddingBag(9, 3, sparse=True))
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.1)
    batches = [(torch.randint(9, (4, 2)), torch.randint(3, (4,)))]
    assert len(range_test(model, optimizer, batches, F.cross_entropy, num_steps=3)) == 3
    with pytest.raises(InputError, match=r"^Got clip_grad_norm=1.0 and sparse gradients"):
        range_test(model, optimizer, batches, F.cross_entropy, num_steps=3, clip_grad_norm=1.0)
