"""Layers from stem to head in a few groups, so that each group can have an LR of its own.

Groups of a classifier, in the way of "Universal Language Model Fine-tuning for Text Classification" (Howard and Ruder
2018, section 3.2) and of fastai's splitters: the head apart, the body in parts of similar depth.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias

import torch
from torch import nn

from lrwidget.engine.borrowing.frozen import unwrapped
from lrwidget.engine.errors import InputError, InputTypeError
from lrwidget.engine.loops.blocks import Block, Layer, by_depth, is_inside, joined, layers_of
from lrwidget.engine.picking import Pick, resolve_lrs

Name: TypeAlias = str | EllipsisType
Names: TypeAlias = Sequence[Name | Sequence[Name]] | Mapping[str, Name | Sequence[Name]]
"""Layers by name: for each group a dotted path or the beginning of one, or several; `...` for all the rest."""

Splitter: TypeAlias = Callable[[nn.Module], "Sequence[Any] | Mapping[str, Any]"]
"""`splitter(model)` -> for each group a module, a parameter, or a list of them, as fastai's splitters return."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerGroup:
    """Some layers of a model that share an LR.

    Attributes:
        name: unique among the groups of one split: "stem", "body", "head"; with `per_layer`, the layer's path.
        part: the part of the network it belongs to; the same as `name` unless `per_layer`.
        layers: dotted paths of the modules in it, and of parameters that stand beside modules, in model order.
        parameters: theirs, each once.
    """

    name: str
    part: str
    layers: tuple[str, ...]
    parameters: tuple[torch.Tensor, ...]

    @property
    def n_params(self) -> int:
        """How many numbers it has."""
        return sum(parameter.numel() for parameter in self.parameters)

    def __repr__(self) -> str:
        shown = self.layers if len(self.layers) <= 4 else (*self.layers[:2], "…", self.layers[-1])
        count = f"{len(self.layers)} layer{'' if len(self.layers) == 1 else 's'}"
        return f"{self.name}: {self.n_params:,} params in {count} ({', '.join(shown)})"


class LayerGroups(tuple[LayerGroup, ...]):
    """The groups of a split, from stem to head; a tuple."""

    __slots__ = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, from stem to head; without `per_layer` those of the groups."""
        return tuple(dict.fromkeys(group.part for group in self))

    def lrs(self, pick: Pick) -> tuple[float, ...]:
        """One LR per group from a pick for the parts.

        Without `per_layer` that is the pick itself. With it, layer `j` of the `k` in part `p` gets
        `lr_p · (lr_{p+1} / lr_p)^(j/k)`: a part begins at its own LR and approaches the next one's geometrically; the
        head has its own throughout.

        Args:
            pick: one LR, `slice(lo, hi)`, or one LR per part; see `resolve_lrs`.
        """
        parts = self.parts
        lrs = resolve_lrs(pick, len(parts))
        ends = (*lrs[1:], lrs[-1])
        found: list[float] = []
        for part, low, high in zip(parts, lrs, ends, strict=True):
            count = sum(group.part == part for group in self)
            found += [low * (high / low) ** (j / count) for j in range(count)]
        return tuple(found)

    def param_groups(self, lr: Pick | None = None) -> list[dict[str, Any]]:
        """What an optimizer is made from: `AdamW(layer_groups(model).param_groups(lr=slice(1e-5, 1e-3)))`.

        Args:
            lr: a pick for the parts; None leaves the LR to the optimizer's default.
        """
        plain: list[dict[str, Any]] = [{"params": list(group.parameters), "name": group.name} for group in self]
        if lr is not None:
            for entry, value in zip(plain, self.lrs(lr), strict=True):
                entry["lr"] = value
        return plain

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))


def layer_groups(
    model: nn.Module, n: int = 3, *, by: Names | Splitter | None = None, per_layer: bool = False
) -> LayerGroups:
    """The layers of a model in groups from stem to head.

    Args:
        model: any module; wrappers such as DDP and compiled models are looked through.
        n: how many groups, 1 or more, when `by` does not say; default 3: stem, body and head. The head is what is
            called `fc`, `head`, `classifier`, `lm_head` or the like, wherever it is defined, else the last block; the
            rest is cut between blocks into parts of similar depth, in the order in which the model defines them.
            The model's own parameters, such as `cls_token`, are in the stem.
        by: the layers of each group by name (`["stem", "layer", ...]`, where a name stands for every layer whose path
            it begins, and `...` for the rest), as a mapping to name the groups as well, or a function of the model.
        per_layer: one group per layer, so that LRs can rise inside a part, too; default False.

    Returns:
        A tuple of `LayerGroup`; `.param_groups(lr=...)` makes an optimizer of it.

    Raises:
        InputError: fewer layers than groups; a name that no layer has; layers in no group or in two.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> layer_groups(model)
        stem: 40 params in 1 layer (0)
        body: 72 params in 1 layer (2)
        head: 18 params in 1 layer (4)
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"Got a {type(model).__name__}; expected a torch.nn.Module to split into layers.")
    model = unwrapped(model)
    layers = layers_of(model)
    if not layers:
        raise InputError(f"Got a {type(model).__name__} without parameters; expected layers that can be trained.")
    if by is None:
        parts = _named(by_depth(model, layers, n))
    elif callable(by):
        parts = _by_function(by(model), layers)
    else:
        parts = _by_name(by, layers)
    return LayerGroups(
        group
        for part, members in parts.items()
        for group in (_singles(part, members) if per_layer else [_group(part, part, members)])
    )


