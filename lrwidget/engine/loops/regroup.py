"""An optimizer's param groups rearranged by layers, in place and with its state; and put back exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lrwidget.engine.errors import InputError, ModelMismatchError
from lrwidget.engine.loops.layers import LayerGroup
from lrwidget.engine.loops.protocols import OptimizerLike, ParamGroup


@dataclass(frozen=True, slots=True, eq=False)
class Regrouped:
    """What an optimizer's groups were before they were rearranged; `ungroup` takes it.

    Attributes:
        optimizer: whose groups they are.
        before: the very group dicts it had, in order.
    """

    optimizer: OptimizerLike
    before: tuple[ParamGroup, ...]


def regroup(optimizer: OptimizerLike, layers: Sequence[LayerGroup]) -> Regrouped:
    """Give an optimizer one param group per group of layers. Its state, and every parameter's options, stay.

    Where parameters of one layer group had different options (a weight decay for matrices and none for norms), each
    option keeps a group of its own. What the optimizer trains beside the layers stays in its group, behind the others.
    An LR scheduler counts the groups when it is made: make it afterwards, as `plan.scheduler(optimizer)` does.

    Args:
        optimizer: rearranged in place; the list `optimizer.param_groups` stays the same list.
        layers: from `layer_groups(model)`.

    Returns:
        What `ungroup` needs.

    Raises:
        ModelMismatchError: the optimizer trains none of the layers.
        InputError: the optimizer can have only one group (LBFGS).
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise InputError("Got an LBFGS optimizer; expected one that can have several param groups, as all others can.")
    before = tuple(optimizer.param_groups)
    home = {id(parameter): index for index, group in enumerate(layers) for parameter in group.parameters}
    if not any(id(p) in home for group in before for p in group["params"]):
        raise ModelMismatchError(
            "Got an optimizer that trains none of these layers; expected one made from the same model's parameters. "
            "Make the optimizer again from model.parameters()."
        )
    after: list[ParamGroup] = []
    for index, layer_group in enumerate(layers):
        parts = [_part(group, lambda p, index=index: home.get(id(p)) == index) for group in before]
        after += [part | {"name": name} for part, name in _names(layer_group.name, parts)]
    after += [part for group in before if (part := _part(group, lambda p: id(p) not in home))["params"]]
    optimizer.param_groups[:] = after
    return Regrouped(optimizer, before)


def ungroup(regrouped: Regrouped) -> None:
    """Put the groups back that `regroup` rearranged: the same dicts, with their own LRs, in their order.

    Groups that were added since stay, behind the others.
    """
    groups = regrouped.optimizer.param_groups
    known = {id(p) for group in regrouped.before for p in group["params"]}
    added = [group for group in groups if not any(id(p) in known for p in group["params"])]
    groups[:] = [*regrouped.before, *added]


def _part(group: ParamGroup, wanted: Any) -> ParamGroup:
    """A group with some of its parameters and all of its options."""
    chosen = [i for i, parameter in enumerate(group["params"]) if wanted(parameter)]
    part = {key: _own(value) for key, value in group.items()} | {"params": [group["params"][i] for i in chosen]}
    if "param_names" in group:
        part["param_names"] = [group["param_names"][i] for i in chosen]
    return part


def _own(value: Any) -> Any:
    """An option that can be written to without the other groups seeing it: LRs may be tensors."""
    return value.clone() if isinstance(value, torch.Tensor) else value


def _names(name: str, parts: Sequence[ParamGroup]) -> list[tuple[ParamGroup, str]]:
    filled = [part for part in parts if part["params"]]
    if len(filled) <= 1:
        return [(part, name) for part in filled]
    return [(part, f"{name} · {part.get('name') or number}") for number, part in enumerate(filled, start=1)]
