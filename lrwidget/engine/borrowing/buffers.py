"""The buffers that forward passes write to, such as running statistics, and what they were before the latest step."""

from typing import NamedTuple

import torch
from torch import nn

_Place = tuple[nn.Module, str]
"""The module that holds a buffer, and its name there."""


class _Buffer(NamedTuple):
    module: nn.Module
    name: str
    tensor: torch.Tensor
    copy: torch.Tensor

    def moved(self) -> bool:
        # Batch norm writes to its statistics without telling the version counter.
        return getattr(self.module, self.name, None) is not self.tensor or not torch.equal(self.tensor, self.copy)


class MovingBuffers:
    """Can undo what a step did to a model's buffers.

    A forward pass that comes to a loss of NaN has by then put its NaN into the running means and variances, which would
    spoil the model for good. From the second step on only those are copied that the first one moved or made: masks and
    position tables are large and stand still.
    """

    def __init__(self, model: object) -> None:
        self._model = model
        self._steps = 0
        self._moving: list[_Place] = []
        self._before: list[_Buffer] = []

    def remember(self) -> None:
        """Take the buffers as they are before a step."""
        if self._steps < 2:
            still = {(buffer.module, buffer.name) for buffer in self._before if not buffer.moved()}
            self._moving = [place for place in _places(self._model) if place not in still]
        self._steps += 1
        self._before = [
            _Buffer(module, name, buffer, buffer.detach().clone())
            for module, name in self._moving
            if (buffer := getattr(module, name, None)) is not None
        ]

    def put_back(self) -> None:
        """Make the buffers what they were before the step."""
        with torch.no_grad():
            for buffer in self._before:
                if buffer.moved():
                    buffer.tensor.copy_(buffer.copy)
                    if getattr(buffer.module, buffer.name, None) is not buffer.tensor:
                        buffer.module._buffers[buffer.name] = buffer.tensor


def _places(model: object) -> list[_Place]:
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return [
        (module, name) for module in modules for name, _ in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
