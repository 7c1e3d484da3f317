"""Which of the user's objects `%lrfind` means: by name, or by type when it was not told.

A namespace is a dict of names to objects. Nothing is changed in it, and nothing but what the user typed is evaluated.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lrwidget.engine.errors import NamespaceError
from lrwidget.engine.loops.reading import Signature

ROLES = ("model", "optimizer", "train_dl", "loss_fn")
"""What `%lrfind` takes, in the order it takes them."""

LOSS_NAMES = frozenset({"loss_fn", "loss_func", "loss_function", "criterion", "loss"})
"""Names under which people keep a loss function that no type gives away."""

NOT_FOR_TRAINING = re.compile(r"(?:^|_)(val|valid|validation|test|eval|dev)(?:_|$)|^(val|valid|test)", re.IGNORECASE)
"""Names of loaders that are for something else than training."""

VALIDATION_WORD = re.compile(r"validation|valid|val|eval|dev", re.IGNORECASE)

FOR_VALIDATION = re.compile(r"(?:^|_)(val|valid|validation|eval|dev)(?:_|$)|^val(?!ue)", re.IGNORECASE)
"""Names of loaders to validate on; those for a test at the very end are not."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object and how to say which one it is.

    Attributes:
        name: the name or expression it goes by; "" when there is none.
        value: the object; None for a loss that the model returns itself.
    """

    name: str
    value: Any


def evaluate(expression: str, namespace: Mapping[str, Any], role: str) -> Found:
    """The object an argument of `%lrfind` names; any expression will do, such as `learner.model`.

    Raises:
        NamespaceError: a name in it does not exist, or evaluating it fails.
    """
    try:
        return Found(expression, eval(expression, dict(namespace)))
    except NameError as error:
        name = getattr(error, "name", None) or expression
        near = difflib.get_close_matches(name, _public(namespace), n=3, cutoff=0.5)
        fitting = [found.name for found in _candidates(role, namespace)] if role in ROLES else []
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        hint = hint or (f" Of the right kind there are: {', '.join(fitting)}." if fitting else "")
        raise NamespaceError(
            f"Got {expression!r} as {role}, and there is no {name!r} here; expected the name of an object that exists. "
            f"Run the cell that makes it first.{hint}"
        ) from None
    except Exception as error:
        raise NamespaceError(
            f"Got {expression!r} as {role}, and evaluating it failed ({type(error).__name__}: {error}); expected a "
            "name, or an expression without blanks that gives the object."
        ) from None


def find_missing(given: Mapping[str, Found], namespace: Mapping[str, Any]) -> dict[str, Found]:
    """The roles that were not given, each filled with the one object of the namespace that fits.

    The model is the outermost module (parts of another one do not count) that the optimizer trains; the optimizer the
    one that trains the model; the loader the one that is not named after validation or testing.

    Raises:
        NamespaceError: no object or several fit; the message names them.
    """
    found = dict(given)
    for role in ("optimizer", "model", "train_dl", "loss_fn"):
        if role not in found:
            found[role] = _choose(role, found, namespace)
    return {role: found[role] for role in ROLES}


def find_validation(namespace: Mapping[str, Any], train_dl: Found, *, told: bool) -> Found | None:
    """The loader to validate with: the one whose name pairs with the training loader's, `train_dl` and `valid_dl`.

    Args:
        namespace: where to look.
        train_dl: the training loader.
        told: whether the user named it. Where nothing was named the only loader that is named after validation will
            do; beside a loader that was named, one without a like name may belong to another model.
    """
    others = [
        found
        for found in _named(namespace, lambda value: isinstance(value, DataLoader) and value is not train_dl.value)
        if FOR_VALIDATION.search(found.name)
    ]
    like = train_dl.name.lower()
    pairs = [f for f in others if like in {VALIDATION_WORD.sub(w, f.name).lower().strip("_") for w in ("train", "")}]
    fitting = pairs or ([] if told else others)
    return fitting[0] if len(fitting) == 1 else None


def _choose(role: str, found: Mapping[str, Found], namespace: Mapping[str, Any]) -> Found:
    if role == "loss_fn" and "labels" in Signature.of(found["model"].value).names:
        return Found("", None)  # a model that takes the labels computes its own loss
    candidates = _candidates(role, namespace)
    if len(candidates) > 1:
        candidates = _NARROWED[role](candidates, found, namespace) or candidates
    if len(candidates) == 1:
        return candidates[0]
    if not candidates and role == "loss_fn":
        return Found("", None)
    if not candidates:
        raise NamespaceError(
            f"Got no {_KIND[role]} in the notebook; expected one. Run the cell that makes it, "
            "or name all four: %lrfind model optimizer train_dl loss_fn."
        )
    names = ", ".join(candidate.name for candidate in candidates)
    raise NamespaceError(
        f"Got {len(candidates)} objects that could be the {_KIND[role]}: {names}; expected to know which. "
        "Name all four: %lrfind model optimizer train_dl loss_fn."
    )


_KIND = {
    "model": "model (a torch.nn.Module)",
    "optimizer": "optimizer (a torch.optim.Optimizer)",
    "train_dl": "training loader (a DataLoader)",
    "loss_fn": "loss (a torch.nn loss, or a function named loss_fn or criterion)",
}


def _candidates(role: str, namespace: Mapping[str, Any]) -> list[Found]:
    if role == "model":
        modules = _named(namespace, lambda value: isinstance(value, nn.Module) and not _is_loss(value))
        inner = {id(part) for found in modules for part in found.value.modules() if part is not found.value}
        return [found for found in modules if id(found.value) not in inner]
    if role == "optimizer":
        return _named(namespace, lambda value: isinstance(value, Optimizer))
    if role == "train_dl":
        return _named(namespace, lambda value: isinstance(value, DataLoader))
    typed = _named(namespace, _is_loss)
    return typed or [f for f in _named(namespace, inspect.isroutine) if f.name in LOSS_NAMES]


def _is_loss(value: Any) -> bool:
    """Whether an object is a loss of torch's by its type: a loss module, or a loss function imported by its name."""
    if isinstance(value, nn.Module):
        return type(value).__module__ == "torch.nn.modules.loss"
    return (
        inspect.isroutine(value)
        and getattr(value, "__module__", "") == "torch.nn.functional"
        and ("loss" in value.__name__ or "entropy" in value.__name__)
    )


