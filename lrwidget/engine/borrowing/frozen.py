"""Which parameters no training step can change, so that nobody has to copy them: the base under an adapter."""

import re
from collections.abc import Iterable, Iterator

import torch
from torch import nn

Layout = tuple[type, tuple[tuple[str, tuple[int, ...]], ...]]
"""A module's class, and the names and shapes of its parameters."""


def fixed_parameters(things: Iterable[object], whole: Iterable[object] = ()) -> set[int]:
    """The ids of the parameters that are frozen and that nothing is known to write to.

    A frozen parameter can change all the same, and is then not among them, when

    - an optimizer holds it and it has a gradient, so that the next step moves it all the same;
    - its embedding has `max_norm`, so that every forward rescales it;
    - it belongs to the slow twin of a module that trains: the teacher, the target network or the momentum encoder
      that follows its student by a moving average. A twin has the class, the names and the shapes of its student.

    Args:
        things: all modules and optimizers there are, among anything else.
        whole: modules that are to be regarded as changing, frozen or not.
    """
    things = list(things)
    modules = [thing for thing in things if isinstance(thing, nn.Module)]
    frozen = {id(p) for m in modules for p in m._parameters.values() if p is not None and not p.requires_grad}
    if not frozen:
        return frozen
    frozen -= {id(p) for thing in things for p in _held(thing) if p.grad is not None}
    frozen -= {id(m.weight) for m in modules if isinstance(m, (nn.Embedding, nn.EmbeddingBag)) and m.max_norm}
    frozen -= {id(p) for module in whole if isinstance(module, nn.Module) for p in module.parameters()}
    inner = {id(child) for module in modules for child in module.children()}
    roots = [(f"{n}/", m) for n, m in enumerate(modules) if id(m) not in inner]
    return frozen - {id(p) for twin in _twins(roots, frozen) for p in twin.parameters()}


def is_wrapper(module: object) -> bool:
    """Whether it is torch's wrapper around a model: DDP, DataParallel, a compiled model."""
    return isinstance(module, nn.Module) and type(module).__module__.startswith(
        ("torch.nn.parallel", "torch._dynamo", "torch.distributed")
    )


def unwrapped(module: nn.Module) -> nn.Module:
    """The user's own module inside torch's wrappers."""
    while is_wrapper(module) and len(children := list(module.children())) == 1:
        module = children[0]
    return module


def _held(optimizer: object) -> Iterator[torch.Tensor]:
    groups = getattr(optimizer, "param_groups", None)
    for group in groups if isinstance(groups, (list, tuple)) else ():
        for parameter in group.get("params", ()) if isinstance(group, dict) else ():
            if isinstance(parameter, torch.Tensor):
                yield parameter


def _twins(roots: list[tuple[str, nn.Module]], frozen: set[int]) -> Iterator[nn.Module]:
    """The frozen modules that look like one that trains."""
    students: dict[Layout, set[str]] = {}
    still: list[tuple[str, nn.Module]] = []
    ahead = list(roots)
    while ahead:
        path, module = ahead.pop()
        parameters = [id(p) for p in module.parameters()]
        if not parameters:
            continue
        if frozen.issuperset(parameters):
            still.append((path, module))
        else:
            students.setdefault(_layout(module), set()).add(_kin(path))
            ahead.extend((f"{path}.{name}", child) for name, child in module.named_children())
    while still:
        path, module = still.pop()
        if students.get(_layout(module), set()) - {_kin(path)}:
            yield module
        else:
            still.extend(
                (f"{path}.{name}", c) for name, c in module.named_children() if any(True for _ in c.children())
            )


def _layout(module: nn.Module) -> Layout:
    return type(module), tuple((name, tuple(p.shape)) for name, p in module.named_parameters())


def _kin(path: str) -> str:
    """A path without its numbers: layers of one stack, `blocks.3` and `blocks.11`, are kin and no twins."""
    root, _, inner = path.partition("/")
    return f"{root}/{re.sub(r'[0-9]+', '#', inner)}"
