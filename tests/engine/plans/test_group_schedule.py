import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lrwidget.engine.errors import InputError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.group_schedule import GroupSchedule
from lrwidget.engine.plans.plan import one_cycle
from tests.engine.zoo import loader


def three_groups() -> tuple[Any, GroupSchedule]:
    """SGD with three groups of their own LRs and momenta, at step 3 of a plan that moves both."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    own = zip(model, (0.1, 0.2, 0.3), (0.7, 0.8, 0.9), strict=True)
    optimizer = torch.optim.SGD([{"params": part.parameters(), "lr": lr, "momentum": m} for part, lr, m in own])
    plan = one_cycle([0.01, 0.02, 0.03], 10, optimizer, momentum=(0.5, 0.6))
    schedule = GroupSchedule(Loop(model, optimizer, loader(), nn.CrossEntropyLoss()), plan)
    schedule.begin()
    schedule.write(3)
    return optimizer, schedule


def hypers(optimizer: Any) -> list[tuple[float, float]]:
    return [(float(group["lr"]), group["momentum"]) for group in optimizer.param_groups]


def added_group() -> dict[str, Any]:
    return {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.004, "momentum": 0.4}


def test_every_step_is_the_plans_and_afterwards_all_is_as_before() -> None:
    optimizer, schedule = three_groups()
    lrs, momenta = schedule.write(6)
    assert hypers(optimizer) == list(zip(lrs, momenta, strict=True))
    assert lrs == tuple(schedule.plan.lr_at(6)) and momenta == tuple(schedule.plan.momentum_at(6))
    assert schedule.fastest(6) == max(lrs)
    schedule.put_back()
    assert hypers(optimizer) == [(0.1, 0.7), (0.2, 0.8), (0.3, 0.9)]


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_the_groups_that_are_left_get_their_own_back(removed: int) -> None:
    optimizer, schedule = three_groups()
    del optimizer.param_groups[removed]
    schedule.put_back()
    own = [(0.1, 0.7), (0.2, 0.8), (0.3, 0.9)]
    assert hypers(optimizer) == own[:removed] + own[removed + 1 :]
    with pytest.raises(InputError, match=r"2 param groups, which had 3 .* none to be taken away"):
        schedule.check_none_removed()


def test_groups_in_another_order_get_their_own_back() -> None:
    optimizer, schedule = three_groups()
    optimizer.param_groups.reverse()
    schedule.put_back()
    assert hypers(optimizer) == [(0.3, 0.9), (0.2, 0.8), (0.1, 0.7)]


def test_one_removed_and_another_added_are_not_taken_for_each_other() -> None:
    optimizer, schedule = three_groups()
    del optimizer.param_groups[0]
    optimizer.add_param_group(added_group())
    schedule.put_back()
    assert hypers(optimizer) == [(0.2, 0.8), (0.3, 0.9), (0.004, 0.4)]


def test_groups_that_were_loaded_are_known_by_their_parameters() -> None:
    optimizer, schedule = three_groups()
    before = optimizer.param_groups[0]
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups[0] is not before
    del optimizer.param_groups[0]
    schedule.put_back()
    assert hypers(optimizer) == [(0.2, 0.8), (0.3, 0.9)]


def test_an_lr_tensor_that_groups_share_is_parted_and_put_back() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
    lr = torch.tensor(0.5)
    optimizer = torch.optim.Adam([{"params": part.parameters()} for part in model], lr=lr, capturable=False)
    plan = one_cycle([0.01, 0.02], 10, optimizer, momentum=None)
    schedule = GroupSchedule(Loop(model, optimizer, loader(), nn.CrossEntropyLoss()), plan)
    schedule.begin()
    schedule.write(3)
    del optimizer.param_groups[0]
    schedule.put_back()
    assert [float(group["lr"]) for group in optimizer.param_groups] == [0.5]


def test_an_added_group_joins_the_plan_and_keeps_what_it_was_given() -> None:
    optimizer, schedule = three_groups()
    optimizer.add_param_group(added_group())
    schedule.take_in_added(4)
    lrs, momenta = schedule.rows(6)
    assert schedule.plan.n_groups == len(schedule.layers) == 4
    assert np.isnan(lrs[:4, 3]).all() and np.isnan(momenta[:4, 3]).all() and not np.isnan(lrs[4:, 3]).any()
    schedule.write(4)
    schedule.put_back()
    assert hypers(optimizer)[3] == (0.004, 0.4)


def test_a_momentum_of_zero_stays_off_and_one_that_is_not_there_is_left_alone() -> None:
    model = nn.Linear(6, 3)
    for optimizer, held in (
        (torch.optim.SGD(model.parameters(), lr=0.1), 0.0),
        (torch.optim.Rprop(model.parameters()), math.nan),
    ):
        plan = one_cycle(0.01, 10, 1, momentum=(0.5, 0.6))
        schedule = GroupSchedule(Loop(model, optimizer, loader(), nn.CrossEntropyLoss()), plan)
        schedule.begin()
        assert np.array_equal(schedule.rows(10)[1][:, 0], [held] * 10, equal_nan=True)
