"""Values of any nesting: every tensor in them, and all around it as it was."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import torch


def map_tensors(
    function: Callable[[torch.Tensor], torch.Tensor],
    batch: Any,
    other: Callable[[Any], Any] = lambda thing: thing.clone() if hasattr(thing, "clone") else thing,
) -> Any:
    """A batch of the same nesting and types, with `function` of every tensor in it.

    Args:
        function: what becomes of a tensor.
        batch: anything a loader yields.
        other: what becomes of an object that is no container and has a `.to`, as a graph or a packed sequence.
    """
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if callable(getattr(batch, "to", None)):
        return other(batch)
    if isinstance(batch, tuple):
        parts = [map_tensors(function, item, other) for item in batch]
        return type(batch)._make(parts) if hasattr(batch, "_make") else tuple(parts)
    if isinstance(batch, list):
        return [map_tensors(function, item, other) for item in batch]
    if isinstance(batch, Mapping):
        mapped = {key: map_tensors(function, value, other) for key, value in batch.items()}
        return _like(batch, mapped) if isinstance(batch, MutableMapping) else mapped
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        twin = copy.copy(batch)
        for field in dataclasses.fields(batch):
            # Not by setattr, which a frozen one refuses; not by replace, which knows no fields without init.
            object.__setattr__(twin, field.name, map_tensors(function, getattr(batch, field.name), other))
        return twin
    return batch


def _like(batch: MutableMapping[Any, Any], content: dict[Any, Any]) -> Any:
    mapped = copy.copy(batch)
    mapped.update(content)
    return mapped
