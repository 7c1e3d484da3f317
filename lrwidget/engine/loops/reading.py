"""How the default step reads a batch: which part goes to the model, which to the loss.

The rule is the loop everybody writes, `loss_fn(model(inputs), target)`, applied to what the batch is:

| batch                              | call                                                              |
|------------------------------------|-------------------------------------------------------------------|
| `x`, `(x,)`                        | `loss_fn(model(x), x)`: unlabelled, the loss gets the input       |
| `(x, y)`                           | `loss_fn(model(x), y)`                                            |
| `(x1, ..., xn, y)`                 | `loss_fn(model(x1, ..., xn), y)`, when forward takes n inputs     |
| `(x, y1, ..., yn)`                 | `loss_fn(model(x), y1, ..., yn)`, when forward takes one          |
| `{"a": ..., "b": ..., "labels": ...}` | `loss_fn(model(a=..., b=...), labels)`                         |
| a dataclass                        | as the mapping of its fields                                      |
| another object                     | `loss_fn(model(batch), batch.y)`                                  |
| any of these without a `loss_fn`   | `model(*batch)`, `model(**batch)`: the model returns its own loss |

A loss of torch's own gets a tensor: of an output that is a tuple the first entry, of one that has `logits` those. A
loss function of the user's gets the output as the model returned it.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lrwidget.engine.errors import BatchError, LossError
from lrwidget.engine.loops.batches import describe_batch
from lrwidget.engine.loops.protocols import Batch, LossFn

TARGET_NAMES = ("labels", "label", "targets", "target", "y")
"""Keys and attributes that hold the target, in the order they are looked for."""

OTHER_WAY = "For any other reading pass loss_step=lambda model, batch: ... that returns the loss."

NO_LOSS = """Got no loss_fn, and {model} returned {output}; expected a model that returns its own loss: a single
number, an object with .loss, or a mapping with "loss". Pass loss_fn, or loss_step=lambda model, batch: ..."""

OPAQUE = """Got a batch {batch}, of which the {kind} was passed on as it is, and was not understood: {error}. Expected
tensors, alone or in tuples, lists, mappings and dataclasses, or an object that {model}.forward takes, with its target
in .labels, .target or .y. Pass loss_step=lambda model, batch: ... that takes the batch apart and returns the loss."""


class Reading:
    """Reads batches for one model and loss: `reading(batch) -> loss`, `reading.forward(batch)` for all of it.

    Args:
        model: called with the inputs; its `forward` signature decides how many of a tuple are inputs.
        loss_fn: called with output and target; None when the model returns its own loss.
    """

    def __init__(self, model: Callable[..., Any], loss_fn: LossFn | None) -> None:
        self._model = model
        self._loss_fn = loss_fn
        self._signature = Signature.of(model)
        self._wants_tensor = is_torchs(loss_fn)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The loss of one batch, with its graph."""
        return self.forward(batch)[0]

    def forward(self, batch: Batch) -> tuple[torch.Tensor, Any, Any]:
        """Loss, output and target of one batch; the target is None when the model returns its own loss.

        Raises:
            BatchError: the batch cannot be split into inputs and target by the table above.
            LossError: the loss is no tensor of one element.
        """
        args, kwargs, targets = self._split(batch)
        try:
            return self._called(args, kwargs, targets)
        except (TypeError, AttributeError) as error:
            kind = next((kind for kind in map(_foreign, [*args, *kwargs.values(), *targets]) if _says(error, kind)), "")
            if not kind:
                raise
            shown, model = describe_batch(batch), type(self._model).__name__
            raise BatchError(OPAQUE.format(batch=shown, kind=kind, model=model, error=error)) from error

    def _called(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], targets: tuple[Any, ...]
    ) -> tuple[torch.Tensor, Any, Any]:
        output = self._model(*args, **kwargs)
        if self._loss_fn is None:
            return own_loss(output, self._model), output, None
        prediction = as_tensor(output) if self._wants_tensor and not isinstance(output, torch.Tensor) else output
        loss = self._loss_fn(prediction, *targets)
        return check_loss(loss), prediction, targets[0]

    def explain(self, batch: Batch) -> str:
        """How a batch is read, in words, for the note on an exception of the user's own."""
        args, kwargs, targets = self._split(batch)
        call = ", ".join([describe_batch(a) for a in args] + [f"{k}={describe_batch(v)}" for k, v in kwargs.items()])
        if self._loss_fn is None:
            loss = "took what it returns for its loss, because no loss_fn was given: pass one if the model has none"
        else:
            loss = f"loss_fn({', '.join(['output', *map(describe_batch, targets)])})"
        return f"lrwidget read the batch {describe_batch(batch)} as model({call}) and {loss}. {OTHER_WAY}"

    def _split(self, batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]]:
        """Positional inputs, keyword inputs, targets."""
        if type(batch) in (list, tuple) and len(batch) == 2 and self._loss_fn is not None:
            inputs, target = batch
            if isinstance(inputs, torch.Tensor):  # what nearly every loader yields, at every step
                return (inputs,), {}, (target,)
        if isinstance(batch, torch.Tensor):
            return (batch,), {}, (batch,)
        if isinstance(batch, (tuple, list)):
            return self._split_sequence(tuple(batch))
        if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
            return self._split_mapping({f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}, batch)
        if isinstance(batch, Mapping):
            return self._split_mapping(dict(batch), batch)
        if isinstance(batch, (str, bytes, int, float, type(None))):
            raise BatchError(
                f"Got a batch of type {type(batch).__name__}; expected a tensor, a tuple or list of inputs and target, "
                f"a mapping, a dataclass, or an object with .to(device). {OTHER_WAY}"
            )
        target = next((getattr(batch, name) for name in TARGET_NAMES if hasattr(batch, name)), batch)
        return (batch,), {}, (target,)

    def _split_sequence(self, batch: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]]:
        if not batch:
            raise BatchError(f"Got an empty tuple as batch; expected inputs and a target. {OTHER_WAY}")
        if self._loss_fn is None:
            return (*self._call_with(batch), ())
        if len(batch) == 1:
            return (*self._call_with(batch), batch)
        inputs, targets = batch[:-1], batch[-1:]
        most = self._signature.most_positional
        if most is not None and len(inputs) > most:
            inputs, targets = batch[:most], batch[most:]
        return (*self._call_with(inputs), targets)

    def _call_with(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """One input that is a container is spread over the arguments when forward asks for several."""
        if len(inputs) == 1:
            (only,) = inputs
            if isinstance(only, Mapping) and self._signature.takes(only):
                return (), dict(only)
            if isinstance(only, (tuple, list)) and self._signature.least_positional > 1:
                return tuple(only), {}
        return inputs, {}

    def _split_mapping(
        self, fields: dict[str, Any], batch: Batch
    ) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]]:
        targets: tuple[Any, ...] = ()
        if self._loss_fn is not None:
            name = next((name for name in TARGET_NAMES if name in fields), None)
            if name is None:
                raise BatchError(
                    f"Got a batch {describe_batch(batch)} without a target; expected one of the keys "
                    f"{', '.join(TARGET_NAMES)} beside the inputs. {OTHER_WAY}"
                )
            targets = (fields.pop(name),)
        if self._signature.takes(fields):
            return (), fields, targets
        if len(fields) == 1:
            return tuple(fields.values()), {}, targets
        raise BatchError(
            f"Got a batch with the inputs {', '.join(map(str, fields))}; expected names that "
            f"{type(self._model).__name__}.forward takes: {', '.join(self._signature.names) or 'none'}. {OTHER_WAY}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """What a model's forward accepts.

    Attributes:
        names: parameters that can be given by keyword.
        least_positional: parameters without a default.
        most_positional: how many can be given by position; None for any number.
        any_keyword: whether it takes `**kwargs`.
    """

    names: tuple[str, ...]
    least_positional: int
    most_positional: int | None
    any_keyword: bool

    @classmethod
    def of(cls, model: Callable[..., Any]) -> "Signature":
        """Read it off `forward`, of a wrapper that passes everything on off the module inside it."""
        inner: Any = model
        while True:
            function = inner.forward if isinstance(inner, nn.Module) else inner
            try:
                parameters = list(inspect.signature(function).parameters.values())
            except (TypeError, ValueError):
                return cls((), 1, None, any_keyword=True)
            inside = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
            passes_on = any(p.kind is p.VAR_POSITIONAL for p in parameters)
            if not (passes_on and isinstance(inside, nn.Module)):
                break
            inner = inside
        if isinstance(inner, nn.Sequential):
            return cls((), 1, 1, any_keyword=False)
        by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return cls(
            names=tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)),
            least_positional=sum(p.default is p.empty for p in by_position),
            most_positional=None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else max(1, len(by_position)),
            any_keyword=any(p.kind is p.VAR_KEYWORD for p in parameters),
        )

    def takes(self, fields: Mapping[Any, Any]) -> bool:
        """Whether all the fields can be given by keyword."""
        return all(isinstance(name, str) and (self.any_keyword or name in self.names) for name in fields)


def _foreign(part: Any) -> str:
    """The name of what is neither of torch nor of Python, such as a class of the user's or an array of numpy; or ""."""
    kind = type(part)
    return "" if isinstance(part, torch.Tensor) or kind.__module__ == "builtins" else kind.__name__


def _says(error: Exception, kind: str) -> bool:
    """Whether an error is about an object of that kind: torch and Python name what they cannot take."""
    return bool(kind) and re.search(rf"\b{re.escape(kind)}\b", str(error)) is not None


def as_tensor(output: Any) -> Any:
    """The tensor a loss of torch's own is meant to get, out of whatever a model returned that is none itself."""
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, Mapping):
        return output["logits"] if "logits" in output else next(iter(output.values()))
    if isinstance(output, (tuple, list)) and output:
        return output[0]
    return output


