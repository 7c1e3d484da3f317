"""The printed program, run: it trains what `fit` trains, to the last bit, whatever a step is made of."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrwidget.engine.errors import LRWidgetError
from lrwidget.engine.plans.plan import Plan, one_cycle
from lrwidget.engine.runs.fit import fit

BATCHES = [(torch.randn(8, 4, generator=torch.Generator().manual_seed(i)), torch.arange(8) % 3) for i in range(7)]
PLANS = {
    "torch": one_cycle([1e-3, 1e-2], 11, ["body", "head"]),
    "fastai": one_cycle(slice(1e-3, 1e-2), 11, ["body", "head"], preset="fastai"),
    "frozen first": one_cycle(slice(1e-3, 1e-2), 11, ["body", "head"], freeze_steps=4),
    "body frozen": one_cycle(slice(1e-3, 1e-2), 11, ["body", "head"], frozen=[True, False]),
    "body frozen, norms train": one_cycle(
        slice(1e-3, 1e-2), 11, ["body", "head"], preset="fastai", frozen=[True, False], train_norms=True
    ),
}


def a_model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def one_optimizer(model: nn.Sequential) -> torch.optim.Optimizer:
    groups = [{"params": model[:2].parameters()}, {"params": model[3].parameters()}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def two_optimizers(model: nn.Sequential) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(model[:2].parameters(), 0.1), torch.optim.Adam(model[3].parameters(), 0.1)]


def loss_step(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def weights(model: nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


def run(source: str, model: nn.Module, optimizers: Any, **names: Any) -> None:
    held = "optimizers" if isinstance(optimizers, list) else "optimizer"
    exec(source, {"model": model, held: optimizers, "train_dl": BATCHES, **names})


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"accumulate": 3},
        {"clip_grad_norm": 0.5},
        {"amp": "bf16"},
        {"amp": "fp16"},
        {"accumulate": 2, "clip_grad_norm": 0.1, "amp": "bf16"},
        {"accumulate": 2, "clip_grad_norm": 0.1, "amp": "fp16"},
    ],
    ids=lambda how: "+".join(how) or "plain",
)
def test_the_program_trains_what_fit_trains(plan: Plan, how: dict[str, Any]) -> None:
    ours, printed = a_model(), a_model()
    fit(ours, one_optimizer(ours), BATCHES, F.cross_entropy, plan, **how)
    run(plan.code(**how), printed, one_optimizer(printed), loss_fn=F.cross_entropy)
    assert weights(ours) == weights(printed) != weights(a_model())


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("how", [{}, {"accumulate": 3, "clip_grad_norm": 0.5}], ids=["plain", "accumulate+clip"])
def test_the_program_of_a_step_of_the_users_own_calls_it(plan: Plan, how: dict[str, Any]) -> None:
    ours, printed = a_model(), a_model()
    fit(ours, two_optimizers(ours), BATCHES, None, plan, loss_step=loss_step, **how)
    source = plan.code(step="loss_step", n_optimizers=2, **how)
    run(source, printed, two_optimizers(printed), loss_step=loss_step)
    assert weights(ours) == weights(printed) != weights(a_model())


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_program_of_a_whole_step_of_the_users_own_only_schedules_it(plan: Plan) -> None:
    def train_step_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
        def train_step(batch: Any) -> torch.Tensor:
            optimizer.zero_grad()
            loss = loss_step(model, batch)
            loss.backward()
            optimizer.step()
            return loss

        return train_step

    ours, printed = a_model(), a_model()
    our_optimizer, printed_optimizer = one_optimizer(ours), one_optimizer(printed)
    fit(ours, our_optimizer, BATCHES, None, plan, train_step=train_step_of(ours, our_optimizer))
    source = plan.code(step="train_step")
    run(source, printed, printed_optimizer, train_step=train_step_of(printed, printed_optimizer))
    assert weights(ours) == weights(printed) != weights(a_model())


@pytest.mark.parametrize("how", [{"amp": "fp16"}, {"amp": "fp16", "clip_grad_norm": 1.0}], ids=["fp16", "and clipping"])
@pytest.mark.parametrize("name", ["frozen first", "body frozen"])
def test_an_optimizer_all_of_whose_groups_are_frozen_is_passed_over(name: str, how: dict[str, Any]) -> None:
    def two(model: nn.Sequential) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.Adam(model[3].parameters(), 0.1)]

    ours, printed = a_model(), a_model()
    fit(ours, two(ours), BATCHES, F.cross_entropy, PLANS[name], **how)
    run(PLANS[name].code(n_optimizers=2, **how), printed, two(printed), loss_fn=F.cross_entropy)
    assert weights(ours) == weights(printed) != weights(a_model())


@pytest.mark.parametrize("train_norms", [None, True, False])
def test_the_program_of_groups_frozen_first_and_groups_frozen_all_along(train_norms: bool | None) -> None:
    def an_optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW([{"params": part.parameters()} for part in model], lr=0.1)

    torch.manual_seed(4)
    ours = nn.Sequential(
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)),
        nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)),
        nn.Linear(6, 3),
    )
    printed, first = copy.deepcopy(ours), copy.deepcopy(ours)
    plan = one_cycle(1e-2, 11, 3, frozen=[True, False, False], freeze_steps=4, train_norms=train_norms)
    fit(ours, an_optimizer(ours), BATCHES, F.cross_entropy, plan)
    run(plan.code(), printed, an_optimizer(printed), loss_fn=F.cross_entropy)
    assert weights(ours) == weights(printed)
    moved = [name for (name, p), q in zip(ours.named_parameters(), first.parameters(), strict=True) if not p.equal(q)]
    still = {"0.0.weight", "0.0.bias"} | (set() if train_norms else {"0.1.weight", "0.1.bias"})
    assert set(dict(ours.named_parameters())) - set(moved) == still
    assert not ours[0][1].running_mean.equal(first[0][1].running_mean)


def test_a_step_that_the_scaler_skips_does_not_advance_the_printed_schedule() -> None:
    """The first gradients overflow fp16 at the scaler's first scale of 65536, so its first steps are skipped."""
    plan, seen = PLANS["torch"], []
    model = a_model()
    optimizer = one_optimizer(model)
    optimizer.register_step_pre_hook(lambda o, *_: seen.append([group["lr"] for group in o.param_groups]))
    run(plan.code(amp="fp16"), model, optimizer, loss_fn=lambda output, target: 30 * F.cross_entropy(output, target))
    assert seen == plan.lr_at(range(plan.total_steps)).tolist()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"amp": "int8"}, r"^Got amp='int8'; expected None, \"fp16\" or \"bf16\""),
        ({"accumulate": 0}, r"^Got accumulate=0; expected a whole number, 1 or more"),
        ({"accumulate": 1.5}, r"^Got accumulate=1.5; expected a whole number"),
        ({"n_optimizers": 0}, r"^Got n_optimizers=0; expected a whole number, 1 or more"),
        ({"clip_grad_norm": -1}, r"^Got clip_grad_norm=-1; expected a number above 0, or None"),
        ({"step": "x"}, r"^Got step='x'; expected one of 'loss_fn', 'loss_step', 'train_step'"),
        ({"clip": 1.0}, r"^Got the option 'clip'; plan.code\(\) takes accumulate, amp, clip_grad_norm"),
    ],
)
def test_an_option_that_no_program_can_have_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(LRWidgetError, match=told):
        one_cycle(0.1, 10, 1).code(**options)
