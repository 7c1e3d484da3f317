import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from lrwidget.engine.errors import InputError, InputTypeError, RecordError
from lrwidget.engine.picking import resolve_lrs
from lrwidget.engine.plans.cycle import Shape
from lrwidget.engine.plans.plan import PRESETS, Cycle, Plan, fine_tune_plan, one_cycle


def torch_lrs(max_lrs: list[float], total_steps: int, **options: object) -> np.ndarray:
    """What a real OneCycleLR sets for every step and group."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in max_lrs]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    options = {"cycle_momentum": False, **options}
    scheduler = OneCycleLR(optimizer, max_lrs, total_steps=total_steps, **options)
    rows = [scheduler.get_last_lr()]
    for _ in range(total_steps - 1):
        optimizer.step()
        scheduler.step()
        rows.append(scheduler.get_last_lr())
    return np.array(rows)


def fastai_cos(pct: float, start: float, middle: float, end: float, position: float) -> float:
    """The value of fastai v2's combined cosine schedule, from its published formula."""

    def sched_cos(start: float, end: float, position: float) -> float:
        return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2

    if position < pct:
        return sched_cos(start, middle, position / pct)
    return sched_cos(middle, end, (position - pct) / (1 - pct))


def steps_of(plan: Plan) -> np.ndarray:
    return np.arange(plan.total_steps)


# ---- picks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pick", "n_groups", "lrs"),
    [
        (1e-3, 3, (1e-3, 1e-3, 1e-3)),
        (slice(1e-5, 1e-3), 3, (1e-5, 1e-4, 1e-3)),
        (slice(1e-5, 1e-3), 2, (1e-5, 1e-3)),
        (slice(1e-5, 1e-3), 1, (1e-3,)),
        (slice(1e-3, 1e-5), 3, (1e-3, 1e-4, 1e-5)),
        (slice(1e-3), 3, (1e-4, 1e-4, 1e-3)),
        (slice(1e-3), 1, (1e-3,)),
        ([1e-5, 1e-2], 2, (1e-5, 1e-2)),
        (np.array([1e-5, 1e-2]), 2, (1e-5, 1e-2)),
        (np.float32(0.5), 2, (0.5, 0.5)),
        (torch.tensor(0.5), 1, (0.5,)),
        (1, 1, (1.0,)),
    ],
)
def test_a_pick_gives_one_lr_per_group(pick: object, n_groups: int, lrs: tuple[float, ...]) -> None:
    resolved = resolve_lrs(pick, n_groups)
    assert resolved == pytest.approx(lrs, rel=1e-14)
    assert resolved[-1] == lrs[-1]
    assert all(type(lr) is float for lr in resolved)


