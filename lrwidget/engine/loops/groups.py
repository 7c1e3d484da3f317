"""Param groups: who is in them, how large they are, and the one place that writes their LRs.

`group` always means an optimizer param group. Its name is what the user gave (the `"name"` key of the group, or
`names=`), else the longest module path that all its parameters share, else `group 0`, `group 1`, ...
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lrwidget.engine.borrowing.frozen import unwrapped
from lrwidget.engine.errors import InputError, ModelMismatchError
from lrwidget.engine.loops.protocols import OptimizerLike, ParamGroup

NORM_LAYERS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.RMSNorm,
)

NOTHING_TO_FREEZE = """Got a plan in which {count} of {all} groups do not train, and set_lrs in place of an optimizer;
expected a plan in which all train, because nothing tells which parameters are in a group. Make it with freeze_steps=0
(freeze_epochs=0) and without frozen=."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a person wants to know of one param group.

    Attributes:
        name: unique among the groups of one optimizer.
        n_params: how many numbers it trains, counted once each (tied weights count once).
        layers: dotted paths of the modules whose parameters it holds, in model order; empty when there is no module.
        lr: the optimizer's own LR of the group when it was read.
    """

    name: str
    n_params: int
    layers: tuple[str, ...]
    lr: float


def param_groups(optimizers: Sequence[OptimizerLike]) -> list[ParamGroup]:
    """All param groups of the optimizers, in order: what every tuple of LRs in lrwidget is indexed by."""
    return [group for optimizer in optimizers for group in optimizer.param_groups]


def added(optimizers: Sequence[OptimizerLike], sizes: Sequence[int]) -> list[int]:
    """Which of all groups were added since the optimizers had `sizes` of them: `add_param_group` puts them last.

    Raises:
        InputError: an optimizer has fewer groups now.
    """
    found: list[int] = []
    first = 0
    for optimizer, size in zip(optimizers, sizes, strict=True):
        now = len(optimizer.param_groups)
        if now < size:
            raise InputError(
                f"Got an optimizer with {now} param groups, which had {size} when its run or schedule began; expected "
                "none to be taken away. To keep a group from training, set requires_grad of its parameters to False."
            )
        found += range(first + size, first + now)
        first += now
    return found


def get_lrs(optimizers: Sequence[OptimizerLike]) -> tuple[float, ...]:
    """The LR of every group as floats, in optimizer order.

    Raises:
        InputError: a group has none, as with optimizers that find their own.
    """
    lrs: list[float] = []
    for number, group in enumerate(param_groups(optimizers)):
        try:
            lrs.append(float(group["lr"]))
        except (TypeError, ValueError):
            raise InputError(
                f"Got lr={group['lr']!r} in param group {number}; expected a number. An optimizer that finds its own "
                "LR has to be told to use the one it is given (relative_step=False, lr=1e-3)."
            ) from None
    return tuple(lrs)


def set_lr(group: ParamGroup, lr: float) -> None:
    """Write one group's LR.

    A Tensor LR is filled in place: `capturable` and compiled optimizers hold on to the very tensor.
    """
    current = group["lr"]
    if isinstance(current, torch.Tensor):
        with torch.no_grad():
            current.fill_(lr)
    else:
        group["lr"] = lr


def set_lrs(groups: Sequence[ParamGroup], lrs: Sequence[float]) -> None:
    """Write one LR per group.

    Groups that share one LR Tensor, as those that were made from one default do, part when their LRs do.
    """
    if len(lrs) != len(groups):
        raise InputError(
            f"Got {len(lrs)} LRs for {len(groups)} param groups; expected one for each. Groups that come or go while "
            "an optimizer is swept or trained have no LR in the plan: have them all from the start."
        )
    written: dict[int, float] = {}
    for group, lr in zip(groups, lrs, strict=True):
        if isinstance(group["lr"], torch.Tensor) and written.setdefault(id(group["lr"]), lr) != lr:
            group["lr"] = group["lr"].clone()
        set_lr(group, lr)


def get_momentum(group: ParamGroup) -> float:
    """One group's momentum: `momentum` of SGD and its kin, the first beta of Adam and its kin; NaN without either."""
    value = group["betas"][0] if "betas" in group else group.get("momentum", math.nan)
    return float(value)


def set_momentum(group: ParamGroup, momentum: float) -> None:
    """Write one group's momentum: `momentum` of SGD and its kin, the first beta of Adam and its kin.

    A group whose momentum is 0, or that has none, is left alone: turning momentum on is not a schedule's business.
    """
    if "betas" in group:
        first, *others = group["betas"]
        if isinstance(first, torch.Tensor):
            with torch.no_grad():
                first.fill_(momentum)
        elif first != 0:
            group["betas"] = (momentum, *others)
    elif group.get("momentum"):
        group["momentum"] = momentum


