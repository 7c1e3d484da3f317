"""What a model remembers in plain attributes: hidden states, counters, temperatures. No `state_dict` has them.

Only what has changed since the run began is kept: all else is as the model's constructor made it, and will be again.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lrwidget.engine.nested import map_tensors
from lrwidget.engine.packing import pack

INTERNAL = frozenset(vars(nn.Module()))

PART_LIMIT = 1000
"""A longer list is data."""


class Attributes:
    """The plain attributes of a model and of all its submodules.

    Plain are numbers, strings, tensors that are no parameters, arrays, and lists, tuples and dicts of those.

    Args:
        module: whose.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._first = {key: _print(value) for key, value in self._plain()}
        self._gone_on: set[tuple[str, str]] = set()

    def state(self) -> list[tuple[str, str, Any]]:
        """Path of the submodule, name and value of every attribute that has changed since the run began."""
        return [
            (*key, value)
            for key, value in self._plain()
            if key in self._gone_on or self._first.get(key) != _print(value)
        ]

    def put_back(self, state: list[tuple[str, str, Any]]) -> None:
        """Make the attributes what they were."""
        parts = dict(_parts(self._module))
        for path, name, value in state:
            if path in parts:
                vars(parts[path])[name] = map_tensors(_to(parts[path], name, self._module), value)
                self._gone_on.add((path, name))

    def _plain(self) -> Iterator[tuple[tuple[str, str], Any]]:
        for path, part in _parts(self._module):
            for name, value in vars(part).items():
                if name not in INTERNAL and _is_plain(value):
                    yield (path, name), value


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, part in module.named_modules():
        yield f"{path}.".replace("_orig_mod.", "").rstrip("."), part


def _to(part: nn.Module, name: str, module: nn.Module) -> Any:
    """What brings a tensor to where the attribute's was, or else to where the model is."""
    now = vars(part).get(name)
    like = now if isinstance(now, torch.Tensor) else next(module.parameters(), None)
    return lambda tensor: tensor if like is None else tensor.to(like.device)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (nn.Parameter, nn.Module)):
        return False
    if isinstance(value, torch.Tensor):
        return value.layout == torch.strided and not value.is_meta
    if isinstance(value, Mapping):
        return type(value) is dict and len(value) <= PART_LIMIT and _is_plain([*value, *value.values()])
    if type(value) in (list, tuple):
        return len(value) <= PART_LIMIT and all(map(_is_plain, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return value is None or type(value) in (bool, int, float, str)


def _print(value: Any) -> int:
    tensors: dict[str, torch.Tensor] = {}
    checksum = zlib.crc32(json.dumps(pack(value, tensors)).encode())
    for tensor in tensors.values():
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().tobytes(), checksum)
    return checksum
