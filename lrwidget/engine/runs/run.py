"""A run: a training of a loop under a plan, step by step, and everything that is kept of it on the way."""

import copy
import inspect
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import nn

from lrwidget.engine.borrowing.claims import claimed
from lrwidget.engine.borrowing.interrupts import expect_workers
from lrwidget.engine.borrowing.preserve import check_keepable
from lrwidget.engine.errors import InputTypeError, RecordError
from lrwidget.engine.loops import groups
from lrwidget.engine.loops.batches import Batches, RanDryError
from lrwidget.engine.loops.fingerprint import given_to, numbers_of
from lrwidget.engine.loops.loop import Loop, training_mode
from lrwidget.engine.plain import plain
from lrwidget.engine.plans.group_schedule import GroupSchedule
from lrwidget.engine.plans.plan import Plan
from lrwidget.engine.runs.best import BestWeights
from lrwidget.engine.runs.checkpoint import CheckpointFolder
from lrwidget.engine.runs.checkpointing import Checkpointing
from lrwidget.engine.runs.ending import Ending
from lrwidget.engine.runs.finite import FiniteWeights
from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.runs.next_step import NextStep
from lrwidget.engine.runs.position import Position
from lrwidget.engine.runs.run_log import RunLog
from lrwidget.engine.runs.run_options import check_counts, check_flag, check_validated, check_written
from lrwidget.engine.runs.trained import Trained
from lrwidget.engine.runs.validate import check_can_validate, validate
from lrwidget.engine.sweeps.curve import StopReason

