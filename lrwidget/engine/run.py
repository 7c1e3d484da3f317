"""A run: a training of a loop under a plan, step by step, and everything that is kept of it on the way."""

import copy
import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn

from lrwidget.engine import groups
from lrwidget.engine.batches import Batches, RanDryError, length
from lrwidget.engine.buffers import MovingBuffers
from lrwidget.engine.checkpoint import CheckpointFolder
from lrwidget.engine.claims import claimed
from lrwidget.engine.curve import StopReason
from lrwidget.engine.errors import InputError, InputTypeError, LossError, RecordError
from lrwidget.engine.history import EpochPoint, History, smoother
from lrwidget.engine.interrupts import expect_workers
from lrwidget.engine.loop import Loop, training_mode
from lrwidget.engine.plain import is_count, plain
from lrwidget.engine.plan import Plan
from lrwidget.engine.position import Position
from lrwidget.engine.preserve import check_keepable
from lrwidget.engine.rows import Rows
from lrwidget.engine.step import StepResult
from lrwidget.engine.sweep import MAX_SKIPPED, OVERFLOW
from lrwidget.engine.trained import Trained
from lrwidget.engine.validate import check_can_validate, validate
from lrwidget.engine.words import format_lr

if TYPE_CHECKING:
    import os

NOT_FINITE = "The loss became {loss} at step {step} of {total}, at lr {lr}. Pick a lower max_lr."
BROKEN = """The weights were not finite any more after {step} of {total} steps, at lr {lr}, though the losses were. \
Pick a lower max_lr."""
UNHARMED = " The weights are those {when} that step."
HARMED = " The weights are not finite either: the steps before were too large, or a gradient was not finite."
GOOD_WEIGHTS = " restore_best() returns to the weights of {where}."
RESTORED = " The model has the weights of {where} again."
IMPATIENT = """Stopped after epoch {epoch}, {step} of {total} steps: the validation loss has not been below the \
{best:.4g} of epoch {best_epoch} for {patience} epochs."""

OTHER_MOMENTA = """Got an optimizer whose groups have a momentum of {got}; the run was begun with {expected}. Make the
optimizer as it was for that run."""

CHECKPOINT_EVERY_S = 600.0
"""Seconds between two checkpoints inside an epoch, unless steps are asked for: what a kill may cost at most."""


class RunPoint(NamedTuple):
    """One optimizer step of a run.

    Attributes:
        step: 0 ... total_steps − 1.
        lrs: (G,) LR of every group at that step; NaN for one that was added to the optimizer later.
        momenta: (G,) momentum of every group; NaN where there is none or the plan leaves it alone, 0 where it is
            off and so stays off.
        loss: the training loss before that step.
    """

    step: int
    lrs: tuple[float, ...]
    momenta: tuple[float, ...]
    loss: float