@pytest.mark.parametrize(
    ("pick", "error", "says"),
    [
        ([1e-3], InputError, "1 LRs for 2 param groups"),
        ([1e-3] * 3, InputError, "3 LRs for 2 param groups"),
        (0.0, InputError, "above 0"),
        (-1e-3, InputError, "above 0"),
        ([1e-3, math.nan], InputError, r"max_lr\[1\]=nan"),
        (math.inf, InputError, "finite"),
        (True, InputTypeError, "expected a number"),
        ([1e-3, False], InputTypeError, r"max_lr\[1\]=False"),
        ("1e-3", InputTypeError, "got a str|Got a str"),
        (["1e-3", 1e-3], InputTypeError, "expected a number"),
        ({"body": 1e-3, "head": 1e-2}, InputTypeError, "dict"),
        (None, InputTypeError, "None"),
        (slice(1e-5, 1e-3, 2), InputError, "slice"),
        (slice(1e-5, None), InputError, "slice"),
        (slice(0.0, 1e-3), InputError, "the slice's start"),
    ],
)
def test_a_pick_that_is_none_is_refused(pick: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        resolve_lrs(pick, 2)


# ---- the numbers of the references ----------------------------------------------------------------------------------


@pytest.mark.parametrize("total_steps", [4, 5, 7, 10, 33, 100, 101])
@pytest.mark.parametrize("pct_start", [0.3, 0.35, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_the_torch_preset_is_one_cycle_lr_to_the_last_bit(total_steps: int, pct_start: float, anneal: str) -> None:
    lrs = [1.7e-5, 3.1e-4, 0.1]
    plan = one_cycle(lrs, total_steps, 3, pct_start=pct_start, anneal=anneal)
    expected = torch_lrs(lrs, total_steps, pct_start=pct_start, anneal_strategy=anneal)
    assert np.array_equal(plan.lr_at(steps_of(plan)), expected)


def test_the_torch_preset_has_one_cycle_lr_s_defaults() -> None:
    plan = one_cycle(0.013, 50, 1)
    assert np.array_equal(plan.lr_at(steps_of(plan)), torch_lrs([0.013], 50))


def test_three_phases_are_one_cycle_lr_s_to_the_last_bit() -> None:
    plan = one_cycle([1e-3, 0.1], 40, 2, preset="smith", div_final=77, pct_start=0.4)
    expected = torch_lrs(
        [1e-3, 0.1],
        40,
        pct_start=0.4,
        anneal_strategy="linear",
        div_factor=10.0,
        final_div_factor=77.0,
        three_phase=True,
    )
    assert np.array_equal(plan.lr_at(steps_of(plan)), expected)


def test_cycled_momentum_is_one_cycle_lr_s_to_the_last_bit() -> None:
    plan = one_cycle(0.1, 30, 1, momentum=(0.85, 0.95))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = OneCycleLR(optimizer, 0.1, total_steps=30)
    for momentum in plan.momentum_at(steps_of(plan))[:, 0]:
        assert optimizer.param_groups[0]["momentum"] == momentum
        optimizer.step()
        scheduler.step()


def test_the_torch_preset_leaves_momentum_alone() -> None:
    assert np.isnan(one_cycle(0.1, 30, 2).momentum_at([0, 29])).all()


@pytest.mark.parametrize("total_steps", [1, 2, 3, 5, 64])
def test_the_fastai_preset_is_fit_one_cycle(total_steps: int) -> None:
    plan = one_cycle(slice(1e-4, 1e-2), total_steps, 2, preset="fastai")
    at = [i / total_steps for i in range(total_steps)]
    lrs = [[fastai_cos(0.25, lr / 25, lr, lr / 1e5, p) for lr in (1e-4, 1e-2)] for p in at]
    momenta = [fastai_cos(0.25, 0.95, 0.85, 0.95, p) for p in at]
    np.testing.assert_allclose(plan.lr_at(steps_of(plan)), lrs, rtol=1e-9)
    np.testing.assert_allclose(plan.momentum_at(steps_of(plan))[:, 1], momenta, rtol=1e-12)


def test_fastai_s_last_step_is_not_yet_at_the_final_lr() -> None:
    # Measured with fastai 2.8.12: 64 steps at lr_max=1e-2 end at 1.08e-5, not at 1e-7.
    assert one_cycle(1e-2, 64, 1, preset="fastai").lr_at(63)[0] == pytest.approx(1.08e-5, rel=5e-3)


def test_fine_tune_is_fastai_s_two_fits() -> None:
    plan = fine_tune_plan(2e-3, 30, 10, ["stem", "body", "head"])
    frozen = [[fastai_cos(0.99, lr / 25, lr, lr / 1e5, i / 10) for lr in (2e-4, 2e-4, 2e-3)] for i in range(10)]
    free = [[fastai_cos(0.3, lr / 5, lr, lr / 1e5, i / 30) for lr in (1e-5, 1e-4, 1e-3)] for i in range(30)]
    np.testing.assert_allclose(plan.lr_at(steps_of(plan)), frozen + free, rtol=1e-9)
    assert [cycle.frozen for cycle in plan.cycles] == [(True, True, False), ()]


def test_fine_tune_halves_the_lr_without_a_frozen_part_too() -> None:
    plan = fine_tune_plan(2e-3, 30, 0, 2)
    assert len(plan.cycles) == 1
    assert plan.max_lrs == (1e-5, 1e-3)


def test_fine_tune_freezes_nothing_when_there_is_one_group() -> None:
    first, _ = fine_tune_plan(2e-3, 30, 10, 1).cycles
    assert (first.frozen, first.max_lrs) == ((), (2e-3,))


@pytest.mark.parametrize("total_steps", [4, 10, 47, 101])
def test_the_fastai_v1_preset_is_v1_s_fit_one_cycle(total_steps: int) -> None:
    # v1 steps its annealer before every batch but the first: 0/a1, 1/a1 ... a1/a1, 1/a2 ... (a2 − 1)/a2.
    def annealing_cos(start: float, end: float, pct: float) -> float:
        return end + (start - end) / 2 * (math.cos(math.pi * pct) + 1)

    a1 = int(total_steps * 0.3)
    a2 = total_steps - a1
    lrs = [annealing_cos(0.1 / 25, 0.1, i / a1) for i in range(a1 + 1)]
    lrs += [annealing_cos(0.1, 0.1 / 2.5e5, i / a2) for i in range(1, a2)]
    plan = one_cycle(0.1, total_steps, 1, preset="fastai_v1")
    np.testing.assert_allclose(plan.lr_at(steps_of(plan))[:, 0], lrs, rtol=1e-9)


def test_smith_s_preset_goes_up_down_and_annihilates() -> None:
    plan = one_cycle(1.0, 101, 1, preset="smith", pct_start=46 / 101)
    corners = np.interp(steps_of(plan), [0, 45, 90, 100], [0.1, 1.0, 0.1, 0.001])
    np.testing.assert_allclose(plan.lr_at(steps_of(plan))[:, 0], corners, rtol=1e-12)
    np.testing.assert_allclose(
        plan.momentum_at(steps_of(plan))[:, 0], np.interp(steps_of(plan), [0, 45, 90], [0.95, 0.85, 0.95]), rtol=1e-12
    )


def test_linear_and_cosine_warm_up_linearly_and_decay_by_their_names() -> None:
    step = np.arange(101)
    up, down = np.linspace(0.01, 1, 11)[:10], (step[10:] - 10) / 90
    linear = np.concatenate([up, 1 + (1e-4 - 1) * down])
    cosine = np.concatenate([up, 1e-4 + (1 - 1e-4) * (1 + np.cos(np.pi * down)) / 2])
    for preset, expected in (("linear", linear), ("cosine", cosine)):
        plan = one_cycle(1.0, 101, 1, preset=preset, pct_start=11 / 101)
        np.testing.assert_allclose(plan.lr_at(step)[:, 0], expected, rtol=1e-9)


# ---- few steps, and past the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total_steps", "options", "lrs"),
    [
        # OneCycleLR: .00994, .00463, 4e-8, no warm-up at all.
        (3, {}, [0.0004, 0.01, 4e-8]),
        # OneCycleLR divides by zero where pct_start * total_steps is 1.
        (2, {"pct_start": 0.5}, [0.0004, 0.01]),
        (5, {"pct_start": 0.2, "anneal": "linear"}, [0.0004, 0.01, 0.02 / 3, 0.01 / 3, 4e-8]),
        # OneCycleLR's one step is at 4e-8, where nothing trains.
        (1, {}, [0.01]),
        (2, {}, [0.0004, 0.01]),
        (2, {"pct_start": 0.75}, [0.0004, 0.01]),
        # OneCycleLR starts behind its own peak.
        (3, {"pct_start": 0.0, "anneal": "linear"}, [0.01, 0.005, 4e-8]),
        # OneCycleLR's linear third phase begins before the peak.
        (4, {"phases": 3, "pct_start": 0.3, "anneal": "linear"}, [0.0004, 0.01, 0.0004, 4e-8]),
    ],
)
def test_a_warm_up_of_no_step_gets_one(total_steps: int, options: dict[str, object], lrs: list[float]) -> None:
    plan = one_cycle(0.01, total_steps, 1, **options)
    np.testing.assert_allclose(plan.lr_at(steps_of(plan))[:, 0], lrs, rtol=1e-4)


@pytest.mark.parametrize("preset", ["torch", "smith", "linear", "cosine"])
def test_a_single_step_is_taken_at_exactly_the_lr_picked(preset: str) -> None:
    assert one_cycle(1.912892630086348, 1, 1, preset=preset).lr_at(0)[0] == 1.912892630086348


@pytest.mark.parametrize("preset", PRESETS)
def test_beyond_the_end_the_last_lr_and_momentum_hold(preset: str) -> None:
    plan = one_cycle(0.1, 20, 2, preset=preset)
    assert np.array_equal(plan.lr_at([20, 21, 10**9]), plan.lr_at([19, 19, 19]))
    assert np.array_equal(plan.momentum_at(20), plan.momentum_at(19), equal_nan=True)


def test_lr_at_has_a_row_per_step_and_a_column_per_group() -> None:
    plan = one_cycle(0.1, 20, 3)
    assert plan.lr_at(0).shape == (3,)
    assert plan.lr_at([0, 1]).shape == (2, 3)
    assert plan.lr_at([]).shape == (0, 3)
    assert plan.momentum_at(np.arange(20)).shape == (20, 3)


def test_a_step_that_is_none_is_refused() -> None:
    plan = one_cycle(0.1, 20, 1)
    with pytest.raises(InputError, match="-1"):
        plan.lr_at(-1)
    for step in (1.0, True, "1"):
        with pytest.raises(InputTypeError, match="whole number"):
            plan.lr_at(step)


# ---- making plans ---------------------------------------------------------------------------------------------------


def test_groups_are_an_optimizer_a_number_or_names() -> None:
    optimizer = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "name": name} for name in ("body", "head")], lr=0.1
    )
    before = str(optimizer.state_dict())
    assert one_cycle(0.1, 9, optimizer).names == ("body", "head")
    assert one_cycle(0.1, 9, ["body", "head"]) == one_cycle(0.1, 9, optimizer)
    assert one_cycle(0.1, 9, 2).names == ("group 0", "group 1")
    assert one_cycle(0.1, 9, 1).names == ("all layers",)
    assert str(optimizer.state_dict()) == before