def _named(namespace: Mapping[str, Any], fits: Callable[[Any], bool]) -> list[Found]:
    """The objects that fit, each once under the first name it has."""
    found: dict[int, Found] = {}
    for name in _public(namespace):
        value = namespace[name]
        if not isinstance(value, type) and fits(value):
            found.setdefault(id(value), Found(name, value))
    return list(found.values())


def _public(namespace: Mapping[str, Any]) -> list[str]:
    return [name for name in namespace if not name.startswith("_") and name not in ("In", "Out", "exit", "quit")]


def _narrow_optimizers(
    candidates: Sequence[Found], found: Mapping[str, Found], namespace: Mapping[str, Any]
) -> list[Found]:
    if "model" not in found:
        return []
    return [candidate for candidate in candidates if _trains(candidate.value, found["model"].value)]


def _narrow_models(
    candidates: Sequence[Found], found: Mapping[str, Found], namespace: Mapping[str, Any]
) -> list[Found]:
    return [candidate for candidate in candidates if _trains(found["optimizer"].value, candidate.value)]


def _narrow_loaders(
    candidates: Sequence[Found], found: Mapping[str, Found], namespace: Mapping[str, Any]
) -> list[Found]:
    training = [candidate for candidate in candidates if not NOT_FOR_TRAINING.search(candidate.name)]
    return [candidate for candidate in training if "train" in candidate.name.lower()] or training


def _narrow_losses(
    candidates: Sequence[Found], found: Mapping[str, Found], namespace: Mapping[str, Any]
) -> list[Found]:
    return [candidate for candidate in candidates if candidate.name in LOSS_NAMES]


_NARROWED = {
    "model": _narrow_models,
    "optimizer": _narrow_optimizers,
    "train_dl": _narrow_loaders,
    "loss_fn": _narrow_losses,
}


def _trains(optimizer: Any, model: Any) -> bool:
    held = {id(p) for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}
    return isinstance(model, nn.Module) and any(id(p) in held for p in model.parameters())