class Run:
    """One training of a loop under a plan.

    The LRs and momenta that the optimizer had before are put back at the end: they are the plan's for its run only,
    and an annealed LR left behind would silently be the start of whatever comes next.

    A param group that the user's own code adds on the way (`optimizer.add_param_group` in `on_epoch`, say) trains from
    the next step on. Its LR moves as the plan says for the others, up to the one it was given: see `Plan.with_group`.

    Args:
        loop: what is trained.
        plan: what with; it must have as many groups as the loop.
        keep_best: keep a copy of the weights for `restore_best()`: of the epoch with the lowest validation loss;
            without validation, of the last whole epoch. Default False, because it costs that memory.
        patience: end the run when this many epochs in a row have not brought a lower validation loss; default None.
        checkpoint_dir: a folder for checkpoints, from which `Run.resumed` goes on after a kill; default None: nothing
            is written.
        checkpoint_every: optimizer steps between two checkpoints, besides those at the end of every epoch; default
            None: ten minutes.
    """

    def __init__(
        self,
        loop: Loop,
        plan: Plan,
        *,
        keep_best: bool = False,
        patience: int | None = None,
        checkpoint_dir: "str | os.PathLike[str] | None" = None,
        checkpoint_every: int | None = None,
    ) -> None:
        if not isinstance(plan, Plan):
            raise InputTypeError(
                f"Got a {type(plan).__name__} as plan; expected a Plan. Make one with lrwidget.one_cycle(max_lr, "
                "total_steps, groups=optimizer)."
            )
        there = groups.describe(None, loop.optimizers) if loop.optimizers else loop.groups
        if plan.n_groups != len(there):
            raise InputError(
                f"Got a plan for {plan.n_groups} groups ({', '.join(plan.names)}) and an optimizer with "
                f"{len(there)} ({', '.join(g.name for g in there)}); expected as many. "
                "Make the plan with groups=optimizer."
            )
        for part in (loop.loss_fn, loop.loss_step, loop.train_step, *loop.also):
            check_keepable(part)
        check_can_validate(loop)
        check_flag("keep_best", keep_best)
        patience, checkpoint_every = plain(patience), plain(checkpoint_every)
        for name, value in (("patience", patience), ("checkpoint_every", checkpoint_every)):
            if value is not None and not is_count(value, 1):
                raise InputError(f"Got {name}={value!r}; expected a whole number, 1 or more, or None.")
        if patience is not None and loop.valid_dl is None:
            raise InputError("Got patience without valid_dl; expected batches to tell whether an epoch was better.")
        self.plan = plan
        self._loop = _with_scaler(loop)
        self._keep_best = keep_best
        self._patience = patience
        self._every = checkpoint_every
        self._folder = CheckpointFolder(checkpoint_dir) if checkpoint_dir is not None else None
        self._found: Mapping[str, Any] | None = None
        self._trained: Trained | None = None
        self._position: Position | None = None
        self._own: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
        self._sizes = [len(optimizer.param_groups) for optimizer in loop.optimizers]
        self._since = (0,) * plan.n_groups
        self._layers = tuple(group.layers for group in loop.groups)
        self._planned: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
        self._written_at = 0.0
        self._written: tuple[int, int] | None = None
        self._losses = Rows(2)
        self._tracker = smoother(plan.total_steps)
        self._lrs_SG = self._momenta_SG = np.empty((0, plan.n_groups))
        self._epochs: list[EpochPoint] = []
        self._best: list[torch.Tensor] = []
        self._best_epoch: EpochPoint | None = None
        self._reason: StopReason | None = None
        self._note = ""
        self._weights_note = ""
        self._masks: set[int] = set()
        self._seconds = 0.0

    @classmethod
    def resumed(cls, loop: Loop, folder: CheckpointFolder, found: Mapping[str, Any]) -> Self:
        """The run that `found`, a checkpoint read from `folder`, is of; its `run()` goes on from there."""
        try:
            run = cls(loop, Plan.from_dict(found["plan"]), **found["options"])
        except KeyError as error:
            raise RecordError(f"Got a checkpoint without {error}; expected one that a run wrote.") from error
        run._folder, run._found = folder, found
        return run

    @property
    def keeps_best(self) -> bool:
        """Whether there is, or will be, something for `restore_best()`."""
        return self._keep_best

    def run(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        on_point: Callable[[RunPoint], object] = lambda point: None,
        on_epoch: Callable[[EpochPoint], object] = lambda epoch: None,
    ) -> History:
        """Train to the end of the plan, or until `should_stop`, which is asked before every step.

        Raises:
            BusyError: another sweep or run has the model.
            Exception: whatever the user's own code raised; `history()` still returns what was done before.
        """
        self._reason = None
        started = time.perf_counter() - self._seconds
        loop = self._loop
        self._position = position = Position(loop.train_dl, self._users_own())

        def took(point: RunPoint) -> None:
            self._keep_loss(point.loss)
            self._seconds = time.perf_counter() - started
            on_point(point)
            self._checkpoint_if_due()

        expect_workers([loop.train_dl, loop.valid_dl])
        try:
            with (
                claimed.shield(Run._put_back, inspect.unwrap(groups.frozen), inspect.unwrap(training_mode)),
                claimed((loop.model, *loop.optimizers), "run"),
            ):
                self._own = loop.lrs(), loop.momenta()
                try:
                    self._begin(position)
                    with training_mode(loop.model):
                        self._train(position, should_stop, took, on_epoch)
                        self._close(on_epoch)
                finally:
                    self._put_back(position.batches)
        except KeyboardInterrupt:
            self._reason = StopReason.INTERRUPTED
            raise
        finally:
            self._seconds = time.perf_counter() - started
            total = self.plan.total_steps
            self._reason = self._reason or StopReason.FAILED
            self._note = self._note or _ENDINGS[self._reason].format(step=len(self._losses), total=total)
        return self.history()

    def history(self) -> History:
        """What has been done so far."""
        losses, smoothed = self._losses.columns
        return History.seen(
            smoothed,
            losses=losses,
            lrs=self._lrs_SG[: len(losses)],
            momentum=self._momenta_SG[: len(losses)],
            epochs=tuple(self._epochs),
            names=self.plan.names,
            total_steps=self.plan.total_steps,
            stop_reason=self._reason,
            seconds=self._seconds,
            note=self._note + self._weights_note,
            plan=self.plan,
            layers=self._layers,
        )

    def restore_best(self) -> EpochPoint | None:
        """Put the weights and buffers that were kept into the model: of the epoch with the lowest validation loss.

        When no epoch was validated: of the last one whose losses were finite; and when the loss or the weights stopped
        being finite before the end of the first, those that the run began with, told as epoch 0. None when nothing was
        kept; weights that are not finite never are.
        """
        epoch = self._best_epoch
        if not self._best or epoch is None or (epoch.epoch == 0 and self._reason is not StopReason.NOT_FINITE):
            return None
        with torch.no_grad():
            for tensor, kept in zip(self._weights(), self._best, strict=True):
                tensor.copy_(kept)
        if self._reason is StopReason.NOT_FINITE or epoch.epoch != self._epochs[-1].epoch:
            self._weights_note = RESTORED.format(where=where(epoch))
        return epoch

    def _keep_loss(self, loss: float) -> None:
        self._losses.append(loss, self._tracker.update(loss))

    # The steps -----------------------------------------------------------------------------------------------------

    def _train(
        self,
        position: Position,
        should_stop: Callable[[], bool],
        took: Callable[[RunPoint], object],
        on_epoch: Callable[[EpochPoint], object],
    ) -> None:
        # No generator: a StopIteration of the user's own code would come out of one as another error.
        loop, batches = self._loop, position.batches
        model = loop.model if isinstance(loop.model, nn.Module) else None
        take_step, buffers = loop.stepper(), MovingBuffers(model)
        self._schedule()
        step = len(self._losses)
        if self._out_of_patience():
            self._reason = StopReason.STOPPED
            return
        try:
            for number in range(len(self.plan.cycles)):
                self._take_in_added()
                first, cycle = self.plan.starts()[number]
                last = first + cycle.steps
                if step >= last:
                    continue
                still = cycle.frozen or (False,) * self.plan.n_groups
                with groups.frozen(model, loop.optimizers, still, cycle.frozen_norms):
                    while step < last:
                        if should_stop():
                            self._reason = StopReason.STOPPED
                            return
                        if batches.pass_ended():
                            self._end_epoch(on_epoch)
                            if self._end_if_broken():
                                return
                            batches.start_over()
                            if self._out_of_patience():
                                self._reason = StopReason.STOPPED
                                return
                            if not hasattr(loop.train_dl, "__next__"):  # a one-shot loader has no pass to come
                                self._checkpoint()
                        self._take_in_added()
                        lrs, momenta = self._planned[step]
                        loop.set_lrs(lrs)
                        loop.set_momenta(momenta)
                        loss = self._advance(take_step, batches, buffers, should_stop)
                        if loss is None:
                            self._reason = StopReason.STOPPED
                            return
                        if not math.isfinite(loss):
                            self._end_not_finite(loss, step, max(lrs))
                            return
                        took(RunPoint(step, lrs, momenta, loss))
                        step += 1
            self._reason = StopReason.FINISHED
        except RanDryError:
            self._reason = StopReason.RAN_DRY

    def _schedule(self) -> None:
        """Work out LRs and momenta of every step: the plan's, but for momenta that an optimizer has not, or at 0."""
        step_S = np.arange(self.plan.total_steps)
        lrs_SG, momenta_SG = self.plan.lr_at(step_S), self.plan.momentum_at(step_S)
        own_G = np.array([*self._own[1], *[math.nan] * self.plan.n_groups])[: self.plan.n_groups]
        momenta_SG = np.where((own_G == 0) & np.isfinite(momenta_SG), 0.0, momenta_SG)
        momenta_SG = np.where(np.isnan(own_G), math.nan, momenta_SG)
        not_yet_SG = step_S[:, None] < np.array(self._since)
        lrs_SG[not_yet_SG] = momenta_SG[not_yet_SG] = math.nan
        self._lrs_SG, self._momenta_SG = lrs_SG, momenta_SG
        self._planned = list(zip(map(tuple, lrs_SG.tolist()), map(tuple, momenta_SG.tolist()), strict=True))

    def _take_in_added(self) -> None:
        """Let the param groups that were added to the optimizers since the last look join the plan."""
        optimizers = self._loop.optimizers
        fresh = groups.added(optimizers, self._sizes)
        if not fresh:
            return
        model = self._loop.model if isinstance(self._loop.model, nn.Module) else None
        described, momenta = groups.describe(model, optimizers), self._loop.momenta()
        plan, since, layers, (own_lrs, own_momenta) = self.plan, self._since, self._layers, self._own
        for at in fresh:
            group = described[at]
            plan = plan.with_group(group.name, group.lr, at)
            since = (*since[:at], len(self._losses), *since[at:])
            layers = (*layers[:at], group.layers, *layers[at:])
            own_lrs = (*own_lrs[:at], group.lr, *own_lrs[at:])
            own_momenta = (*own_momenta[:at], momenta[at], *own_momenta[at:])
        self.plan, self._since, self._layers, self._own = plan, since, layers, (own_lrs, own_momenta)
        self._sizes = [len(optimizer.param_groups) for optimizer in optimizers]
        self._schedule()

    def _advance(
        self,
        take_step: Callable[[Batches], StepResult],
        batches: Batches,
        buffers: MovingBuffers,
        should_stop: Callable[[], bool],
    ) -> float | None:
        """The loss of the next step that the optimizer really took, or of one that is not finite; None to stop."""
        buffers.remember()
        for attempt in range(MAX_SKIPPED):
            if attempt and should_stop():
                return None
            loss, advanced = take_step(batches)
            if not math.isfinite(loss):
                buffers.put_back()
            if advanced or not math.isfinite(loss):
                return loss
        raise LossError(OVERFLOW.format(steps=MAX_SKIPPED))

    def _end_not_finite(self, loss: float, step: int, lr: float) -> None:
        self._reason = StopReason.NOT_FINITE
        self._note = NOT_FINITE.format(loss=loss, step=step, total=self.plan.total_steps, lr=format_lr(lr))
        when = "before" if self._loop.train_step is None else "after"
        self._weights_note = UNHARMED.format(when=when) if self._unharmed() else HARMED

    def _end_if_broken(self) -> bool:
        """Whether the run ends here because its last step, of a finite loss, has left weights that are not finite."""
        if self._unharmed():
            return False
        self._reason = StopReason.NOT_FINITE
        step = len(self._losses)
        lr = max(lr for lr in self._planned[max(step, 1) - 1][0] if not math.isnan(lr))
        self._note = BROKEN.format(step=step, total=self.plan.total_steps, lr=format_lr(lr))
        return True

    def _unharmed(self) -> bool:
        """Whether all weights that train are finite, but for infinities that were there before, as in a mask."""
        for p in self._training():
            if bool(torch.isnan(p).any() if id(p) in self._masks else not torch.isfinite(p).all()):
                return False
        return True

    def _training(self) -> list[torch.Tensor]:
        model = self._loop.model
        held = model.parameters() if isinstance(model, nn.Module) else ()
        return [p for p in held if p.requires_grad and not isinstance(p, nn.parameter.UninitializedParameter)]

    # Epochs --------------------------------------------------------------------------------------------------------

    def _end_epoch(self, on_epoch: Callable[[EpochPoint], object]) -> None:
        done = self._epochs[-1].step if self._epochs else 0
        valid_loss: float | None = None
        metrics: dict[str, float] = {}
        if self._loop.valid_dl is not None:
            valid_loss, metrics = validate(self._loop, self._loop.valid_dl)
        epoch = EpochPoint(
            epoch=len(self._epochs) + 1,
            step=len(self._losses),
            train_loss=float(self._losses.columns[0][done:].mean() if len(self._losses) > done else math.nan),
            valid_loss=valid_loss,
            metrics=metrics,
        )
        self._epochs.append(epoch)
        self._remember(epoch)
        on_epoch(epoch)

    def _remember(self, epoch: EpochPoint) -> None:
        """Keep a copy of the weights when they are the best so far, and finite."""
        if not self._keep_best or not isinstance(self._loop.model, nn.Module) or not self._is_best(epoch):
            return
        if not self._unharmed():
            return
        self._best_epoch = epoch
        # Looked up at every turn: a forward pass may have put another tensor in a buffer's place.
        tensors = self._weights()
        if [t.shape for t in tensors] == [t.shape for t in self._best]:
            with torch.no_grad():
                for tensor, kept in zip(tensors, self._best, strict=True):
                    kept.copy_(tensor)
        else:
            self._best = [tensor.detach().clone() for tensor in tensors]

    def _is_best(self, epoch: EpochPoint) -> bool:
        former = None if self._best_epoch is None else self._best_epoch.valid_loss
        if epoch.valid_loss is None:
            return self._reason is not StopReason.NOT_FINITE
        return epoch.valid_loss < (math.inf if former is None else former)

    def _out_of_patience(self) -> bool:
        best = self.history().best_epoch
        last = self._epochs[-1].epoch if self._epochs else 0
        since = last - (0 if best is None else best.epoch)
        if self._patience is None or since < self._patience:
            return False
        self._note = IMPATIENT.format(
            epoch=last,
            step=len(self._losses),
            total=self.plan.total_steps,
            best=math.inf if best is None or best.valid_loss is None else best.valid_loss,
            best_epoch=0 if best is None else best.epoch,
            patience=self._patience,
        )
        return True

    def _weights(self) -> list[torch.Tensor]:
        return [*self._loop.model.parameters(), *self._loop.model.buffers()]

    # Beginning and end ---------------------------------------------------------------------------------------------

    def _begin(self, position: Position) -> None:
        """Before the first step: of a new run, or of one that goes on where a checkpoint says."""
        if self._folder is not None:
            self._trained = Trained(self._loop, self._loop.scaler)
        if self._found is not None:
            self._go_on(position, self._found)
        self._masks = {id(p) for p in self._training() if bool(torch.isinf(p).any())}
        if self._found is not None:
            return
        self._remember(EpochPoint(epoch=0, step=0, train_loss=math.nan, valid_loss=None, metrics={}))
        if self._folder is not None:
            self._folder.begin()
            self._checkpoint()

    def _close(self, on_epoch: Callable[[EpochPoint], object]) -> None:
        """After the last step: the end of the epoch that it was in, and a checkpoint unless the loss was no number.

        The last step is followed by no loss that would tell what it has done to the weights, so they are looked at.
        """
        if self._reason is not StopReason.NOT_FINITE:
            self._end_if_broken()
        if self._reason is StopReason.STOPPED:
            self._checkpoint()  # first, because the run may go on in the middle of its epoch
        if len(self._losses) and (not self._epochs or self._epochs[-1].step < len(self._losses)):
            self._end_epoch(on_epoch)
        if self._reason is StopReason.FINISHED:
            self._checkpoint()
        if self._reason is StopReason.NOT_FINITE and self._best_epoch is not None:
            self._weights_note += GOOD_WEIGHTS.format(where=where(self._best_epoch))

    def _put_back(self, batches: Batches) -> None:
        """End what was begun: the loader's workers, and the optimizer's own LRs and momenta again."""
        batches.close()
        lrs, momenta = self._own
        # A group that was added after the last step has its own LR still.
        fresh = groups.added(self._loop.optimizers, self._sizes)
        for at in fresh:
            lrs = (*lrs[:at], self._loop.lrs()[at], *lrs[at:])
            momenta = (*momenta[:at], math.nan, *momenta[at:])
        if self._loop.optimizers:  # a set_lrs can write LRs, but tells nobody which there were
            self._loop.set_lrs(lrs)
        self._loop.set_momenta(momenta)

    def _users_own(self) -> list[Any]:
        """Where random numbers may come from, besides the training loader."""
        loop = self._loop
        return [loop.model, loop.loss_fn, loop.loss_step, loop.train_step, loop.also]

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        if self._folder is None:
            return
        if self._every is not None:
            due = len(self._losses) % self._every == 0
        else:
            due = time.monotonic() - self._written_at > CHECKPOINT_EVERY_S
        if due:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Write where the run stands, between two steps, if it has moved since the last time.

        Of weights that are not finite none is written: it would take the place of a good one.
        """
        stands = len(self._losses), len(self._epochs)
        if self._folder is None or self._trained is None or self._position is None or stands == self._written:
            return
        if not self._unharmed():
            return
        self._take_in_added()
        self._folder.write(
            {
                "plan": self.plan.to_dict(),
                "options": {
                    "keep_best": self._keep_best,
                    "patience": self._patience,
                    "checkpoint_every": self._every,
                },
                "loop": numbers_of(self._loop),
                "given": given_to(self._loop),
                "losses": self._losses.columns[0].copy(),
                "epochs": [asdict(epoch) for epoch in self._epochs],
                "seconds": self._seconds,
                "own": self._own,
                "since": self._since,
                "best": self._best,
                "best_epoch": None if self._best_epoch is None else asdict(self._best_epoch),
                "position": self._position.state(),
                "trained": self._trained.state(),
            }
        )
        self._written, self._written_at = stands, time.monotonic()

    def _go_on(self, position: Position, found: Mapping[str, Any]) -> None:
        """Put everything where the checkpoint says it was."""
        assert self._trained is not None
        try:
            self._trained.check(found["trained"])
            self._check_momenta(found["own"][1])
            if self._folder is not None and len(found["losses"]) < self.plan.total_steps:
                self._folder.check_writable()
            self._trained.put_back(found["trained"])
            self._own, self._since = found["own"], found["since"]
            self._seconds = found["seconds"]
            self._epochs = [EpochPoint(**epoch) for epoch in found["epochs"]]
            self._best_epoch = None if found["best_epoch"] is None else EpochPoint(**found["best_epoch"])
            device = self._loop.device
            self._best = [tensor.to(device) for tensor in found["best"]]
            for loss in found["losses"].tolist():
                self._keep_loss(loss)
            self._schedule()
            position.go_to(found["position"], at_end=len(self._losses) == self.plan.total_steps)
            self._written, self._written_at = (len(self._losses), len(self._epochs)), time.monotonic()
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"Got a checkpoint that cannot be gone on from: {error!r}.") from error

    def _check_momenta(self, expected: Sequence[float]) -> None:
        """Raise when the optimizer was made with another momentum, which the one of the checkpoint would overrule."""
        got = self._own[1]
        if not np.array_equal(got, expected, equal_nan=True):
            told = (", ".join("none" if math.isnan(m) else f"{m:g}" for m in momenta) for momenta in (got, expected))
            raise InputError(OTHER_MOMENTA.format(got=next(told), expected=next(told)))


def check_flag(name: str, value: object) -> None:
    """Raise for what is not True or False: a text would count as True whatever it says."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"Got {name}={value!r}; expected True or False.")


