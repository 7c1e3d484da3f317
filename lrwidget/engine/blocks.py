"""A network as a row of blocks, and where to cut it.

A *layer* is a module with parameters of its own, such as a convolution; a *block* is what is kept together, such as a
residual block. Both come in the order in which the model defines them. Depth is counted in weight matrices: norms,
biases and position tables do not make a network deeper.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lrwidget.engine.errors import InputError
from lrwidget.engine.groups import NORM_LAYERS


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A module with parameters of its own: its path, these parameters, and whether it makes the network deeper."""

    path: str
    parameters: tuple[torch.Tensor, ...]
    depth: int


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
        own = tuple(layer for layer in self.layers if layer.path == self.path)
        if own:
            blocks.insert(0, Block(nn.Identity(), self.path, own))
        return [block for block in blocks if block.layers] or [self]

    def is_stack(self) -> bool:
        """Whether it only lists blocks that each are more than a layer, as a stage of residual blocks does."""
        inner = self.opened()
        return isinstance(self.module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)) and self.depth > len(inner) > 1


def layers_of(model: nn.Module) -> list[Layer]:
    """Every parameter once, with the first module that holds it."""
    found: dict[str, list[torch.Tensor]] = {}
    seen: set[int] = set()
    modules = dict(model.named_modules())
    for path, module in modules.items():
        # A weight that is computed (weight norm) has its parts in a module below the layer.
        owner = path.partition(".parametrizations")[0] if "parametrizations" in path.split(".") else path
        owner = "" if owner.startswith("parametrizations") else owner
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found.setdefault(owner, []).append(parameter)
    outer = {path.rpartition(".")[0] for path in found if path}
    return [
        Layer(
            path,
            tuple(parameters),
            depth=int(
                any(p.ndim >= 2 for p in parameters)
                and not isinstance(modules[path], NORM_LAYERS)
                and not (path in outer or (path == "" and len(found) > 1))
            ),
        )
        for path, parameters in found.items()
    ]


def by_depth(model: nn.Module, layers: Sequence[Layer], n: int) -> list[tuple[Layer, ...]]:
    """The layers in `n` groups: the head, which is the last block, and the rest cut into parts of similar depth.

    Raises:
        InputError: `n` is no number of groups, or there are fewer layers.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"Got n={n!r}; expected a whole number of groups, 1 or more.")
    if n == 1:
        return [tuple(layers)]
    blocks = _blocks(model, layers, n)
    if len(blocks) < n:
        raise InputError(
            f"Got n={n} for a {type(model).__name__} of {len(blocks)} layers; expected 1 to {len(blocks)} groups."
        )
    *body, head = blocks
    cuts = _cuts([sum(layer.depth for layer in block) for block in body], n - 1)
    parts = [body[a:b] for a, b in zip((0, *cuts), (*cuts, len(body)), strict=True)]
    return [tuple(layer for block in part for layer in block) for part in (*parts, [head])]


def _blocks(model: nn.Module, layers: Sequence[Layer], n: int) -> list[tuple[Layer, ...]]:
    """The model's blocks in order, opened as far as it takes to cut it into `n` groups of similar depth."""
    blocks = [Block(model, "", tuple(layers))]
    ideal = sum(layer.depth for layer in layers) / (n - 1)
    while True:
        deepest = max(
            (block for block in blocks if len(block.layers) > 1),
            key=lambda block: (block.depth * (4 if block.is_stack() else 1), len(block.layers)),
            default=None,
        )
        if deepest is None:
            break
        enough = len(joined(blocks)) >= n
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
        elif joined:
            joined[-1].extend(block.layers)
        else:
            flat.extend(block.layers)
    return [tuple(layers) for layers in joined] or [tuple(flat)]


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
