"""A network as a row of blocks, and where to cut it.

A *layer* is a module with parameters of its own, such as a convolution, or a parameter that stands beside layers, such
as a class token; a *block* is what is kept together, such as a residual block. Both come in the order in which the
model defines them, except that what has the name of a head comes last. Depth is counted in weight matrices: norms,
biases, tokens and position tables do not make a network deeper.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lrwidget.engine.errors import InputError
from lrwidget.engine.loops.groups import NORM_LAYERS
from lrwidget.engine.plain import is_count, plain

HEADS = frozenset(
    """fc fc_out final_fc head heads head_dist cls classifier aux_classifier logits to_logits score qa_outputs embed_out
    output output_layer out out_layer final final_layer last_linear""".split()
)
"""What heads are called in torchvision, timm and transformers and by people at home, besides `<something>_head`."""

NO_HEADS = frozenset(["conv_head", "multi_head"])
"""The last convolution of an EfficientNet, and attention."""

WHOLE = (nn.MultiheadAttention,)
"""Modules that are one layer, although there is another in them."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A module with parameters of its own, or a parameter that stands beside layers.

    Attributes:
        path: the module's, or the parameter's.
        parameters: the module's own, or that one.
        depth: 1 when it makes the network deeper, else 0.
        leads: whether it goes with what comes after it, as a token does, and not with what comes before, as a norm.
    """

    path: str
    parameters: tuple[torch.Tensor, ...]
    depth: int
    leads: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A module and the layers in it."""

    module: nn.Module
    path: str
    layers: tuple[Layer, ...]

    @property
    def depth(self) -> int:
        """How many of its layers make the network deeper."""
        return sum(layer.depth for layer in self.layers)

    def opened(self) -> list["Block"]:
        """The blocks it is made of; itself when it is a single layer."""
        if len(self.layers) == 1:
            return [self]
        prefix = f"{self.path}." if self.path else ""
        inner = [Block(child, prefix + name, ()) for name, child in self.module.named_children()]
        blocks = [Block(b.module, b.path, tuple(x for x in self.layers if is_inside(x.path, b.path))) for b in inner]
        beside = [x for x in self.layers if not any(is_inside(x.path, block.path) for block in inner)]
        blocks += [Block(nn.Identity(), x.path, (x,)) for x in beside]
        return sorted((b for b in blocks if b.layers), key=lambda block: self.layers.index(block.layers[0]))

    def is_stack(self) -> bool:
        """Whether it only lists blocks that each are more than a layer, as a stage of residual blocks does."""
        inner = self.opened()
        return isinstance(self.module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)) and self.depth > len(inner) > 1