def is_torchs(loss_fn: Any) -> bool:
    """Whether a loss is one of torch's own, or a partial of one: those take tensors only."""
    while isinstance(loss_fn, functools.partial):
        loss_fn = loss_fn.func
    return type(loss_fn).__module__.startswith("torch.nn") or getattr(loss_fn, "__module__", "") in (
        "torch.nn.functional",
        "torch._C._nn",
    )


def own_loss(output: Any, model: Any) -> torch.Tensor:
    """The loss in what a model returned.

    A mapping of nothing but single numbers, without one called "loss", is what detection models return: its sum.
    """
    if isinstance(output, torch.Tensor) and output.numel() == 1:
        return output
    if isinstance(getattr(output, "loss", None), torch.Tensor):
        return check_loss(output.loss)
    if isinstance(output, Mapping):
        if "loss" in output:
            return check_loss(output["loss"])
        parts = list(output.values())
        if parts and all(isinstance(part, torch.Tensor) and part.numel() == 1 for part in parts):
            return torch.stack([part.reshape(()) for part in parts]).sum()
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], torch.Tensor) and output[0].numel() == 1:
        return output[0]
    raise BatchError(NO_LOSS.format(model=type(model).__name__, output=describe_batch(output)))


def check_loss(loss: Any) -> torch.Tensor:
    """The loss, if it is one; the error that says what else it is, if not."""
    if not isinstance(loss, torch.Tensor):
        alone = "alone, without what else there is to log" if isinstance(loss, (tuple, list, Mapping)) else "itself"
        raise LossError(
            f"Got a loss of type {type(loss).__name__} ({loss!r}); expected a tensor with one element that "
            f"backward() can start from. Return the tensor {alone}, without .item() or float()."
        )
    if loss.numel() != 1:
        raise LossError(
            f"Got a loss of shape {tuple(loss.shape)}, {loss.numel()} numbers; expected one. "
            "Take its mean(): a loss made with reduction='none' keeps one number per sample."
        )
    if loss.is_complex():
        raise LossError(f"Got a complex loss ({loss.dtype}); expected a real number. Take its abs() or its real part.")
    return loss
