"""Small and odd plans by the thousand: what holds of any plan holds of them, and everybody says the same numbers."""

import json
import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from lrwidget.engine.plans.plan import PRESETS, Plan, one_cycle

PLANS = 3000
STEPPED, CODED = 2, 6
"""Of how many plans one has its scheduler stepped, and its program executed, as well."""


def odd_plan(chance: random.Random) -> tuple[Plan, float]:
    """A plan of few steps and edge values, its numbers of any kind that users have, and the momentum of its SGD."""
    steps = chance.choice([1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 10, 13])
    n_groups = chance.choice([1, 1, 2, 3, 5])
    phases = chance.choice([None, 2, 3])
    kind = chance.choice([int, float, np.int64, np.float32])
    edges = [0.0, 1e-12, 1 / steps, 1 / steps - 1e-16, 2 / steps, 0.25, 0.3, 0.5, 0.99, 1.0, chance.random()]
    three = phases == 3 or phases is None
    pct_start = chance.choice([None, *(p for p in edges if p <= 1 and not (three and (p == 0 or p > 0.5)))])
    frozen = [chance.random() < 0.3 for _ in range(n_groups - 1)] + [False]
    chance_of_freezing = chance.random()
    plan = one_cycle(
        chance.choice(
            [
                chance.choice([1e-12, 1e-3, 0.1, 1, 1e3, np.float32(0.1)]),
                slice(1e-5, 1e-2),
                slice(1e-2, 1e-5),
                slice(0.3),
                [10 ** chance.uniform(-9, 1) for _ in range(n_groups)],
            ]
        ),
        kind(steps),
        chance.choice([n_groups, np.int64(n_groups), [f"g{i}" for i in range(n_groups)]]),
        preset=chance.choice(sorted(PRESETS)),
        freeze_steps=kind(chance.randrange(steps)) if chance_of_freezing < 0.3 else 0,
        frozen=frozen if chance_of_freezing > 0.7 else None,
        train_norms=chance.choice([None, True, False]),
        pct_start=pct_start,
        div=chance.choice([None, 1, 1.0, 3, 25, 1e6]),
        div_final=chance.choice([None, 1, 2.5, 1e4, 1e9]),
        momentum=chance.choice(["preset", None, (0.85, 0.95), (0.5, 0.5), (1e-9, 0.999)]),
        anneal=chance.choice([None, "cos", "linear", "linear-cos"]),
        phases=phases,
    )
    return plan, chance.choice([0.0, 0.9])


def bare(plan: Plan, momentum: float) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)]} for _ in plan.names], 0.5, momentum)


def of(optimizer: torch.optim.Optimizer) -> tuple[list[float], list[float]]:
    return [g["lr"] for g in optimizer.param_groups], [g["momentum"] for g in optimizer.param_groups]


def held_to_what_holds_of_any_plan(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Its LRs and momenta, at its steps and three beyond; they are checked without knowing how they are found."""
    step_S = np.arange(plan.total_steps + 3)
    lr_SG, momentum_SG = plan.lr_at(step_S), plan.momentum_at(step_S)
    assert lr_SG.shape == momentum_SG.shape == (len(step_S), plan.n_groups)
    assert np.isfinite(lr_SG).all() and (lr_SG > 0).all()
    assert (lr_SG[-3:] == lr_SG[-4]).all(), "beyond the end the last holds"
    for step in (0, plan.total_steps - 1):
        assert np.array_equal(plan.lr_at(step), lr_SG[step]) and plan.lr_at(step).shape == (plan.n_groups,)
    for first, cycle in plan.starts():
        here_SG, top_G = lr_SG[first : first + cycle.steps], np.array(cycle.max_lrs)
        assert (here_SG <= top_G * (1 + 1e-12)).all()
        if cycle.steps > 1 and not (len(plan.cycles) > 1 and first == 0):
            assert (here_SG.max(axis=0) >= top_G / 2 * (1 - 1e-9)).all(), "however short, it gets up to half the pick"
        if cycle.momentum is None:
            assert np.isnan(momentum_SG[first : first + cycle.steps]).all()
        else:
            low, high = cycle.momentum
            here = momentum_SG[first : first + cycle.steps]
            assert (here >= low - 1e-12).all() and (here <= high + 1e-12).all()
        if cycle.phases == 2:  # up once, down once; a final LR above the first one makes no difference to that
            shares = here_SG[:, 0] / top_G[0]
            peak = int(shares.argmax())
            assert (np.diff(shares[: peak + 1]) >= -1e-12).all() and (np.diff(shares[peak:]) <= 1e-12).all()
    return lr_SG, momentum_SG


@pytest.mark.parametrize("part", range(3))
def test_preview_scheduler_file_and_code_of_small_and_odd_plans_are_one(part: int) -> None:
    chance = random.Random(part)
    coded = 0
    native = 0
    for number in range(PLANS // 3):
        plan, momentum = odd_plan(chance)
        told = f"plan {number}: {plan}"
        lr_SG, momentum_SG = held_to_what_holds_of_any_plan(plan)
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False))) == plan, told
        if number % STEPPED:
            continue
        off_or_left = np.isnan(momentum_SG) | (momentum == 0)
        expected_SG = np.where(off_or_left, momentum, momentum_SG)
        optimizer = bare(plan, momentum)
        scheduler = plan.scheduler(optimizer)
        rows = []
        for _ in range(plan.total_steps + 3):
            rows.append(of(optimizer))
            optimizer.step(), scheduler.step()
        assert [row[0] for row in rows] == lr_SG.tolist(), told
        assert np.array_equal([row[1] for row in rows], expected_SG), told
        native += isinstance(scheduler, OneCycleLR)
        if number % CODED == 0:
            assert by_its_program(plan, bare(plan, momentum)) == [row[0] for row in rows[: plan.total_steps]], told
            coded += 1
    assert coded > 100 and native > 25


def by_its_program(plan: Plan, optimizer: torch.optim.Optimizer) -> list[list[float]]:
    """The LRs with which the printed program steps an optimizer whose parameters no gradient reaches."""
    rows: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda *_: rows.append(of(optimizer)[0]))
    model, free = torch.nn.Module(), torch.zeros((), requires_grad=True)
    model.forward = lambda inputs: free * inputs
    names: dict[str, Any] = {"model": model, "optimizer": optimizer, "train_dl": [(1.0, 1.0)] * 3}
    exec(plan.code(), {**names, "loss_fn": lambda output, target: output - target})
    return rows


@pytest.mark.parametrize("pct_start", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 10])
def test_the_steps_of_a_cosine_are_where_exact_arithmetic_puts_them(total_steps: int, pct_start: float) -> None:
    """Where a phase is in whole fractions, the LR is that of an exact share of it."""
    plan = one_cycle(0.1, total_steps, 1, pct_start=pct_start)
    climb = max(Fraction(str(pct_start)) * total_steps - 1, Fraction(0)) or Fraction(min(1, total_steps - 1))
    if total_steps > 2:
        for step in range(total_steps):
            if step <= climb:
                low, high, share = 0.1 / 25, 0.1, Fraction(step) / climb
            else:
                low, high, share = 0.1, 0.1 / 25 / 1e4, (step - climb) / (total_steps - 1 - climb)
            expected = high + (low - high) / 2 * (1 + math.cos(math.pi * share))
            assert plan.lr_at(step)[0] == pytest.approx(expected, rel=1e-12, abs=1e-18)