def layers_of(model: nn.Module) -> list[Layer]:
    """Every parameter once, with the first module that holds it; those of the head last."""
    heads = heads_of(model)
    modules = dict(model.named_modules())
    found: dict[str, dict[str, list[torch.Tensor]]] = {}
    seen: set[int] = set()
    for path in sorted(modules, key=lambda path: is_any(path, heads)):
        for name, parameter in modules[path].named_parameters(path, recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                owner, own = _owner(name, modules)
                found.setdefault(owner, {}).setdefault(own, []).append(parameter)
    outer = {path[:end] for path in found for end, letter in enumerate(path) if letter == "."} | {""}
    deep = {
        path: not isinstance(modules[path], NORM_LAYERS) and any(p.ndim >= 2 for p in _flat(named))
        for path, named in found.items()
    }
    # A model that has weights of its own and no layers is as deep as these are many.
    alone = not any(deep[path] for path in found if path not in outer)
    layers: list[Layer] = []
    for path, named in found.items():
        if path not in outer:
            layers.append(Layer(path, _flat(named), int(deep[path])))
            continue
        for name, parameters in named.items():
            own_path = f"{path}.{name}" if path else name
            depth = int(alone and parameters[0].ndim >= 2)
            layers.append(Layer(own_path, tuple(parameters), depth, leads=not alone))
    return layers


def _flat(named: Mapping[str, Sequence[torch.Tensor]]) -> tuple[torch.Tensor, ...]:
    return tuple(parameter for parameters in named.values() for parameter in parameters)


def _owner(path: str, modules: Mapping[str, nn.Module]) -> tuple[str, str]:
    """The path of the layer that a parameter is part of, and what it is called there."""
    parts = path.split(".")
    for end in range(len(parts)):
        owner = ".".join(parts[:end])
        if parts[end] == "parametrizations":  # a weight that is computed (weight norm) has its parts in there
            return owner, parts[end + 1]
        if isinstance(modules[owner], WHOLE):
            return owner, ".".join(parts[end:])
    return ".".join(parts[:-1]), parts[-1]


def heads_of(model: nn.Module) -> tuple[str, ...]:
    """The paths of what has the name of a head and stands beside other layers.

    There is none in a `Sequential`, whose order is that in which it computes. Where a `head` has a `tail` beside it,
    as in models that restore images, it is their stem.
    """
    path, parts = "", _trained(model)
    while len(parts) == 1:  # a wrapper around the network
        ((name, model),) = parts.items()
        path, parts = f"{path}{name}.", _trained(model)
    if isinstance(model, (nn.Sequential, nn.ModuleList)):
        return ()
    heads = [name for name in parts if _is_head(name) and not (name == "head" and "tail" in parts)]
    return tuple(path + name for name in heads) if len(heads) < len(parts) else ()


def _is_head(name: str) -> bool:
    name = name.lower()
    return name in HEADS or (name.endswith("_head") and name not in NO_HEADS)


def _trained(module: nn.Module) -> dict[str, nn.Module]:
    """The modules right inside it that have parameters."""
    return {name: child for name, child in module.named_children() if next(child.parameters(), None) is not None}


def by_depth(model: nn.Module, layers: Sequence[Layer], n: int) -> list[tuple[Layer, ...]]:
    """The layers in `n` groups: the head, and the rest cut into parts of similar depth.

    The head is what has the name of one, when enough else is there; if not, the last block.

    Raises:
        InputError: `n` is no number of groups, or there are fewer layers.
    """
    n = plain(n)
    if not is_count(n, 1):
        raise InputError(f"Got n={n!r}; expected a whole number of groups, 1 or more.")
    if n == 1:
        return [tuple(layers)]
    names = heads_of(model)
    head = tuple(layer for layer in layers if is_any(layer.path, names))
    rest = [layer for layer in layers if not is_any(layer.path, names)]
    if any(layer.depth for layer in head) and any(layer.depth for layer in rest):
        blocks = _blocks(model, rest, n - 1, least=n - 1)
        if len(blocks) >= n - 1:
            return [*_parts(blocks, n - 1), head]
    blocks = _blocks(model, layers, n - 1, least=n)
    if len(blocks) < n:
        raise InputError(
            f"Got n={n} for a {type(model).__name__} of {len(blocks)} layers; expected 1 to {len(blocks)} groups."
        )
    return [*_parts(blocks[:-1], n - 1), blocks[-1]]


def _parts(blocks: Sequence[tuple[Layer, ...]], n: int) -> list[tuple[Layer, ...]]:
    """A row of blocks cut into `n` parts of similar depth."""
    cuts = _cuts([sum(layer.depth for layer in block) for block in blocks], n)
    parts = [blocks[a:b] for a, b in zip((0, *cuts), (*cuts, len(blocks)), strict=True)]
    return [tuple(layer for block in part for layer in block) for part in parts]


def _blocks(model: nn.Module, layers: Sequence[Layer], parts: int, *, least: int) -> list[tuple[Layer, ...]]:
    """The model's blocks in order, opened as far as it takes to cut `least` of them into parts of similar depth."""
    blocks = [Block(model, "", tuple(layers))]
    ideal = sum(layer.depth for layer in layers) / parts
    while True:
        deepest = max(
            (block for block in blocks if len(block.layers) > 1),
            key=lambda block: (block.depth * (4 if block.is_stack() else 1), len(block.layers)),
            default=None,
        )
        if deepest is None:
            break
        enough = len(joined(blocks)) >= least
        if enough and deepest.depth <= (0.5 if deepest.is_stack() else 1.5) * ideal:
            break
        at = blocks.index(deepest)
        blocks[at : at + 1] = deepest.opened()
    return joined(blocks)


def joined(blocks: Iterable[Block]) -> list[tuple[Layer, ...]]:
    """The layers of each block; what has no depth, such as a norm, joins the block before it, or the first one."""
    joined: list[list[Layer]] = []
    flat: list[Layer] = []
    for block in blocks:
        if block.depth:
            joined.append([*flat, *block.layers])
            flat = []
        elif joined and not block.layers[0].leads:
            joined[-1].extend(block.layers)
        else:
            flat.extend(block.layers)
    if not joined:
        return [tuple(flat)]
    joined[-1].extend(flat)
    return [tuple(layers) for layers in joined]


def _cuts(depths: Sequence[int], parts: int) -> list[int]:
    """Where to cut a row of blocks so that the parts are of similar depth, with a block at least in each."""
    total, cuts = sum(depths), [0]
    for part in range(1, parts):
        wanted = total * part / parts
        places = range(cuts[-1] + 1, len(depths) - (parts - part) + 1)
        cuts.append(min(places, key=lambda place: abs(sum(depths[:place]) - wanted)))
    return cuts[1:]


def is_inside(path: str, module: str) -> bool:
    """Whether a dotted path is a module's, or that of something in it."""
    return path == module or path.startswith(f"{module}.")


def is_any(path: str, modules: Iterable[str]) -> bool:
    """Whether a dotted path is one of some modules', or that of something in one of them."""
    return any(is_inside(path, module) for module in modules)
