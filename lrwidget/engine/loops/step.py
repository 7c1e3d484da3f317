"""One training step of any loop: batches in, one optimizer step done, its loss out.

A *step* is an optimizer step. With accumulation it takes a window of batches and its loss is their mean; a step
that the gradient scaler skipped, because fp16 gradients overflowed, has not advanced and is not counted.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import nn

from lrwidget.engine.errors import InputError, LossError, LRWidgetError
from lrwidget.engine.loops.batches import Batches, to_device
from lrwidget.engine.loops.protocols import Batch, TrainStep
from lrwidget.engine.loops.reading import Reading, check_loss
from lrwidget.engine.loops.shortcuts import clear_gradients, step_optimizer

Amp = Literal["fp16", "bf16"]
AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}

T = TypeVar("T")

NO_GRADIENT = """Got a loss ({dtype}) that no gradient can flow from; expected one computed from the model's output.
Is it detached, computed under torch.no_grad(), an integer, or are all parameters frozen?"""

SPARSE = """Got clip_grad_norm={limit} and sparse gradients, as nn.Embedding(sparse=True) makes them for SparseAdam;
expected dense ones: torch cannot take the norm of others. Make the embedding with sparse=False, or do not clip."""


class StepResult(NamedTuple):
    """What one step came to.

    Attributes:
        loss: the mean loss over the step's window of batches, before the step.
        advanced: whether the optimizer moved. False when the scaler skipped, and when the loss is not finite: then
            there is nothing to learn from it and the weights are left as they are.
    """

    loss: float
    advanced: bool


class EngineStep:
    """The default step: forward by `loss_of`, then backward, clipping, scaler and optimizer step by the engine.

    Args:
        loss_of: the loss of one batch, as a tensor with its graph.
        optimizers: stepped in order, all of them each step.
        device: where batches are moved; None leaves them where they are.
        amp: run the forward under autocast; "fp16" scales the loss as well.
        scaler: the user's own; one is made for "fp16" when there is none.
        accumulate: batches per step, 1 or more.
        clip_grad_norm: the largest total gradient norm, over all parameters of the optimizers; None for no clipping.
        before_step: called when the gradients are there and nothing has moved.
    """

    def __init__(
        self,
        loss_of: Callable[[Batch], torch.Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
        *,
        device: torch.device | None,
        amp: Amp | None = None,
        scaler: torch.amp.GradScaler | None = None,
        accumulate: int = 1,
        clip_grad_norm: float | None = None,
        before_step: Callable[[], object] | None = None,
    ) -> None:
        self._loss_of = in_autocast(loss_of, amp, device)
        self._before_step = before_step or (lambda: None)
        self._optimizers = tuple(optimizers)
        self._device = device
        if amp == "fp16" and scaler is None:
            scaler = torch.amp.GradScaler(device.type if device is not None else "cpu")
        self._scaler = scaler
        self._accumulate = accumulate
        self._clip = clip_grad_norm
        self._closures = any(needs_closure(optimizer) for optimizer in self._optimizers)
        if self._closures and scaler is not None:
            raise InputError(
                "Got amp='fp16' with an optimizer that calls a closure (LBFGS); expected bf16 or no amp, because "
                "a closure's repeated forwards cannot be unscaled one by one."
            )

    @property
    def can_run_ahead(self) -> bool:
        """Whether a step can be done without a look at its loss: a closure and a scaler look at it themselves."""
        return not self._closures and self._scaler is None

    def ahead(self, batches: Batches) -> list[torch.Tensor]:
        """The same step with no look at its loss, which may be nothing finite: the losses of its batches."""
        losses = []
        window = self._window(batches)
        for optimizer in self._optimizers:
            clear_gradients(optimizer)
        for batch in window:
            loss = self._loss_of(batch)
            losses.append(self._send_back(loss, len(window)))
        self._before_step()
        self._clip_gradients()
        for optimizer in self._optimizers:
            step_optimizer(optimizer)
        return losses

    def __call__(self, batches: Batches) -> StepResult:
        """Take the next window of batches and do one optimizer step on it."""
        window = self._window(batches)
        if self._closures:
            return self._step_with_closure(window)
        loss = self._backward(window)
        if not math.isfinite(loss):
            return StepResult(loss, advanced=False)
        if self._scaler is not None:
            return StepResult(loss, advanced=self._scaled_step(self._scaler))
        if self._clip is not None:
            self._clip_gradients()
        for optimizer in self._optimizers:
            step_optimizer(optimizer)
        return StepResult(loss, advanced=True)

    def _window(self, batches: Batches) -> list[Batch]:
        window = batches.window(self._accumulate)
        return window if self._device is None else [to_device(batch, self._device) for batch in window]

    def _send_back(self, loss: torch.Tensor, n_batches: int) -> torch.Tensor:
        """The loss of one batch of so many, after its share of the gradients has been added up."""
        if not loss.requires_grad:
            raise LossError(NO_GRADIENT.format(dtype=loss.dtype))
        # What need not be done is not: on a small model each node in the graph is a percent of the step.
        share = loss.reshape(()) if loss.dim() else loss
        if n_batches > 1:
            share = share / n_batches
        (self._scaler.scale(share) if self._scaler is not None else share).backward()  # type: ignore[no-untyped-call]
        return loss

    def _backward(self, window: Sequence[Batch]) -> float:
        """Gradients of the mean loss over the window; the mean itself. Stops before a loss that is not finite."""
        for optimizer in self._optimizers:
            clear_gradients(optimizer)
        total = 0.0
        for batch in window:
            loss = self._loss_of(batch)
            value = loss.item()
            if not math.isfinite(value):
                return value
            total += value
            self._send_back(loss, len(window))
        self._before_step()
        return total / len(window)

    def _step_with_closure(self, window: Sequence[Batch]) -> StepResult:
        first: list[float] = []

        def closure() -> float:
            loss = self._backward(window)
            first.append(loss)
            self._clip_gradients()
            return loss

        for optimizer in self._optimizers:
            optimizer.step(closure)
        return StepResult(first[0], advanced=math.isfinite(first[0]))

    def _scaled_step(self, scaler: torch.amp.GradScaler) -> bool:
        before = scaler.get_scale()
        # The scaler refuses an optimizer whose groups are all frozen.
        moving = [o for o in self._optimizers if any(p.grad is not None for g in o.param_groups for p in g["params"])]
        for optimizer in moving:
            if self._clip is not None:
                scaler.unscale_(optimizer)
        self._clip_gradients()
        for optimizer in moving:
            scaler.step(optimizer)
        scaler.update()
        return scaler.get_scale() >= before

    def _clip_gradients(self) -> None:
        if self._clip is not None:
            parameters = [p for o in self._optimizers for group in o.param_groups for p in group["params"]]
            try:
                nn.utils.clip_grad_norm_(parameters, self._clip)
            except (NotImplementedError, RuntimeError) as error:
                if any(p.grad is not None and p.grad.layout != torch.strided for p in parameters):
                    raise InputError(SPARSE.format(limit=self._clip)) from error
                raise


class UserStep:
    """A step that is all the user's own: `train_step(batch) -> loss` does forward, backward and optimizer steps.

    The batch comes as the loader yields it; where it goes is the user's business too.
    """

    def __init__(self, train_step: TrainStep) -> None:
        self._train_step = train_step

    can_run_ahead = True

    def ahead(self, batches: Batches) -> list[torch.Tensor]:
        """Give the user's step the next batch; its loss, which nobody has looked at if it is a tensor."""
        loss = self._take(batches)
        return [loss if isinstance(loss, torch.Tensor) else torch.tensor(loss, dtype=torch.float64)]

    def __call__(self, batches: Batches) -> StepResult:
        """Give the user's step the next batch."""
        loss = self._take(batches)
        return StepResult(loss.item() if isinstance(loss, torch.Tensor) else loss, advanced=True)

    def _take(self, batches: Batches) -> torch.Tensor | float:
        (batch,) = batches.window()
        loss = self._train_step(batch)
        if isinstance(loss, torch.Tensor):
            return check_loss(loss)
        try:
            if isinstance(loss, (str, bytes)):
                raise TypeError
            return float(loss)
        except (TypeError, ValueError):
            raise LossError(
                f"Got {loss!r} from train_step; expected the loss of the step as one number. End it with `return loss`."
            ) from None


class ExplainedReading:
    """A `Reading` that adds to the user's own exception how their batch was read, the first place to look."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The loss of one batch, with its graph."""
        try:
            return self._reading.forward(batch)[0]
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            if not hasattr(error, "__notes__") and not isinstance(error, LRWidgetError):
                error.add_note(self._reading.explain(batch))
            raise


def in_autocast(forward: Callable[[Batch], T], amp: Amp | None, device: torch.device | None) -> Callable[[Batch], T]:
    """A forward pass, run under autocast if there is to be any."""
    if amp is None:
        return forward
    return torch.autocast(device.type if device is not None else "cpu", dtype=AMP_DTYPES[amp])(forward)  # type: ignore[no-any-return]


def needs_closure(optimizer: Any) -> bool:
    """Whether `optimizer.step` cannot be called without a closure, as with LBFGS."""
    try:
        closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    except (TypeError, ValueError):
        return False
    return closure is not None and closure.default is closure.empty
