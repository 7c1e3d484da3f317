"""A user's training loop as one object: what a sweep borrows, a run trains, and the widget is attached to."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lrwidget.engine.borrowing.preserve import check_keepable, preserved
from lrwidget.engine.borrowing.written import written_by
from lrwidget.engine.errors import InputError, InputTypeError, ModelMismatchError
from lrwidget.engine.loops import groups
from lrwidget.engine.loops.batches import Batches, check_loader
from lrwidget.engine.loops.layers import LayerGroup
from lrwidget.engine.loops.protocols import Loader, LossFn, LossStep, Metric, OptimizerLike, TrainStep
from lrwidget.engine.loops.reading import Reading, check_loss
from lrwidget.engine.loops.regroup import Regrouped, regroup, ungroup
from lrwidget.engine.loops.step import Amp, EngineStep, ExplainedReading, UserStep
from lrwidget.engine.plain import is_count, is_number, plain

NOT_AN_OPTIMIZER = """Got a {kind} as optimizer; expected an object with param_groups that each have an "lr", as every
torch.optim optimizer has, or a list of them. For an optimizer of another make pass
set_lrs=lambda lrs: ... (one LR per group) together with train_step=..."""

NOTHING_STEPS = """Got set_lrs without train_step and without an optimizer that has param_groups; expected
train_step=lambda batch: ... that does one step and returns its loss. Nothing else would move the weights."""

SPREAD_MODEL = """Got a {model} whose parameters are on {devices}; expected one device, where the default step can
move each batch. Pass loss_step=lambda model, batch: ... that places the batch itself."""

AVERAGED = """Got an AveragedModel, whose weights are averages of another model's, and an optimizer that trains none of
them; expected the model that is trained, of which this is the average. Pass that one, and the average in
also=[averaged] if a step of yours updates it."""

CALLS = {
    "loss_step": "loss_step(model, batch) -> loss",
    "train_step": "train_step(batch) -> loss",
    "set_lrs": "set_lrs(lrs), which writes one LR per group",
}


class Loop:
    """A model, its optimizers and its data, and how one training step of them goes.

    Args:
        model: the `nn.Module` to train, or any object when `train_step` is given.
        optimizer: what trains it, or a list of several; anything with `param_groups`. None with `set_lrs`.
        train_dl: yields batches: a `DataLoader`, a list, any iterable, with or without a length.
        loss_fn: `loss_fn(output, target)`; None when the model returns its own loss.
        valid_dl: batches to validate on after each epoch of a run.
        loss_step: `loss_step(model, batch) -> loss`, in place of the default reading of a batch.
        train_step: `train_step(batch) -> loss`, in place of the whole step.
        amp: "fp16" or "bf16" autocast.
        scaler: the user's own GradScaler for "fp16"; one is made when there is none.
        accumulate: batches per optimizer step; default 1.
        clip_grad_norm: the largest total gradient norm; default None, no clipping.
        also: further things a step changes, given back after a sweep: weight averages, a discriminator, a scheduler.
        metrics: `{"accuracy": fn(output, target)}`, averaged over the validation set.
        names: one per param group, instead of those found in the model.
        set_lrs: writes one LR per group, for optimizers that have no `param_groups`. What it refers to and can write
            them into (a list, an attribute, a global) is given back after a sweep; see `written.py`.

    Raises:
        InputTypeError: an argument of the wrong kind.
        InputError: arguments that contradict each other.
        ModelMismatchError: the optimizer trains none of the model's parameters.
    """

    def __init__(
        self,
        model: Any,
        optimizer: OptimizerLike | Sequence[OptimizerLike] | None,
        train_dl: Loader,
        loss_fn: LossFn | None = None,
        *,
        valid_dl: Loader | None = None,
        loss_step: LossStep | None = None,
        train_step: TrainStep | None = None,
        amp: Amp | None = None,
        scaler: torch.amp.GradScaler | None = None,
        accumulate: int = 1,
        clip_grad_norm: float | None = None,
        also: Sequence[Any] = (),
        metrics: dict[str, Metric] | None = None,
        names: Sequence[str] | None = None,
        set_lrs: Callable[[tuple[float, ...]], object] | None = None,
    ) -> None:
        self.model = model
        self.optimizers = _as_optimizers(optimizer, set_lrs)
        given = optimizer if isinstance(optimizer, (list, tuple)) else (optimizer,)
        self._unread = tuple(o for o in given if o is not None and not any(o is kept for kept in self.optimizers))
        self.train_dl = train_dl
        self.valid_dl = valid_dl
        self.loss_fn = loss_fn
        self.loss_step = loss_step
        self.train_step = train_step
        self.amp = amp
        self.scaler = scaler
        self.accumulate = plain(accumulate)
        self.clip_grad_norm = plain(clip_grad_norm)
        self.also = tuple(also) if isinstance(also, (list, tuple, Iterator)) else (also,)
        self.metrics = metrics
        self._set_lrs = set_lrs
        self._names = names
        self._regrouped: list[Regrouped] = []
        self._check(names)
        self.groups = self._described(names)

    @property
    def device(self) -> torch.device | None:
        """Where the model is, and so where its batches go; None for an object that is no module."""
        if not isinstance(self.model, nn.Module):
            return None
        tensor = next(self.model.parameters(), None)
        return tensor.device if tensor is not None else torch.device("cpu")

    def split(self, layers: Sequence[LayerGroup]) -> None:
        """Give the optimizers one param group per group of layers, with their state; `unsplit` puts them back.

        Raises:
            ModelMismatchError: no optimizer trains any of the layers.
            InputError: an optimizer that can have one group only.
        """
        self.unsplit()
        own = {id(parameter) for group in layers for parameter in group.parameters}
        holders = [o for o in self.optimizers if any(id(p) in own for g in o.param_groups for p in g["params"])]
        for optimizer in holders or self.optimizers:
            self._regrouped.append(regroup(optimizer, layers))
        self.groups = self._described(None)

    def unsplit(self) -> None:
        """The optimizers' own groups again: the same dicts in the same order."""
        while self._regrouped:
            ungroup(self._regrouped.pop())
        self.groups = self._described(self._names)

    def look_again(self) -> bool:
        """Take in param groups that somebody has added to the optimizers; whether there were any."""
        if not self.optimizers or len(groups.param_groups(self.optimizers)) == len(self.groups):
            return False
        self._names = None
        self.groups = self._described(None)
        return True

    def rename(self, index: int, name: str) -> None:
        """Call a group something else; its entry in the optimizer stays as it is.

        Raises:
            InputError: a name that is empty or another group's.
        """
        others = [group.name for i, group in enumerate(self.groups) if i != index]
        if not isinstance(name, str) or not name.strip() or name.strip() in others:
            raise InputError(f"Got {name!r} as a group's name; expected a text that is no other group's.")
        named = replace(self.groups[index], name=name.strip())
        self.groups = (*self.groups[:index], named, *self.groups[index + 1 :])

    def _described(self, names: Sequence[str] | None) -> tuple[groups.Group, ...]:
        if not self.optimizers:
            return tuple(groups.Group(name=str(n), n_params=0, layers=(), lr=1.0) for n in names or ("all layers",))
        return groups.describe(self.model if isinstance(self.model, nn.Module) else None, self.optimizers, names)

    def lrs(self) -> tuple[float, ...]:
        """Every group's LR as the optimizers have it now."""
        return groups.get_lrs(self.optimizers) if self.optimizers else tuple(group.lr for group in self.groups)

    def set_lrs(self, lrs: Sequence[float]) -> None:
        """Write one LR per group."""
        if self._set_lrs is not None:
            self._set_lrs(tuple(lrs))
            return
        groups.set_lrs(groups.param_groups(self.optimizers), lrs)

    def momenta(self) -> tuple[float, ...]:
        """Every group's momentum as the optimizers have it now; NaN where there is none."""
        return tuple(groups.get_momentum(group) for group in groups.param_groups(self.optimizers))

    def set_momenta(self, momenta: Sequence[float]) -> None:
        """Write one momentum per group; NaN leaves a group's alone."""
        for group, momentum in zip(groups.param_groups(self.optimizers), momenta, strict=False):
            if not math.isnan(momentum):
                groups.set_momentum(group, momentum)

    def batches(self, *, copied: bool = False) -> Batches:
        """The training batches, from the start of a fresh pass.

        Args:
            copied: what a step does to a batch does not reach the loader's own tensors.
        """
        return Batches(self.train_dl, copied=copied)

    def stepper(self, before_step: Callable[[], object] | None = None) -> EngineStep | UserStep:
        """What does one optimizer step on the next batches.

        Args:
            before_step: called when the gradients are there and nothing has moved; not with a `train_step`.
        """
        if self.train_step is not None:
            return UserStep(self.train_step)
        loss_step, model = self.loss_step, self.model
        return EngineStep(
            (lambda batch: check_loss(loss_step(model, batch)))
            if loss_step is not None
            else ExplainedReading(self.reading()),
            self.optimizers,  # type: ignore[arg-type]
            device=self.device,
            amp=self.amp,
            scaler=self.scaler,
            accumulate=self.accumulate,
            clip_grad_norm=self.clip_grad_norm,
            before_step=before_step,
        )

    def reading(self) -> Reading:
        """How the default step reads a batch."""
        return Reading(self.model, self.loss_fn)

    def borrowed(self, *, snapshot: str | torch.device | None = None, verify: bool = False) -> preserved:
        """A context in which the loop may be run at will; everything is as before on leaving."""
        return preserved(
            self.model,
            *self.optimizers,
            *(thing for thing in (self.loss_fn, self.loss_step, self.train_step, self.scaler) if thing is not None),
            loaders=(self.train_dl,),
            whole=(*self.also, *self._unread, *written_by(self._set_lrs)),
            snapshot=snapshot,
            frozen=self.train_step is not None,
            verify=verify,
        )

    def _check(self, names: Sequence[str] | None) -> None:
        if self.train_step is not None and self.loss_step is not None:
            raise InputError("Got both loss_step and train_step; expected one. train_step does all of a step itself.")
        if self._set_lrs is not None and not self.optimizers and self.train_step is None:
            raise InputError(NOTHING_STEPS)
        if self.train_step is not None and (self.amp or self.accumulate != 1 or self.clip_grad_norm is not None):
            raise InputError(
                "Got train_step together with amp, accumulate or clip_grad_norm; expected those inside train_step, "
                "which does all of a step itself. Or pass loss_step and leave the rest to the engine."
            )
        for name, function in (
            ("loss_step", self.loss_step),
            ("train_step", self.train_step),
            ("set_lrs", self._set_lrs),
        ):
            if function is not None and not callable(function):
                raise InputTypeError(f"Got a {type(function).__name__} as {name}; expected a function: {CALLS[name]}.")
        if isinstance(names, str) or any(isinstance(thing, str) for thing in self.also):
            given = f"names={names!r}" if isinstance(names, str) else f"also={self.also!r}"
            raise InputTypeError(
                f"Got {given}; expected a list of texts as names, one per param group, and objects in also, not the "
                "names of any."
            )
        if len({id(optimizer) for optimizer in self.optimizers}) < len(self.optimizers):
            raise InputError("Got one optimizer twice; expected each once. It would do two steps for one.")
        if self.amp not in (None, "fp16", "bf16"):
            raise InputError(f'Got amp={self.amp!r}; expected None, "fp16" or "bf16".')
        if not is_count(self.accumulate, 1):
            raise InputError(f"Got accumulate={self.accumulate!r}; expected a whole number of batches, 1 or more.")
        if self.clip_grad_norm is not None and not (is_number(self.clip_grad_norm) and self.clip_grad_norm > 0):
            raise InputError(f"Got clip_grad_norm={self.clip_grad_norm!r}; expected a number above 0, or None.")
        if self.scaler is not None and not all(hasattr(self.scaler, name) for name in ("scale", "step", "update")):
            raise InputTypeError(
                f"Got a {type(self.scaler).__name__} as scaler; expected a torch.amp.GradScaler, or None: one is made "
                'for amp="fp16".'
            )
        check_loader(self.train_dl)
        if self.valid_dl is not None:
            check_loader(self.valid_dl, "valid_dl")
        if self.train_step is None:
            self._check_module()

    def _check_module(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise InputTypeError(
                f"Got a {type(self.model).__name__} as model; expected a torch.nn.Module. For anything else pass "
                "train_step=lambda batch: ... that does one step and returns its loss."
            )
        for optimizer in self.optimizers:
            if not all(callable(getattr(optimizer, method, None)) for method in ("step", "zero_grad")):
                raise InputTypeError(
                    f"Got a {type(optimizer).__name__} as optimizer; expected step() and zero_grad(), as every "
                    "torch.optim.Optimizer has. For anything else pass train_step=lambda batch: ... that steps it."
                )
        check_keepable(self.model)
        if self.loss_fn is not None and not callable(self.loss_fn):
            raise InputTypeError(
                f"Got a {type(self.loss_fn).__name__} as loss_fn; expected a function of output and target, "
                "such as torch.nn.functional.cross_entropy."
            )
        if isinstance(self.model, torch.optim.swa_utils.AveragedModel):
            own = {id(p) for p in self.model.parameters()}
            if not any(id(p) in own for group in groups.param_groups(self.optimizers) for p in group["params"]):
                raise ModelMismatchError(AVERAGED)
        groups.check_belongs([self.model, self.loss_fn, *self.also], self.optimizers)
        devices = {str(p.device) for p in self.model.parameters()}
        if len(devices) > 1 and self.loss_step is None:
            raise InputError(
                SPREAD_MODEL.format(model=type(self.model).__name__, devices=" and ".join(sorted(devices)))
            )


@contextmanager
def training_mode(model: Any) -> Iterator[None]:
    """The model in training mode, and every submodule back in its own mode on leaving.

    A model that is in training mode already is left as it is: submodules its user has put into eval mode, such as
    frozen BatchNorm, are so on purpose.
    """
    if not isinstance(model, nn.Module) or model.training:
        yield
        return
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _as_optimizers(optimizer: Any, set_lrs: object) -> tuple[OptimizerLike, ...]:
    if optimizer is None and set_lrs is not None:
        return ()
    optimizers = tuple(optimizer) if isinstance(optimizer, (list, tuple)) else (optimizer,)
    for one in optimizers:
        held = getattr(one, "param_groups", None)
        readable = isinstance(held, list) and all(isinstance(group, dict) and "lr" in group for group in held)
        if not (readable and held) and set_lrs is None:
            raise InputTypeError(NOT_AN_OPTIMIZER.format(kind=type(one).__name__))
    if not optimizers:
        raise InputTypeError(NOT_AN_OPTIMIZER.format(kind="list without entries"))
    return optimizers if set_lrs is None else tuple(o for o in optimizers if hasattr(o, "param_groups"))
