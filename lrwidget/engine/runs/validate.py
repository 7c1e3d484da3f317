"""The loss and the metrics of a model over a validation loader, without a trace in the training that goes on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lrwidget.engine.borrowing.kept import as_state, of_the_process
from lrwidget.engine.borrowing.preserve import check_keepable
from lrwidget.engine.errors import EmptyLoaderError, InputError, InputTypeError, LRWidgetError
from lrwidget.engine.loops.batches import to_device
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.loops.protocols import Batch, Loader, Metric
from lrwidget.engine.loops.reading import check_loss
from lrwidget.engine.loops.step import in_autocast

METRICS = 'functions by their names, {"accuracy": fn(output, target) -> number}'


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The share of samples whose largest output is at the target's class.

    Args:
        output: (N, C) or (N, C, ...) scores.
        target: (N,) or (N, ...) class numbers.
    """
    return (output.argmax(dim=1) == target).float().mean()


def default_metrics(output: Any, target: Any) -> dict[str, Metric]:
    """Accuracy for classification, which is told by class numbers as target and one score per class; else nothing."""
    classifies = (
        isinstance(output, torch.Tensor)
        and isinstance(target, torch.Tensor)
        and not target.is_floating_point()
        and output.is_floating_point()
        and output.dim() == target.dim() + 1
        and output.shape[1] > 1
        and output.shape[:1] + output.shape[2:] == target.shape
    )
    return {"accuracy": accuracy} if classifies else {}


def validate(loop: Loop, loader: Loader) -> tuple[float, dict[str, float]]:
    """Mean loss and metrics over the loader's samples, in eval mode and without gradients.

    Modes of all submodules, the global random generators and the loader's own are afterwards as before, so that a
    training goes the same way whether it is validated or not.

    Raises:
        EmptyLoaderError: the loader yields nothing.
    """
    generators = [
        as_state("", getattr(owner, "generator", None)) for owner in (loader, getattr(loader, "sampler", None))
    ]
    states = [*of_the_process(), *(state for state in generators if state is not None)]
    modules = [module for module in (loop.model, loop.loss_fn) if isinstance(module, nn.Module)]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        with torch.no_grad():
            return _mean_over(loop, loader)
    except LRWidgetError:
        raise
    except Exception as error:
        error.add_note("It was raised while validating on a batch of valid_dl.")
        raise
    finally:
        for part, mode in modes:
            part.training = mode
        for state in states:
            state.give_back()


def _mean_over(loop: Loop, loader: Loader) -> tuple[float, dict[str, float]]:
    metrics: Mapping[str, Metric] | None = loop.metrics
    loss_sum, samples = 0.0, 0
    sums: dict[str, float] = {}
    device = loop.device
    forward = in_autocast(_forward(loop), loop.amp, device)
    for batch in loader:
        moved = to_device(batch, device) if device is not None else batch
        size = batch_size(moved)
        loss, output, target = forward(moved)
        if output is not None:
            if metrics is None:
                metrics = default_metrics(output, target)
            for name, metric in metrics.items():
                sums[name] = sums.get(name, 0.0) + float(metric(output, target)) * size
        loss_sum += float(loss) * size
        samples += size
    if samples == 0:
        raise EmptyLoaderError(
            f"Got a {type(loader).__name__} as valid_dl that yields no batch; expected at least one. "
            "Leave valid_dl out to train without validation."
        )
    return loss_sum / samples, {name: value / samples for name, value in sums.items()}


def _forward(loop: Loop) -> Callable[[Batch], tuple[torch.Tensor, Any, Any]]:
    """Loss, output and target of a batch; of a step that is the user's own the loss alone."""
    loss_step = loop.loss_step
    if loss_step is None:
        return loop.reading().forward
    return lambda batch: (check_loss(loss_step(loop.model, batch)), None, None)


def check_can_validate(loop: Loop) -> None:
    """Raise before a run starts when it could not be validated after its first epoch."""
    check_metrics(loop.metrics)
    if loop.valid_dl is not None and loop.train_step is not None and not isinstance(loop.model, nn.Module):
        raise InputError(
            f"Got valid_dl with a {type(loop.model).__name__} as model; expected a torch.nn.Module and a loss_fn, "
            "which is how a validation loss is computed. Leave valid_dl out."
        )


def check_metrics(metrics: object) -> None:
    """Raise for metrics that are no functions by name."""
    if metrics is None:
        return
    if not isinstance(metrics, Mapping):
        raise InputTypeError(f"Got a {type(metrics).__name__} as metrics; expected {METRICS}.")
    for name, metric in metrics.items():
        if not isinstance(name, str) or not callable(metric):
            raise InputTypeError(f"Got {name!r}: a {type(metric).__name__} among metrics; expected {METRICS}.")
        check_keepable(metric)


def batch_size(batch: Any) -> int:
    """Samples in a batch: the first dimension of the first tensor in it; 1 when there is none."""
    if isinstance(batch, torch.Tensor):
        return batch.shape[0] if batch.dim() else 1
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, (tuple, list)):
        return next((batch_size(item) for item in batch if isinstance(item, (torch.Tensor, Mapping, tuple, list))), 1)
    return 1