@contextmanager
def frozen(
    model: nn.Module | None, optimizers: Sequence[OptimizerLike], which: Sequence[bool], norms: Sequence[bool] = ()
) -> Iterator[None]:
    """Some groups do not train inside the block; on leaving every parameter trains, or does not, as before.

    Args:
        model: tells which parameters belong to normalisation layers.
        optimizers: whose groups are frozen.
        which: (G,) True for the groups to freeze.
        norms: (G,) True for those of them whose normalisation layers stand still too; empty for none, because their
            statistics move with the data anyway, and their scale and shift must be able to follow.

    Raises:
        InputError: there are groups to freeze, but no optimizer that tells what is in them.
    """
    if not optimizers:
        if any(which):
            raise InputError(NOTHING_TO_FREEZE.format(count=sum(which), all=len(which)))
        yield
        return
    in_norms = {
        id(p)
        for m in (model.modules() if model is not None else ())
        if isinstance(m, NORM_LAYERS)
        for p in m.parameters()
    }
    held = [
        p
        for group, still, with_norms in zip(
            param_groups(optimizers), which, norms or (False,) * len(which), strict=True
        )
        if still
        for p in _tensors(group)
        if p.requires_grad and (with_norms or id(p) not in in_norms)
    ]
    for parameter in held:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def lr_ratios(lrs: Sequence[float]) -> tuple[float, ...]:
    """Every group's LR as a share of the fastest one's; all 1 when no group has an LR above 0.

    This is what a sweep keeps: `lr_g(i) = ratio_g · lr(i)`.
    """
    fastest = max(lrs)
    if not fastest > 0:
        return (1.0,) * len(lrs)
    return tuple(lr / fastest for lr in lrs)


def describe(
    model: nn.Module | None, optimizers: Sequence[OptimizerLike], names: Sequence[str] | None = None
) -> tuple[Group, ...]:
    """Name and count the groups of the optimizers.

    Args:
        model: gives the groups their layers and default names; None for objects that are no module.
        optimizers: whose param groups are described.
        names: one per group, instead of the default ones.

    Raises:
        InputError: `names` has another length than there are groups.
    """
    groups = param_groups(optimizers)
    if names is not None and len(names) != len(groups):
        raise InputError(
            f"Got {len(names)} names ({', '.join(map(str, names))}) for {len(groups)} param groups; "
            "expected one name per group, in optimizer order. Leave names out to have them chosen."
        )
    owners = _owners(model)
    members = [list(_tensors(group)) for group in groups]
    layers = [tuple(dict.fromkeys(owners[id(p)] for p in group if id(p) in owners)) for group in members]
    chosen = [str(name) for name in names] if names is not None else _default_names(groups, layers)
    return tuple(
        Group(name=name, n_params=_count(tensors), layers=paths, lr=lr)
        for name, tensors, paths, lr in zip(unique(chosen), members, layers, get_lrs(optimizers), strict=True)
    )


def check_belongs(models: Sequence[Any], optimizers: Sequence[OptimizerLike]) -> None:
    """Raise unless every optimizer trains at least one parameter of the models.

    Args:
        models: the model first; then whatever else may own trained parameters (a loss, a discriminator).
        optimizers: each is checked for itself.

    Raises:
        ModelMismatchError: an optimizer shares no parameter with them, which is what happens when the model was built
            again (a cell run twice) after the optimizer was.
    """
    modules = [model for model in models if isinstance(model, nn.Module)]
    own = {id(p) for module in modules for p in module.parameters()}
    for optimizer in optimizers:
        held = [p for group in optimizer.param_groups for p in _tensors(group)]
        if not any(id(p) in own for p in held):
            raise ModelMismatchError(
                f"Got an optimizer ({type(optimizer).__name__}) with {len(held)} parameters, none of which is among "
                f"the {len(own)} of this {type(models[0]).__name__}; expected it to train this model. Make the "
                "optimizer again from model.parameters(): a model built anew, or a cell run twice, leaves the old "
                "optimizer with the old weights."
            )


def _tensors(group: ParamGroup) -> Iterator[torch.Tensor]:
    return (p for p in group.get("params", ()) if isinstance(p, torch.Tensor))


def _owners(model: nn.Module | None) -> dict[int, str]:
    """Parameter id -> dotted path of the module that holds it; of the model's own, such as `cls_token`, its name."""
    owners: dict[int, str] = {}
    for path, module in unwrapped(model).named_modules() if model is not None else ():
        for name, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), path or name)
    return owners


def _count(tensors: Iterable[torch.Tensor]) -> int:
    return sum({id(t): t.numel() for t in tensors}.values())


def _default_names(groups: Sequence[ParamGroup], layers: Sequence[tuple[str, ...]]) -> list[str]:
    named = [group.get("name") or _common_path(paths) for group, paths in zip(groups, layers, strict=True)]
    if len(groups) == 1 and not groups[0].get("name"):
        return ["all layers"]
    return [str(name) if name else f"group {i}" for i, name in enumerate(named)]


def _common_path(paths: Sequence[str]) -> str:
    """The longest module path all the layers share; of unrelated layers the first one's and the last one's."""
    if not paths or not all(paths):
        return ""
    parts = [path.split(".") for path in paths]
    shared = 0
    while all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    if shared:
        return ".".join(parts[0][:shared])
    return f"{parts[0][0]} … {parts[-1][0]}"


def unique(names: Sequence[str]) -> list[str]:
    """Names with a counter behind each that came before."""
    unique: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in unique:
            count += 1
            candidate = f"{name} ({count})"
        unique.append(candidate)
    return unique
