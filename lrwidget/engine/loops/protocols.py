"""The shapes of what users bring: their loss, their steps, their optimizers, their loaders."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import torch

ParamGroup: TypeAlias = dict[str, Any]
"""One entry of `optimizer.param_groups`: `params`, `lr`, and whatever else the optimizer keeps there."""

Batch: TypeAlias = Any
"""What a loader yields; only the user's loop and the default step know what is inside."""

Loader: TypeAlias = Iterable[Batch]
"""A `DataLoader`, a list of batches, or anything else that can be iterated over."""

LossFn: TypeAlias = Callable[..., torch.Tensor]
"""`loss_fn(output, target) -> loss`, a single number as a tensor; a module or a plain function."""

LossStep: TypeAlias = Callable[[Any, Batch], torch.Tensor]
"""`loss_step(model, batch) -> loss`: the user's forward; backward and optimizer step are the engine's."""

TrainStep: TypeAlias = Callable[[Batch], "torch.Tensor | float"]
"""`train_step(batch) -> loss`: one whole optimizer step, all of it the user's."""

Metric: TypeAlias = Callable[[Any, Any], "torch.Tensor | float"]
"""`metric(output, target) -> value`, the mean over the batch."""


class OptimizerLike(Protocol):
    """Anything with param groups that each have an `"lr"`; every `torch.optim.Optimizer` is one."""

    param_groups: list[ParamGroup]