def numbers_of(loop: Loop) -> dict[str, Any]:
    """What of a loop is a number or a name, so that a checkpoint can tell it and its user need not again."""
    return {"amp": loop.amp, "accumulate": loop.accumulate, "clip_grad_norm": loop.clip_grad_norm}


def given_to(loop: Loop) -> dict[str, Any]:
    """What a loop was made of, as far as can be told, to notice when a run goes on with something else."""
    parts = {name: getattr(loop, name) for name in ("valid_dl", "loss_fn", "loss_step", "train_step")}
    return {
        **{name: "given" if part is not None else "none" for name, part in parts.items()},
        "batches in train_dl": length(loop.train_dl),
        "batch size of train_dl": _batch_size(loop.train_dl),
        "loss function": _kind_of(loop.loss_fn),
    }


def _batch_size(loader: object) -> int | None:
    size = plain(getattr(loader, "batch_size", None))
    return size if is_count(size, 1) else None


def _kind_of(loss_fn: Any) -> str:
    """What tells one loss function from another: its class, or its own name."""
    if isinstance(loss_fn, nn.Module):
        return type(getattr(loss_fn, "_orig_mod", loss_fn)).__name__
    return str(getattr(loss_fn, "__name__", type(loss_fn).__name__))


def where(epoch: EpochPoint) -> str:
    """Of when the weights are that were kept, in words."""
    return f"epoch {epoch.epoch}" if epoch.epoch else "before the run"


def _with_scaler(loop: Loop) -> Loop:
    """The loop with the scaler that its steps will use: one that is made anew for them could not be kept."""
    if loop.amp != "fp16" or loop.scaler is not None:
        return loop
    loop = copy.copy(loop)
    loop.scaler = torch.amp.GradScaler(loop.device.type if loop.device is not None else "cpu")
    return loop


_ENDINGS = {
    StopReason.FINISHED: "Trained all {total} steps.",
    StopReason.STOPPED: "Stopped after {step} of {total} steps.",
    StopReason.INTERRUPTED: "Interrupted after {step} of {total} steps.",
    StopReason.RAN_DRY: "The loader had no more batches after {step} of {total} steps and cannot start over.",
    StopReason.FAILED: "An exception ended the run after {step} of {total} steps.",
}
