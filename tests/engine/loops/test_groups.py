"""Groups are named and counted as a person would, and their LRs are written where the optimizer looks for them."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from lrwidget.engine.errors import InputError, ModelMismatchError
from lrwidget.engine.loops.groups import (
    check_belongs,
    describe,
    frozen,
    get_lrs,
    get_momentum,
    lr_ratios,
    set_lr,
    set_lrs,
    set_momentum,
)
from tests.engine.zoo import adam, net


class Vision(nn.Module):
    """A stem, a body and a head, with a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 2)
        self.tied.weight = self.head.weight


def groups_of(model: nn.Module, *parts: nn.Module, **extras: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": list(part.parameters()), **extras} for part in parts], lr=0.1, momentum=0.9)


def test_groups_are_named_after_the_layers_they_share() -> None:
    model = Vision()
    found = describe(model, [groups_of(model, model.stem, model.body, model.head)])
    assert [group.name for group in found] == ["stem", "body", "head"]
    assert [group.n_params for group in found] == [112, 40, 10]
    assert found[1].layers == ("body.0", "body.1")
    assert [group.lr for group in found] == [0.1, 0.1, 0.1]


def test_a_parameter_of_the_models_own_is_called_by_its_name() -> None:
    model = Vision()
    model.cls_token = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([{"params": [model.cls_token]}, {"params": model.head.parameters()}], lr=0.1)
    first, _ = describe(model, [optimizer])
    assert (first.name, first.layers) == ("cls_token", ("cls_token",))


def test_a_single_group_is_all_layers() -> None:
    model = net()
    assert describe(model, [torch.optim.SGD(model.parameters(), lr=1.0)])[0].name == "all layers"


def test_names_given_win_over_the_optimizers_and_those_over_the_models() -> None:
    model = Vision()
    optimizer = groups_of(model, model.stem, model.head)
    optimizer.param_groups[0]["name"] = "first"
    assert [group.name for group in describe(model, [optimizer])] == ["first", "head"]
    assert [group.name for group in describe(model, [optimizer], ["a", "b"])] == ["a", "b"]


def test_equal_names_get_a_counter_and_stay_apart() -> None:
    model = Vision()
    optimizer = groups_of(model, model.stem, model.body, model.head)
    names = ["x", "x", "x (2)"]
    assert len({group.name for group in describe(model, [optimizer], names)}) == 3


def test_groups_of_several_optimizers_follow_one_another() -> None:
    model = Vision()
    found = describe(model, [groups_of(model, model.stem), groups_of(model, model.body, model.head)])
    assert [group.name for group in found] == ["stem", "body", "head"]


def test_tied_weights_count_once() -> None:
    model = Vision()
    optimizer = torch.optim.SGD([{"params": [model.head.weight, model.tied.bias]}], lr=0.1)
    assert describe(model, [optimizer])[0].n_params == 10


def test_a_wrong_number_of_names_is_refused() -> None:
    model = net()
    with pytest.raises(InputError, match=r"^Got 3 names \(a, b, c\) for 2 param groups; expected one name per group"):
        describe(model, [adam(model)], ["a", "b", "c"])


def test_every_optimizer_must_train_something_of_the_model() -> None:
    model = net()
    check_belongs([model], [adam(model)])
    with pytest.raises(ModelMismatchError, match=r"^Got an optimizer \(AdamW\) with 6 parameters, none of which"):
        check_belongs([model], [adam(model), adam(net())])


def test_a_float_lr_is_replaced_and_a_tensor_lr_is_filled() -> None:
    lr = torch.tensor(0.1)
    by_float, by_tensor = {"lr": 0.1}, {"lr": lr}
    set_lr(by_float, 0.5)
    set_lr(by_tensor, 0.5)
    assert by_float == {"lr": 0.5}
    assert by_tensor["lr"] is lr
    assert lr.item() == 0.5


def test_a_shared_tensor_lr_parts_only_when_the_lrs_do() -> None:
    lr = torch.tensor(0.1)
    groups = [{"lr": lr}, {"lr": lr}, {"lr": lr}]
    set_lrs(groups, [0.2, 0.2, 0.2])
    assert all(group["lr"] is lr for group in groups)
    set_lrs(groups, [0.1, 0.2, 0.1])
    assert [round(float(group["lr"]), 6) for group in groups] == [0.1, 0.2, 0.1]


@pytest.mark.parametrize(
    ("group", "before", "after"),
    [
        ({"momentum": 0.9}, 0.9, {"momentum": 0.8}),
        ({"momentum": 0}, 0.0, {"momentum": 0}),
        ({"betas": (0.9, 0.99)}, 0.9, {"betas": (0.8, 0.99)}),
        ({"betas": (0.0, 0.99)}, 0.0, {"betas": (0.0, 0.99)}),
        ({}, math.nan, {}),
    ],
)
def test_momentum_is_written_where_there_is_any(group: Any, before: float, after: Any) -> None:
    assert get_momentum(group) == pytest.approx(before, nan_ok=True)
    set_momentum(group, 0.8)
    assert group == after


def test_ratios_are_shares_of_the_fastest_group() -> None:
    assert lr_ratios([1e-4, 1e-3, 1e-2]) == pytest.approx((0.01, 0.1, 1.0))
    assert lr_ratios([0.0, 0.0]) == (1.0, 1.0)
    assert lr_ratios([0.0, 1e-3]) == (0.0, 1.0)


def test_lrs_are_read_across_optimizers() -> None:
    model = Vision()
    assert get_lrs([groups_of(model, model.stem), groups_of(model, model.head)]) == (0.1, 0.1)


def test_an_optimizer_without_an_lr_is_told_to_have_one() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(InputError, match=r"^Got lr=None in param group 0; expected a number"):
        describe(model, [optimizer])


def test_groups_that_come_while_lrs_are_set_are_answered() -> None:
    with pytest.raises(InputError, match=r"^Got 1 LRs for 2 param groups; expected one for each"):
        set_lrs([{"lr": 0.1}, {"lr": 0.1}], [0.1])


def test_frozen_groups_train_again_afterwards_and_norms_all_along() -> None:
    model = net()
    optimizer = torch.optim.SGD([{"params": model[:2].parameters()}, {"params": model[4].parameters()}], lr=0.1)
    with frozen(model, [optimizer], [True, False]):
        assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    assert all(p.requires_grad for p in model.parameters())
    with frozen(model, [optimizer], [True, False], norms=[True, False]):
        assert [p.requires_grad for p in model.parameters()] == [False, False, False, False, True, True]