if TYPE_CHECKING:
    import os


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
        self._schedule = GroupSchedule(loop, plan)
        for part in (loop.loss_fn, loop.loss_step, loop.train_step, *loop.also):
            check_keepable(part)
        check_can_validate(loop)
        check_flag("keep_best", keep_best)
        patience, checkpoint_every = plain(patience), plain(checkpoint_every)
        check_counts({"patience": patience, "checkpoint_every": checkpoint_every})
        check_validated(patience, loop.metrics, loop.valid_dl)
        check_written(checkpoint_every, checkpoint_dir)
        self._loop = _with_scaler(loop)
        self._model = loop.model if isinstance(loop.model, nn.Module) else None
        self._keep_best = keep_best
        self._patience = patience
        folder = CheckpointFolder(checkpoint_dir) if checkpoint_dir is not None else None
        self._checkpoints = Checkpointing(folder, checkpoint_every)
        self._found: Mapping[str, Any] | None = None
        self._trained: Trained | None = None
        self._position: Position | None = None
        self._finite = FiniteWeights(loop.model)
        self._best = BestWeights(loop.model)
        self._log = RunLog(plan.total_steps)
        self._ending = Ending(plan.total_steps)

    @classmethod
    def resumed(cls, loop: Loop, folder: CheckpointFolder, found: Mapping[str, Any]) -> Self:
        """The run that `found`, a checkpoint read from `folder`, is of; its `run()` goes on from there."""
        try:
            run = cls(loop, Plan.from_dict(found["plan"]), checkpoint_dir=folder.path, **found["options"])
        except KeyError as error:
            raise RecordError(f"Got a checkpoint without {error}; expected one that a run wrote.") from error
        run._checkpoints.folder, run._found = folder, found  # this one knows which files it has read
        return run

    @property
    def plan(self) -> Plan:
        """What it trains with; with the groups that were added on the way."""
        return self._schedule.plan

    @property
    def keeps_best(self) -> bool:
        """Whether there is, or will be, something for `restore_best()`."""
        return self._keep_best

    def run(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        on_point: Callable[[RunPoint], object] = lambda point: None,
        on_epoch: Callable[[EpochPoint], object] = lambda epoch: None,
        on_validation: Callable[[], object] = lambda: None,
    ) -> History:
        """Train to the end of the plan, or until `should_stop`, which is asked before every step.

        Args:
            should_stop: asked before every step.
            on_point: called after every step.
            on_epoch: called after every epoch, when it has been validated.
            on_validation: called before every validation, in which no step is taken.

        Raises:
            BusyError: another sweep or run has the model.
            Exception: whatever the user's own code raised; `history()` still returns what was done before.
        """
        self._ending.reason = None
        self._on_validation = on_validation
        started = time.perf_counter() - self._log.seconds
        loop = self._loop
        users_own = [loop.model, loop.loss_fn, loop.loss_step, loop.train_step, loop.also]
        self._position = position = Position(loop.train_dl, users_own)

        def took(point: RunPoint) -> None:
            self._log.took(point.loss)
            self._log.seconds = time.perf_counter() - started
            on_point(point)
            if self._checkpoints.due(self._log.steps):
                self._checkpoint()

        expect_workers([loop.train_dl, loop.valid_dl])
        try:
            with (
                claimed.shield(Run._put_back, inspect.unwrap(groups.frozen), inspect.unwrap(training_mode)),
                claimed((loop.model, *loop.optimizers), "run"),
            ):
                self._schedule.begin()
                try:
                    self._begin(position)
                    with training_mode(loop.model):
                        self._train(position.batches, should_stop, took, on_epoch)
                        self._close(on_epoch)
                    self._schedule.check_none_removed()
                finally:
                    self._put_back(position.batches)
        except KeyboardInterrupt:
            self._ending.reason = StopReason.INTERRUPTED
            raise
        finally:
            self._log.seconds = time.perf_counter() - started
            self._ending.close(self._log.steps)
        return self.history()

    def history(self) -> History:
        """What has been done so far."""
        return self._log.history(self._schedule, self._ending)

    def restore_best(self) -> EpochPoint | None:
        """Put the weights and buffers that were kept into the model: of the epoch with the lowest validation loss.

        When no epoch was validated: of the last one whose losses were finite; and when the loss or the weights stopped
        being finite before the end of the first, those that the run began with, told as epoch 0. None when nothing was
        kept; weights that are not finite never are.
        """
        epoch = self._best.epoch
        if epoch is None or (epoch.epoch == 0 and not self._ending.broke_down):
            return None
        self._best.put_back()
        if self._ending.broke_down or epoch.epoch != self._log.epochs[-1].epoch:
            self._ending.restored(epoch)
        return epoch

    # The steps -----------------------------------------------------------------------------------------------------

    def _train(
        self,
        batches: Batches,
        should_stop: Callable[[], bool],
        took: Callable[[RunPoint], object],
        on_epoch: Callable[[EpochPoint], object],
    ) -> None:
        # No generator: a StopIteration of the user's own code would come out of one as another error.
        loop, ending, schedule = self._loop, self._ending, self._schedule
        take_step, step = NextStep(loop), self._log.steps
        if self._end_if_out_of_patience():
            return
        try:
            for number in range(len(self.plan.cycles)):
                schedule.take_in_added(step)
                first, cycle = self.plan.starts()[number]
                last = first + cycle.steps
                if step >= last:
                    continue
                still = cycle.frozen or (False,) * self.plan.n_groups
                with groups.frozen(self._model, loop.optimizers, still, cycle.frozen_norms):
                    while step < last:
                        if should_stop():
                            ending.reason = StopReason.STOPPED
                            return
                        if batches.pass_ended():
                            self._end_epoch(on_epoch)
                            if self._end_if_broken():
                                return
                            batches.start_over()
                            if self._end_if_out_of_patience():
                                return
                            if not hasattr(loop.train_dl, "__next__"):  # a one-shot loader has no pass to come
                                self._checkpoint()
                        schedule.take_in_added(step)
                        lrs, momenta = schedule.write(step)
                        self._finite.forget()
                        loss = take_step(batches, should_stop)
                        if loss is None:
                            ending.reason = StopReason.STOPPED
                            return
                        if not math.isfinite(loss):
                            self._end_not_finite(loss, step, max(lrs))
                            return
                        took(RunPoint(step, lrs, momenta, loss))
                        step += 1
            ending.reason = StopReason.FINISHED
        except RanDryError:
            ending.reason = StopReason.RAN_DRY

    def _end_not_finite(self, loss: float, step: int, lr: float) -> None:
        when = "before" if self._loop.train_step is None else "after"
        self._ending.loss_not_finite(loss, step, lr, when if self._finite.unharmed() else None)

    def _end_if_broken(self) -> bool:
        """Whether the run ends here because its last step, of a finite loss, has left weights that are not finite."""
        if self._finite.unharmed():
            return False
        step = self._log.steps
        self._ending.weights_not_finite(step, self._schedule.fastest(max(step, 1) - 1))
        return True

    # Epochs --------------------------------------------------------------------------------------------------------

    def _end_epoch(self, on_epoch: Callable[[EpochPoint], object]) -> None:
        valid_loss: float | None = None
        metrics: dict[str, float] = {}
        if self._loop.valid_dl is not None:
            self._on_validation()
            valid_loss, metrics = validate(self._loop, self._loop.valid_dl)
        epoch = self._log.end_epoch(valid_loss, metrics)
        if valid_loss is not None or not self._ending.broke_down:
            self._keep_if_best(epoch)
        on_epoch(epoch)

    def _keep_if_best(self, epoch: EpochPoint) -> None:
        if self._keep_best and self._model is not None and self._best.is_beaten_by(epoch) and self._finite.unharmed():
            self._best.keep(epoch)

    def _end_if_out_of_patience(self) -> bool:
        epochs = self._log.epochs
        if self._patience is None or not epochs:
            return False
        best = self.history().best_epoch
        if epochs[-1].epoch - (0 if best is None else best.epoch) < self._patience:
            return False
        self._ending.out_of_patience(self._patience, epochs[-1], best)
        return True

    # Beginning and end ---------------------------------------------------------------------------------------------

    def _begin(self, position: Position) -> None:
        """Before the first step: of a new run, or of one that goes on where a checkpoint says."""
        folder = self._checkpoints.folder
        if folder is not None:
            self._trained = Trained(self._loop, self._loop.scaler)
        if self._found is not None:
            self._go_on(position, self._found)
        self._finite.begin()
        if self._found is not None:
            return
        self._keep_if_best(EpochPoint(epoch=0, step=0, train_loss=math.nan, valid_loss=None, metrics={}))
        if folder is not None:
            folder.begin()
            self._checkpoint()

    def _close(self, on_epoch: Callable[[EpochPoint], object]) -> None:
        """After the last step: the end of the epoch that it was in, and a checkpoint unless the loss was no number.

        The last step is followed by no loss that would tell what it has done to the weights, so they are looked at.
        """
        ending = self._ending
        if not ending.broke_down:
            self._end_if_broken()
        if ending.reason is StopReason.STOPPED:
            self._checkpoint()  # first, because the run may go on in the middle of its epoch
        if self._log.within_epoch:
            self._end_epoch(on_epoch)
        if ending.reason is StopReason.FINISHED:
            self._checkpoint()
        if ending.broke_down and self._best.epoch is not None:
            ending.offer(self._best.epoch)

    def _put_back(self, batches: Batches) -> None:
        """End what was begun: the loader's workers, and the optimizer's own LRs and momenta again."""
        batches.close()
        self._schedule.put_back()

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """Write where the run stands, between two steps, if it has moved since the last time.

        Of weights that are not finite none is written: it would take the place of a good one.
        """
        stands = self._log.steps, len(self._log.epochs)
        if self._trained is None or self._position is None or not self._checkpoints.lacks(*stands):
            return
        if not self._finite.unharmed():
            return
        self._schedule.take_in_added(self._log.steps)
        self._checkpoints.write(
            *stands,
            {
                **self._schedule.state(),
                "options": {
                    "keep_best": self._keep_best,
                    "patience": self._patience,
                    "checkpoint_every": self._checkpoints.every,
                },
                "loop": numbers_of(self._loop),
                "given": given_to(self._loop),
                **self._log.state(),
                **self._best.state(),
                "position": self._position.state(),
                "trained": self._trained.state(),
            },
        )

    def _go_on(self, position: Position, found: Mapping[str, Any]) -> None:
        """Put everything where the checkpoint says it was."""
        folder, trained = self._checkpoints.folder, self._trained
        assert folder is not None and trained is not None
        try:
            trained.check(found["trained"])
            self._schedule.check(found)
            if len(found["losses"]) < self.plan.total_steps:
                folder.check_writable()
            trained.put_back(found["trained"])
            self._schedule.go_on(found)
            self._log.go_on(found)
            self._best.go_on(found, self._loop.device)
            position.go_to(found["position"], at_end=self._log.steps == self.plan.total_steps)
            self._checkpoints.has(self._log.steps, len(self._log.epochs))
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"Got a checkpoint that cannot be gone on from: {error!r}.") from error


def _with_scaler(loop: Loop) -> Loop:
    """The loop with the scaler that its steps will use: one that is made anew for them could not be kept."""
    if loop.amp != "fp16" or loop.scaler is not None:
        return loop
    loop = copy.copy(loop)
    loop.scaler = torch.amp.GradScaler(loop.device.type if loop.device is not None else "cpu")
    return loop
