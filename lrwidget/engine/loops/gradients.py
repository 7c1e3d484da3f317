"""Whose gradients are how large."""

import math
from collections.abc import Sequence

import torch

from lrwidget.engine.loops.groups import param_groups
from lrwidget.engine.loops.protocols import OptimizerLike


def gradient_shares(optimizers: Sequence[OptimizerLike]) -> tuple[float, ...]:
    """(G,) share of each group in the squared gradient norm, `‖g_G‖² / ‖g‖²`; they add up to 1.

    Empty when there is nothing to tell: no gradients, all of them zero, one that is not finite, or of a kind that torch
    has no norm for.
    """
    try:
        squared = [_squared_norm(group.get("params", ())) for group in param_groups(optimizers)]
    except (RuntimeError, NotImplementedError):  # worth knowing, and not worth a sweep
        return ()
    total = sum(squared)
    return tuple(part / total for part in squared) if math.isfinite(total) and total > 0 else ()


def _squared_norm(parameters: Sequence[torch.Tensor]) -> float:
    grads = [p.grad for p in parameters if isinstance(p, torch.Tensor) and p.grad is not None]
    dense = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    return float(torch.nn.utils.get_total_norm(dense)) ** 2 if dense else 0.0
