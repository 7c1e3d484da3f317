import ast
import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from lrwidget.engine.errors import InputError, InputTypeError
from lrwidget.engine.loops.groups import NORM_LAYERS
from lrwidget.engine.plans.plan import PRESETS, Plan, fine_tune_plan, one_cycle
from lrwidget.engine.plans.schedule import PlannedLR, PlanOneCycleLR
from lrwidget.engine.runs.fit import fit


def bare(n_groups: int = 2, kind: type = torch.optim.SGD, **options: object) -> torch.optim.Optimizer:
    """An optimizer of empty-headed parameters: only its param groups matter."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(n_groups)]
    return kind(groups, **{"lr": 0.5, **options})


def lrs_of(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def driven(plan: Plan, optimizer: torch.optim.Optimizer, n_steps: int) -> np.ndarray:
    """The LRs with which an optimizer steps, when a loop calls scheduler.step() after each, (S, G)."""
    scheduler = plan.scheduler(optimizer)
    rows = []
    for _ in range(n_steps):
        rows.append(lrs_of(optimizer))
        optimizer.step()
        scheduler.step()
    return np.array(rows)


def small_world(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer, list[tuple[torch.Tensor, torch.Tensor]]]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    groups = [{"params": list(model[:2].parameters()), "name": "body"}, {"params": list(model[3].parameters())}]
    optimizer = torch.optim.SGD(groups, lr=0.5, momentum=0.9)
    batches = [(torch.randn(6, 4), torch.randint(0, 2, (6,))) for _ in range(3)]
    return model, optimizer, batches


def run_code(plan: Plan, optimizer: torch.optim.Optimizer, model: nn.Module, batches: list) -> list[list[float]]:
    """Run the printed loop; the LRs of every optimizer step it took, (S, G)."""
    rows: list[list[float]] = []
    hook = optimizer.register_step_pre_hook(lambda *_: rows.append(lrs_of(optimizer)))
    names = {"model": model, "optimizer": optimizer, "train_dl": batches, "loss_fn": nn.functional.cross_entropy}
    exec(compile(plan.code(), "plan.code()", "exec"), names)
    hook.remove()
    return rows


# ---- the scheduler --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("total_steps", [1, 2, 3, 10, 41])
def test_the_scheduler_sets_the_plan_s_lrs_and_holds_the_last(preset: str, total_steps: int) -> None:
    plan = one_cycle(slice(1e-4, 0.3), total_steps, 2, preset=preset)
    optimizer = bare(momentum=0.9)
    assert np.array_equal(driven(plan, optimizer, total_steps + 5), plan.lr_at(np.arange(total_steps + 5)))


@pytest.mark.parametrize(
    ("options", "is_torch"),
    [
        ({}, True),
        ({"preset": "smith"}, True),
        ({"preset": "linear"}, True),
        ({"preset": "fastai"}, False),
        ({"preset": "cosine"}, False),
        ({"pct_start": 0.05}, False),
        ({"pct_start": 0.0}, False),
        ({"freeze_steps": 5}, False),
    ],
)
def test_the_scheduler_is_torch_s_where_that_can_say_the_plan(options: dict[str, object], is_torch: bool) -> None:
    scheduler = one_cycle(0.1, 20, 2, **options).scheduler(bare(momentum=0.9))
    assert isinstance(scheduler, OneCycleLR) is is_torch
    assert isinstance(scheduler, PlannedLR)


def test_past_the_end_a_linear_schedule_does_not_turn_negative() -> None:
    plan = one_cycle(0.1, 100, 1, anneal="linear")
    optimizer = bare(1)
    assert isinstance(plan.scheduler(optimizer), PlanOneCycleLR)
    assert driven(plan, optimizer, 130).min() == plan.lr_at(99)[0] > 0


@pytest.mark.parametrize("preset", ["smith", "fastai"])
@pytest.mark.parametrize(
    ("kind", "options", "read"),
    [
        (torch.optim.SGD, {"momentum": 0.9}, lambda group: group["momentum"]),
        (torch.optim.AdamW, {}, lambda group: group["betas"][0]),
    ],
)
def test_momentum_follows_the_plan_that_asks_for_it(preset: str, kind: type, options: dict, read: object) -> None:
    plan = one_cycle(0.1, 20, 2, preset=preset)
    optimizer = bare(kind=kind, **options)
    scheduler = plan.scheduler(optimizer)
    for step in range(24):
        assert [read(group) for group in optimizer.param_groups] == plan.momentum_at(step).tolist()
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("preset", ["torch", "linear", "cosine"])
def test_betas_are_left_alone_unless_asked_for(preset: str) -> None:
    optimizer = bare(kind=torch.optim.AdamW, betas=(0.8, 0.9))
    driven(one_cycle(0.1, 9, 2, preset=preset), optimizer, 9)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.8, 0.9)] * 2


@pytest.mark.parametrize("preset", ["smith", "fastai"])
def test_a_momentum_of_zero_stays_zero(preset: str) -> None:
    plan = one_cycle(0.1, 9, 2, preset=preset)
    optimizer = bare()
    driven(plan, optimizer, 9)
    assert [group["momentum"] for group in optimizer.param_groups] == [0, 0]
    mixed = bare(momentum=0.9)
    mixed.param_groups[0]["momentum"] = 0
    driven(plan, mixed, 9)
    assert [group["momentum"] for group in mixed.param_groups] == [0, plan.momentum_at(8)[1]]


@pytest.mark.parametrize("preset", ["smith", "fastai"])
def test_an_optimizer_without_momentum_runs_a_plan_with_it(preset: str) -> None:
    plan = one_cycle(0.1, 9, 2, preset=preset)
    assert np.array_equal(driven(plan, bare(kind=torch.optim.Adagrad), 9), plan.lr_at(np.arange(9)))


@pytest.mark.parametrize("preset", ["torch", "fastai"])
def test_a_tensor_lr_is_filled_in_place(preset: str) -> None:
    plan = one_cycle([0.1, 0.2], 9, 2, preset=preset)
    optimizer = bare(kind=torch.optim.AdamW)
    tensors = [torch.tensor(0.5), torch.tensor(0.5)]
    for group, tensor in zip(optimizer.param_groups, tensors, strict=True):
        group["lr"] = tensor
    scheduler = plan.scheduler(optimizer)
    for step in range(11):
        assert [group["lr"] for group in optimizer.param_groups] == tensors
        assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, tensors, strict=True))
        assert [t.item() for t in tensors] == plan.lr_at(step).astype(np.float32).tolist()
        assert all(last is not tensor for last, tensor in zip(scheduler.get_last_lr(), tensors, strict=True))
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("preset", ["torch", "smith", "fastai"])
@pytest.mark.parametrize("order", ["optimizer before building", "optimizer after building", "optimizer last"])
def test_a_run_is_resumed_exactly_in_any_order_of_loading(preset: str, order: str) -> None:
    plan = one_cycle([0.1, 0.2], 20, 2, preset=preset)
    first = bare(momentum=0.9)
    scheduler = plan.scheduler(first)
    for _ in range(7):
        first.step()
        scheduler.step()
    saved, where = copy.deepcopy(first.state_dict()), copy.deepcopy(scheduler.state_dict())

    second = bare(momentum=0.9)
    if order == "optimizer before building":
        second.load_state_dict(saved)
    resumed = plan.scheduler(second)
    if order == "optimizer after building":
        second.load_state_dict(saved)
    resumed.load_state_dict(where)
    if order == "optimizer last":
        second.load_state_dict(saved)

    assert resumed.get_last_lr() == scheduler.get_last_lr() == lrs_of(second)
    for _ in range(15):
        for one, other in zip(first.param_groups, second.param_groups, strict=True):
            assert (one["lr"], one["momentum"]) == (other["lr"], other["momentum"])
        for optimizer, follower in ((first, scheduler), (second, resumed)):
            optimizer.step()
            follower.step()


def test_the_state_is_three_integers_and_a_plain_one_cycle_lr_s_is_taken_too() -> None:
    plan = one_cycle(0.1, 20, 1)
    optimizer, torch_s = bare(1), bare(1)
    scheduler, plain = plan.scheduler(optimizer), OneCycleLR(torch_s, 0.1, total_steps=20, cycle_momentum=False)
    for _ in range(6):
        torch_s.step()
        plain.step()
    assert all(type(value) is int for value in scheduler.state_dict().values())
    scheduler.load_state_dict(plain.state_dict())
    assert lrs_of(optimizer) == lrs_of(torch_s)


def test_the_state_of_a_run_of_another_length_is_refused() -> None:
    state = one_cycle(0.1, 20, 1).scheduler(bare(1)).state_dict()
    with pytest.raises(InputError, match="20 steps for a plan of 30"):
        one_cycle(0.1, 30, 1).scheduler(bare(1)).load_state_dict(state)


@pytest.mark.parametrize("preset", ["torch", "fastai"])
def test_another_number_of_groups_is_refused_at_the_start(preset: str) -> None:
    plan = one_cycle(0.1, 20, ["body", "head"], preset=preset)
    with pytest.raises(InputError, match=r"3 param groups for a plan of 2 \(body, head\)"):
        plan.scheduler(bare(3))
    optimizer = bare(2)
    scheduler = plan.scheduler(optimizer)
    del optimizer.param_groups[0]
    optimizer.step()
    with pytest.raises(InputError, match="1 param groups, which had 2"):
        scheduler.step()


@pytest.mark.parametrize("preset", ["torch", "smith", "fastai"])
def test_a_group_added_on_the_way_moves_as_the_plan_says_up_to_its_own_lr(preset: str) -> None:
    plan = one_cycle([0.1, 0.2], 20, 2, preset=preset)
    optimizer = bare(2, momentum=0.9)
    scheduler = plan.scheduler(optimizer)
    rows = []
    for step in range(24):
        if step == 8:
            optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.01, "momentum": 0.0})
        optimizer.step()
        scheduler.step()
        rows.append(lrs_of(optimizer))
    alone = one_cycle([0.1, 0.2, 0.01], 20, 3, preset=preset)
    assert scheduler.plan.cycles == alone.cycles and scheduler.plan.names == ("group 0", "group 1", "group 2")
    assert rows[:8] == plan.lr_at(range(1, 9)).tolist() and rows[8:] == alone.lr_at(range(9, 25)).tolist()
    assert scheduler.get_last_lr() == rows[-1] and optimizer.param_groups[2]["momentum"] == 0.0


@pytest.mark.parametrize("preset", ["torch", "smith"])
@pytest.mark.parametrize("steps_before_loading", [0, 3])
def test_a_schedule_with_an_added_group_goes_on_after_loading(preset: str, steps_before_loading: int) -> None:
    def begun() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = bare(2, momentum=0.9)
        scheduler = one_cycle([0.1, 0.2], 20, 2, preset=preset).scheduler(optimizer)
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.01})
        return optimizer, scheduler

    def step(optimizer: torch.optim.Optimizer, scheduler: Any, times: int) -> list[list[float]]:
        return [(optimizer.step(), scheduler.step(), lrs_of(optimizer))[-1] for _ in range(times)]

    optimizer, scheduler = begun()
    step(optimizer, scheduler, 9)
    state, of_optimizer = copy.deepcopy(scheduler.state_dict()), copy.deepcopy(optimizer.state_dict())
    later = step(optimizer, scheduler, 8)
    again, its_scheduler = begun()
    step(again, its_scheduler, steps_before_loading)
    again.load_state_dict(of_optimizer)
    its_scheduler.load_state_dict(state)
    assert lrs_of(again) == [group["lr"] for group in of_optimizer["param_groups"]]
    assert step(again, its_scheduler, 8) == later
    with pytest.raises(InputError, match=r"to which 'group 2' was added, .* 2 param groups; expected 3"):
        one_cycle([0.1, 0.2], 20, 2, preset=preset).scheduler(bare(2)).load_state_dict(state)


def test_an_added_group_without_an_lr_above_zero_is_refused() -> None:
    optimizer = bare(2)
    scheduler = one_cycle(0.1, 20, 2).scheduler(optimizer)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.0})
    optimizer.step()
    with pytest.raises(InputError, match=r"LR of the added group 'group 2'=0\.0"):
        scheduler.step()


def test_something_that_is_no_optimizer_is_refused() -> None:
    with pytest.raises(InputTypeError, match="Linear"):
        one_cycle(0.1, 20, 1).scheduler(nn.Linear(1, 1))


def test_looking_at_a_plan_changes_no_optimizer() -> None:
    optimizer = bare(momentum=0.9)
    before = copy.deepcopy(optimizer.state_dict())
    plan = one_cycle(0.1, 20, optimizer, preset="fastai")
    plan.lr_at(np.arange(20)), plan.momentum_at(3), plan.code(), plan.boundaries(), plan.to_dict()
    assert optimizer.state_dict() == before
    assert not hasattr(optimizer.step, "_wrapped_by_lr_sched")


# ---- the code -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        *(pytest.param(one_cycle(slice(1e-4, 0.1), 10, 2, preset=preset), id=preset) for preset in PRESETS),
        pytest.param(one_cycle(0.1, 10, 2, momentum=(0.8, 0.9), anneal="linear"), id="torch with momentum"),
        pytest.param(one_cycle(0.1, 10, 2, pct_start=0.0), id="no warm-up"),
        pytest.param(one_cycle(0.1, 10, 2, pct_start=1.0), id="nothing but warm-up"),
        pytest.param(one_cycle(0.1, 1, 2), id="one step"),
        pytest.param(one_cycle(0.1, 10, 2, preset="smith", freeze_steps=4), id="frozen, then smith"),
        pytest.param(fine_tune_plan(0.01, 7, 4, 2), id="fine-tune with frozen part"),
        pytest.param(one_cycle(0.1, 10, ["odd\nraise SystemExit", "\u2028x = 1"]), id="names with line breaks"),
    ],
)
def test_the_code_takes_every_step_with_the_plan_s_lrs_and_then_stops(plan: Plan) -> None:
    model, optimizer, batches = small_world()
    rows = run_code(plan, optimizer, model, batches)
    assert np.array_equal(rows, plan.lr_at(np.arange(plan.total_steps)))
    momentum = plan.momentum_at(plan.total_steps - 1)[0]
    assert optimizer.param_groups[0]["momentum"] == (0.9 if math.isnan(momentum) else momentum)


@pytest.mark.parametrize(
    "plan", [one_cycle(0.1, 8, 2), fine_tune_plan(0.05, 6, 3, 2), one_cycle(0.1, 7, 2, preset="smith")]
)
def test_the_code_trains_the_very_weights_that_fit_trains(plan: Plan) -> None:
    model, optimizer, batches = small_world()
    run_code(plan, optimizer, model, batches)
    twin, its_optimizer, its_batches = small_world()
    fit(twin, its_optimizer, its_batches, nn.functional.cross_entropy, plan)
    for (name, one), other in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_the_code_freezes_all_but_the_last_group_and_the_norm_layers() -> None:
    plan = fine_tune_plan(0.01, 5, 4, 2)
    model, optimizer, batches = small_world()
    model[3].bias.requires_grad_(False)  # as the user had it: it stays so
    trained: list[list[str]] = []
    hook = optimizer.register_step_pre_hook(
        lambda *_: trained.append([name for name, p in model.named_parameters() if p.grad is not None])
    )
    run_code(plan, optimizer, model, batches)
    hook.remove()
    norm_and_head = ["1.weight", "1.bias", "3.weight"]
    assert trained == [norm_and_head] * 4 + [["0.weight", "0.bias", *norm_and_head]] * 5


def test_the_code_knows_the_norm_layers_that_fit_knows() -> None:
    tree = ast.parse(fine_tune_plan(0.01, 5, 4, 2).code())
    (listed,) = [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Assign) and ast.unparse(n.targets) == "norm_layers"
    ]
    printed = set(eval(ast.unparse(listed), {"torch": torch}))
    assert {kind for kind in NORM_LAYERS if kind not in printed} == {nn.LocalResponseNorm}  # it has no parameters


def test_the_code_of_the_default_preset_is_torch_s_scheduler_in_a_few_lines() -> None:
    code = one_cycle(slice(1e-5, 1e-3), 500, ["stem", "body", "head"]).code()
    assert "OneCycleLR(" in code and "max_lr = [1e-05, 0.0001, 0.001]" in code
    assert "lrwidget" not in code and "def " not in code
    assert len(code.splitlines()) < 30


@pytest.mark.parametrize("preset", ["fastai", "fine_tune"])
def test_the_code_leaves_a_momentum_of_zero_and_fills_a_tensor_lr(preset: str) -> None:
    model, optimizer, batches = small_world()
    held = torch.tensor(0.5)
    for group in optimizer.param_groups:
        group.update(momentum=0, lr=held.clone())
    optimizer.param_groups[0]["lr"] = held
    plan = one_cycle(0.1, 5, 2, preset=preset)
    run_code(plan, optimizer, model, batches)
    assert [group["momentum"] for group in optimizer.param_groups] == [0, 0]
    assert optimizer.param_groups[0]["lr"] is held and held.item() == np.float32(plan.lr_at(4)[0])


@settings(max_examples=60)
@given(
    pick=st.floats(1e-8, 10) | st.builds(slice, st.floats(1e-8, 10), st.floats(1e-8, 10)),
    total_steps=st.integers(1, 12) | st.integers(13, 60),
    freeze=st.integers(0, 5),
    options=st.builds(
        dict,
        preset=st.sampled_from(sorted(PRESETS)),
        pct_start=st.none() | st.floats(0.001, 0.5),
        div=st.none() | st.floats(1, 1e4),
        anneal=st.none() | st.sampled_from(["cos", "linear", "linear-cos"]),
        phases=st.none() | st.sampled_from([2, 3]),
    ),
)
def test_preview_scheduler_and_code_are_the_same_numbers(
    pick: object, total_steps: int, freeze: int, options: dict[str, object]
) -> None:
    plan = one_cycle(pick, total_steps, 2, freeze_steps=min(freeze, total_steps - 1), **options)
    expected = plan.lr_at(np.arange(total_steps))
    assert np.array_equal(driven(plan, bare(momentum=0.9), total_steps), expected)
    # Weights need not survive an LR of 10: the model's parameters are scalars that no gradient reaches.
    model = nn.Module()
    optimizer = bare(momentum=0.9)
    free = torch.zeros((), requires_grad=True)
    rows: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda *_: rows.append(lrs_of(optimizer)))
    model.forward = lambda inputs: free * inputs
    names = {"model": model, "optimizer": optimizer, "train_dl": [(1.0, 1.0)] * 4, "loss_fn": lambda out, y: out - y}
    exec(plan.code(), names)
    assert np.array_equal(rows, expected)