@pytest.mark.parametrize("steps", [7, np.int64(7), torch.tensor(7), 7.0, np.float32(7)])
def test_whole_numbers_of_any_kind_are_steps(steps: object) -> None:
    plan = one_cycle(0.1, steps, 1)
    assert plan == one_cycle(0.1, 7, 1)
    assert type(plan.cycles[0].steps) is int


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"total_steps": 0}, InputError, "total_steps=0"),
        ({"total_steps": 7.5}, InputTypeError, "total_steps=7.5"),
        ({"total_steps": math.inf}, InputTypeError, "total_steps=inf"),
        ({"total_steps": "7"}, InputTypeError, "total_steps='7'"),
        ({"total_steps": True}, InputTypeError, "total_steps=True"),
        ({"groups": 0}, InputError, "groups=0"),
        ({"groups": []}, InputError, "no group names"),
        ({"groups": "head"}, InputTypeError, "'head'"),
        ({"preset": "one-cycle"}, InputError, "'fastai'"),
        ({"pct_start": 30}, InputError, "30 %"),
        ({"pct_start": math.nan}, InputError, "finite"),
        ({"pct_start": 0.6, "phases": 3}, InputError, "at most 0.5"),
        ({"phases": 4}, InputError, "2, 3"),
        ({"div": 0.5}, InputError, "max_lr / div"),
        ({"div_final": 0}, InputError, "div_final"),
        ({"div_final": 1e-3}, InputError, "above max_lr"),
        ({"anneal": "cosine"}, InputError, "'cos', 'linear'"),
        ({"momentum": (0.95, 0.85)}, InputError, r"\(low, high\)"),
        ({"momentum": (0.85, 1.0)}, InputError, r"\(low, high\)"),
        ({"momentum": 0.9}, InputError, r"\(low, high\)"),
        ({"momentum": (0, 0.9)}, InputError, r"0 < low"),
        ({"freeze_steps": 10}, InputError, "counts them in"),
        ({"final_div_factor": 10}, InputTypeError, "Did you mean 'div_final'"),
        ({"anneal_strategy": "cos"}, InputTypeError, "Did you mean 'anneal'"),
        ({"pct_strat": 0.1}, InputTypeError, "Did you mean 'pct_start'"),
        ({"frozen": [True, True]}, InputError, "freezes every group"),
        ({"frozen": [True]}, InputError, "1 flags in frozen"),
        ({"frozen": True}, InputTypeError, "one True or False per group"),
        ({"frozen": [0, 1]}, InputTypeError, "one True or False per group"),
        ({"frozen": [False, True], "freeze_steps": 2}, InputError, "'group 1', which is the last, frozen"),
    ],
)
def test_what_no_plan_can_have_is_refused(options: dict[str, object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        one_cycle(**{"max_lr": 0.1, "total_steps": 10, "groups": 2, **options})


def test_a_preset_gives_defaults_and_keywords_override_them() -> None:
    (cycle,) = one_cycle(0.1, 10, 1, preset="fastai", div=7, momentum=None).cycles
    assert (cycle.div, cycle.momentum, cycle.pct_start, cycle.preset) == (7.0, None, 0.25, "fastai")


def test_freeze_steps_come_first_at_the_same_lrs() -> None:
    plan = one_cycle(slice(1e-4, 1e-2), 50, 3, preset="smith", freeze_steps=20)
    first, second = plan.cycles
    assert (first.steps, second.steps, plan.total_steps) == (20, 30, 50)
    assert first.frozen == (True, True, False) and not second.frozen
    assert first.max_lrs == second.max_lrs == plan.max_lrs
    assert np.array_equal(plan.lr_at(20), second.lr_at(np.array([0]))[0])


def test_frozen_groups_stand_still_in_every_cycle_with_their_norm_layers_unless_asked_otherwise() -> None:
    (cycle,) = one_cycle(0.1, 10, 3, frozen=[True, False, np.False_]).cycles
    assert (cycle.frozen, cycle.frozen_norms) == ((True, False, False), (True, False, False))
    (cycle,) = one_cycle(0.1, 10, 3, frozen=(True, False, False), train_norms=True).cycles
    assert (cycle.frozen, cycle.frozen_norms) == ((True, False, False), ())
    assert one_cycle(0.1, 10, 3, frozen=[False] * 3) == one_cycle(0.1, 10, 3)


@pytest.mark.parametrize(
    ("train_norms", "spared"),
    [(None, (False, True, False)), (True, (True, True, False)), (False, (False, False, False))],
)
def test_freeze_steps_freeze_more_groups_at_first(train_norms: bool | None, spared: tuple[bool, ...]) -> None:
    plan = one_cycle(0.1, 10, 3, frozen=[True, False, False], freeze_steps=4, train_norms=train_norms)
    assert [cycle.frozen for cycle in plan.cycles] == [(True, True, False), (True, False, False)]
    assert plan.cycles[0].spared() == spared and plan.cycles[1].spared() == (spared[0], False, False)
    assert np.array_equal(plan.lr_at(steps_of(plan)), one_cycle(0.1, 10, 3, freeze_steps=4).lr_at(steps_of(plan)))


def test_a_plan_is_a_value() -> None:
    plan = one_cycle(0.1, 10, 1)
    assert plan == one_cycle([0.1], 10, ["all layers"]) and hash(plan) == hash(one_cycle(0.1, 10, 1))
    with pytest.raises(AttributeError):
        plan.names = ("other",)  # type: ignore[misc]


def test_a_plan_s_cycles_must_fit_its_groups() -> None:
    cycle = Cycle(steps=3, max_lrs=(0.1, 0.2))
    with pytest.raises(InputError, match="2 LRs for 1"):
        Plan(cycles=(cycle,), names=("all layers",))
    with pytest.raises(InputError, match="frozen flags"):
        Cycle(steps=3, max_lrs=(0.1, 0.2), frozen=(True,))
    with pytest.raises(InputError, match="expected a group that trains"):
        Cycle(steps=3, max_lrs=(0.1, 0.2), frozen=(True, True))
    with pytest.raises(InputError, match="True only in frozen groups"):
        Cycle(steps=3, max_lrs=(0.1, 0.2), frozen=(True, False), frozen_norms=(False, True))
    still = Cycle(steps=3, max_lrs=(0.1, 0.2), frozen=(True, False), frozen_norms=(True, False))
    with pytest.raises(InputError, match="norm layers of the frozen group 'body' train, and others"):
        Plan(cycles=(still, Cycle(steps=3, max_lrs=(0.1, 0.2), frozen=(True, False))), names=("body", "head"))
    with pytest.raises(InputError, match="without a cycle"):
        Plan(cycles=(), names=("all layers",))


def test_boundaries_name_the_phases_where_they_begin() -> None:
    assert fine_tune_plan(1e-3, 100, 10, 2).boundaries() == (
        (0.0, "frozen: warm-up"),
        (10.0, "warm-up"),
        (40.0, "anneal"),
    )
    assert one_cycle(0.1, 100, 1).boundaries() == ((0.0, "warm-up"), (29.0, "anneal"))
    smith = one_cycle(0.1, 100, 1, preset="smith").boundaries()
    assert smith == ((0.0, "warm-up"), (44.0, "cool-down"), (88.0, "annihilate"))
    assert one_cycle(0.1, 100, 1, pct_start=0).boundaries() == ((0.0, "anneal"),)
    assert one_cycle(0.1, 1, 1).boundaries() == ((0.0, "warm-up"),)


# ---- as JSON --------------------------------------------------------------------------------------------------------


def test_an_unknown_missing_or_impossible_field_is_refused() -> None:
    plain = json.loads(json.dumps(fine_tune_plan(1e-3, 9, 3, 2).to_dict()))
    for damage in (
        lambda d: d.update(colour="red"),
        lambda d: d.pop("names"),
        lambda d: d["cycles"][0].update(moms=3),
        lambda d: d["cycles"][1].pop("div"),
        lambda d: d["cycles"][1].update(div=0.1),
        lambda d: d["cycles"][1].update(max_lrs=[0.1]),
        lambda d: d.update(cycles=[3]),
    ):
        broken = json.loads(json.dumps(plain))
        damage(broken)
        with pytest.raises(InputError):
            Plan.from_dict(broken)


def test_a_plan_survives_its_file(tmp_path) -> None:
    plan = fine_tune_plan(3e-3, 9, 3, ["stem", "body", "head"])
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_a_file_of_something_else_is_no_plan(tmp_path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(RecordError):
        Plan.load(tmp_path / "plan.json")


# ---- of any plan ----------------------------------------------------------------------------------------------------

shapes = st.builds(
    dict,
    preset=st.sampled_from(sorted(PRESETS)),
    pct_start=st.none() | st.floats(0.001, 0.5),
    div=st.none() | st.floats(1, 1e4),
    div_final=st.none() | st.floats(1, 1e8),
    anneal=st.none() | st.sampled_from(["cos", "linear", "linear-cos"]),
    phases=st.none() | st.sampled_from([2, 3]),
)
picks = st.floats(1e-8, 10) | st.builds(slice, st.floats(1e-8, 10), st.floats(1e-8, 10))
lengths = st.integers(1, 12) | st.integers(13, 200)


@settings(max_examples=150)
@given(pick=picks, total_steps=lengths, groups=st.integers(1, 3), options=shapes)
def test_lrs_climb_to_their_highest_once_and_stay_within_it(
    pick: object, total_steps: int, groups: int, options: dict[str, object]
) -> None:
    plan = one_cycle(pick, total_steps, groups, **options)
    lrs = plan.lr_at(np.arange(total_steps + 3))
    top = np.array(plan.max_lrs)
    assert np.isfinite(lrs).all() and (lrs >= 0).all()
    assert (lrs <= top * (1 + 1e-12)).all()
    if total_steps >= 2 or plan.cycles[0].ends == "torch":
        assert (lrs.max(axis=0) >= top / 2 * (1 - 1e-9)).all()
    end = plan.cycles[0].phase_ends()[0]
    if end.is_integer() and end < total_steps:
        # To the last bit after a cosine; a line's end rounds, here as in OneCycleLR.
        np.testing.assert_allclose(lrs[int(end)], top, rtol=0 if plan.cycles[0].phase_anneal(0) == "cos" else 1e-15)
    peak = int(lrs[:, 0].argmax())
    slack = 1e-12 * top[0]
    assert (np.diff(lrs[: peak + 1, 0]) >= -slack).all()
    if plan.cycles[0].phases == 2 and plan.cycles[0].levels(1.0)[-1] <= plan.cycles[0].levels(1.0)[1]:
        assert (np.diff(lrs[peak:, 0]) <= slack).all()


@settings(max_examples=100)
@given(
    pick=picks,
    total_steps=lengths,
    groups=st.integers(1, 3),
    options=shapes,
    freeze=st.booleans(),
    frozen=st.lists(st.booleans(), min_size=2, max_size=2),
)
def test_a_plan_read_back_from_json_is_the_same(
    pick: object, total_steps: int, groups: int, options: dict[str, object], freeze: bool, frozen: list[bool]
) -> None:
    still = [*frozen[: groups - 1], False]
    plan = one_cycle(pick, total_steps, groups, frozen=still, freeze_steps=total_steps // 3 if freeze else 0, **options)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))
    assert again == plan
    assert np.array_equal(again.lr_at(steps_of(plan)), plan.lr_at(steps_of(plan)))


def test_every_preset_is_a_complete_shape() -> None:
    assert all(type(shape) is Shape for shape in PRESETS.values())


# What a plan is for ---------------------------------------------------------------------------------------------------


def test_several_optimizers_count_with_all_their_groups_in_order() -> None:
    first = torch.optim.SGD([{"params": nn.Linear(2, 2).parameters(), "name": "body"}], lr=0.1)
    second = torch.optim.Adam([{"params": nn.Linear(2, 2).parameters(), "name": name} for name in ("neck", "head")])
    assert one_cycle(0.1, 10, [first, second]).names == ("body", "neck", "head")
    assert fine_tune_plan(0.1, 10, 2, (first, second)).n_groups == 3


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (nn.Sequential(nn.Linear(2, 2)), "a Sequential of Linear as groups; expected the optimizer"),
        (nn.Linear(2, 2), "a Linear as groups; expected the optimizer, a list of several"),
        ([1, 2], "a list of int as groups; expected the optimizer"),
        ("body", r"a str \('body'\) as groups; expected the optimizer"),
    ],
)
def test_what_is_neither_optimizers_nor_names_nor_a_number_is_refused(groups: Any, told: str) -> None:
    with pytest.raises(InputTypeError, match=f"^Got {told}"):
        one_cycle(0.1, 10, groups)


@pytest.mark.parametrize("changes", [{"cycles": 5}, {"names": 5}, {"cycles": None}, {"cycles": [5]}])
def test_a_record_whose_parts_are_no_lists_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"^Got .*; expected"):
        Plan.from_dict(one_cycle(0.1, 10, 2).to_dict() | changes)


def test_groups_that_stand_still_all_through_are_no_phase() -> None:
    both = one_cycle(1e-3, 100, ["stem", "body", "head"], freeze_steps=20, frozen=[True, False, False])
    assert [name for _, name in both.boundaries()][-2:] == ["warm-up", "anneal"]
    assert both.boundaries()[0][1] == "frozen: warm-up"
    alone = one_cycle(1e-3, 100, ["stem", "head"], frozen=[True, False])
    assert [name for _, name in alone.boundaries()] == ["warm-up", "anneal"]