def _named(parts: Sequence[tuple[Layer, ...]]) -> dict[str, tuple[Layer, ...]]:
    count = len(parts)
    middle = ["body"] if count == 3 else [f"body {i}" for i in range(1, count - 1)]
    names = {1: ["all layers"], 2: ["body", "head"]}.get(count, ["stem", *middle, "head"])
    return dict(zip(names, parts, strict=True))


def _by_name(names: Names, layers: Sequence[Layer]) -> dict[str, tuple[Layer, ...]]:
    entries = [[e] if isinstance(e, (str, EllipsisType)) else list(e) for e in _values(names)]
    groups: list[list[Layer]] = [[] for _ in entries]
    rest = next((i for i, entry in enumerate(entries) if ... in entry), None)
    # `layer` stands for layer1 and layer2, but `layer1`, which there is, not for layer10.
    loose = {
        name
        for entry in entries
        for name in entry
        if isinstance(name, str) and not any(is_inside(layer.path, name) for layer in layers)
    }
    homeless = []
    for layer in layers:
        # The longest name wins: ["encoder", "encoder.final"] means what it says.
        fits = [
            (len(name), i)
            for i, entry in enumerate(entries)
            for name in entry
            if isinstance(name, str)
            if is_inside(layer.path, name) or (name in loose and layer.path.startswith(name))
        ]
        best, index = max(fits, default=(0, 0))
        if best:
            groups[index].append(layer)
        elif rest is not None:
            groups[rest].append(layer)
        else:
            homeless.append(layer.path)
    known = ", ".join(layer.path for layer in layers[:8]) + (", …" if len(layers) > 8 else "")
    for entry, group in zip(entries, groups, strict=True):
        if group:
            continue
        if any(is_inside(layer.path, name) for layer in layers for name in entry if isinstance(name, str)):
            raise InputError(
                f"Got {entry} as the layers of a group, all of which are in another group by a name as long or longer; "
                "expected every name once."
            )
        if entry == [...]:
            raise InputError(f"Got {names!r}, which leaves no layer for `...`; expected a rest. Take it out.")
        raise InputError(f"Got {entry} as the layers of a group, which no layer is called; there are {known}.")
    if homeless:
        raise InputError(
            f"Got names that leave out {', '.join(homeless[:4])}{' and more' if len(homeless) > 4 else ''}; expected "
            "every layer in a group. Add `...` as the group of all the rest."
        )
    own = [" + ".join("rest" if name is ... else str(name) for name in entry) for entry in entries]
    titles = list(names) if isinstance(names, Mapping) else own
    return {title: tuple(group) for title, group in zip(titles, groups, strict=True)}


def _by_function(split: Any, layers: Sequence[Layer]) -> dict[str, tuple[Layer, ...]]:
    if not isinstance(split, (Mapping, list, tuple)) or not split:
        raise InputTypeError(
            f"Got a {type(split).__name__} from the function given as by; expected for each group a module, or a list "
            "of modules or parameters."
        )
    entries = [list(_parameters(entry)) for entry in _values(split)]
    titles = list(map(str, split)) if isinstance(split, Mapping) else list(_named([()] * len(entries)))
    home = {id(parameter): index for index, entry in enumerate(entries) for parameter in entry}
    if sum(len({id(parameter) for parameter in entry}) for entry in entries) > len(home):
        raise InputError("Got a parameter in two groups; expected every layer in one.")
    groups: list[list[Layer]] = [[] for _ in entries]
    for layer in layers:
        missing = [p for p in layer.parameters if id(p) not in home]
        if missing:
            raise InputError(f"Got groups without {layer.path}; expected every layer in one.")
        for index in sorted({home[id(p)] for p in layer.parameters}):
            own = tuple(p for p in layer.parameters if home[id(p)] == index)
            groups[index].append(Layer(layer.path, own, layer.depth))
    return {title: tuple(group) for title, group in zip(titles, groups, strict=True) if group}


def _values(groups: Any) -> list[Any]:
    return list(groups.values() if isinstance(groups, Mapping) else groups)


def _parameters(entry: Any) -> Iterator[torch.Tensor]:
    if isinstance(entry, torch.Tensor):
        yield entry
    elif isinstance(entry, nn.Module):
        yield from entry.parameters()
    elif isinstance(entry, Iterable) and not isinstance(entry, (str, bytes)):
        for part in entry:
            yield from _parameters(part)
    else:
        raise InputTypeError(
            f"Got a {type(entry).__name__} in a group; expected a module, a parameter, or a list of them."
        )


def _group(name: str, part: str, layers: Sequence[Layer]) -> LayerGroup:
    return LayerGroup(
        name=name,
        part=part,
        layers=tuple(layer.path for layer in layers),
        parameters=tuple(parameter for layer in layers for parameter in layer.parameters),
    )


def _singles(part: str, layers: Sequence[Layer]) -> Iterator[LayerGroup]:
    """One group per layer with depth; norms go with the layer before them."""
    blocks = [Block(nn.Identity(), layer.path, (layer,)) for layer in layers]
    for block in joined(blocks):
        leader = next((layer for layer in block if layer.depth), block[0])
        yield _group(leader.path, part, block)
