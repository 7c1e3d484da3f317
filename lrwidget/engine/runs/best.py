"""The best weights of a run: a copy that is renewed whenever an epoch is better than those before it."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from lrwidget.engine.runs.history import EpochPoint


class BestWeights:
    """A copy of a model's parameters and buffers, and of which epoch they are.

    Args:
        model: whose weights are kept; of an object that is no module there are none.

    Attributes:
        epoch: the one they are of; 0 for before the first. None while nothing is kept.
    """

    def __init__(self, model: object) -> None:
        self.epoch: EpochPoint | None = None
        self._model = model
        self._kept: list[torch.Tensor] = []

    def is_beaten_by(self, epoch: EpochPoint) -> bool:
        """Whether the epoch has a lower validation loss than any before; one that was not validated always counts."""
        if epoch.valid_loss is None:
            return True
        former = None if self.epoch is None else self.epoch.valid_loss
        return epoch.valid_loss < (math.inf if former is None else former)

    def keep(self, epoch: EpochPoint) -> None:
        """Copy the weights as they are now, over the former copy where it has room for them."""
        self.epoch = epoch
        # Looked up at every turn: a forward pass may have put another tensor in a buffer's place.
        tensors = self._tensors()
        if [t.shape for t in tensors] == [t.shape for t in self._kept]:
            with torch.no_grad():
                for tensor, kept in zip(tensors, self._kept, strict=True):
                    kept.copy_(tensor)
        else:
            self._kept = [tensor.detach().clone() for tensor in tensors]

    def put_back(self) -> None:
        """Give the model the weights that were kept."""
        with torch.no_grad():
            for tensor, kept in zip(self._tensors(), self._kept, strict=True):
                tensor.copy_(kept)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it. The tensors are the living ones."""
        return {"best": self._kept, "best_epoch": None if self.epoch is None else asdict(self.epoch)}

    def go_on(self, state: Mapping[str, Any], device: torch.device | None) -> None:
        """Have what `state` has, on that device."""
        self.epoch = None if state["best_epoch"] is None else EpochPoint(**state["best_epoch"])
        self._kept = [tensor.to(device) for tensor in state["best"]]

    def _tensors(self) -> list[torch.Tensor]:
        model = self._model
        return [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
