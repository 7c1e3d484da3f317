"""Train under a plan from a script: a run of a loop in one call, and its resumption after a kill."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from lrwidget.engine.errors import InputError, InputTypeError, RecordError, known_options
from lrwidget.engine.loops.batches import length
from lrwidget.engine.loops.fingerprint import given_to
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.loops.protocols import Loader, LossFn, LossStep, Metric, OptimizerLike, TrainStep
from lrwidget.engine.loops.step import Amp
from lrwidget.engine.plain import is_count, plain
from lrwidget.engine.plans.plan import Plan, fine_tune_plan
from lrwidget.engine.runs.checkpoint import CheckpointFolder
from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.runs.run import Run, RunPoint
from lrwidget.engine.runs.run_options import check_flag, check_validated, check_written
from lrwidget.engine.runs.validate import check_metrics

__all__ = ["Run", "RunPoint", "fine_tune", "fit", "resume", "steps_per_epoch"]

OnStep = Callable[[RunPoint], object]
OnEpoch = Callable[[EpochPoint], object]
ShouldStop = Callable[[], bool]

CALLBACKS = {
    "on_step": "on_step(point), called after every step",
    "on_epoch": "on_epoch(epoch), called after every epoch",
    "should_stop": "should_stop() -> bool, asked before every step",
}


def never() -> bool:
    """Do not stop."""
    return False


def ignore(_: object) -> None:
    """Do nothing with a point."""


def steps_per_epoch(loop: Loop) -> int:
    """Optimizer steps in one pass over the training loader.

    Raises:
        InputError: the loader has no length.
    """
    batches = length(loop.train_dl)
    if batches is None:
        raise InputError(
            f"Got a {type(loop.train_dl).__name__} without a length; expected len(train_dl) to know how many steps an "
            "epoch has. Give the number of steps instead: steps= for epochs=, freeze_steps= for freeze_epochs=."
        )
    steps: int = math.ceil(batches / loop.accumulate)
    return steps


def _in_steps(loop: Loop, name: str, epochs: int | None, least: int) -> int:
    epochs = plain(epochs)
    if not is_count(epochs, least):
        raise InputError(f"Got {name}={epochs!r}; expected a whole number, {least} or more.")
    return epochs * steps_per_epoch(loop) if epochs else 0


@known_options
def fit(
    model: Any,
    optimizer: OptimizerLike | Sequence[OptimizerLike] | None,
    train_dl: Loader,
    loss_fn: LossFn | None,
    plan: Plan,
    *,
    valid_dl: Loader | None = None,
    metrics: dict[str, Metric] | None = None,
    restore_best: bool = False,
    patience: int | None = None,
    on_step: OnStep = ignore,
    on_epoch: OnEpoch = ignore,
    should_stop: ShouldStop = never,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    loss_step: LossStep | None = None,
    train_step: TrainStep | None = None,
    amp: Amp | None = None,
    scaler: torch.amp.GradScaler | None = None,
    accumulate: int = 1,
    clip_grad_norm: float | None = None,
    also: Sequence[Any] = (),
    set_lrs: Callable[[tuple[float, ...]], object] | None = None,
) -> History:
    """Train a model under a plan: every step with exactly the plan's LR and momentum.

    Args:
        model: what is trained, in place.
        optimizer: what trains it. Its LRs and momenta are the plan's during the run and its own again afterwards. A
            group that a callback adds to it (`optimizer.add_param_group`) trains from the next step on, its LR moving
            as the others do, up to the one it was given.
        train_dl: started over until the plan's steps are done.
        loss_fn: as everywhere; None when the model returns its own loss.
        plan: from `one_cycle`, `fine_tune_plan` or `w.plan`.
        valid_dl: validated on after every pass over `train_dl` and at the end; default None.
        metrics: `{"accuracy": fn(output, target)}`; default None: accuracy where it is classification.
        restore_best: leave the model with the weights of the epoch with the lowest validation loss; default False:
            with the last ones, as any training loop would. Without `valid_dl` it acts only when the loss or the weights
            stop being finite: the model then has the weights of the last whole epoch, or those it came with.
        patience: stop when this many epochs in a row have not brought a lower validation loss; default None: never.
        on_step: called with a `RunPoint` (step, lrs, momenta, loss) after every optimizer step, for logging of your
            own. What it raises ends the run and is raised here; the weights are those of that step.
        on_epoch: called with an `EpochPoint` (losses, metrics) after every epoch, likewise.
        should_stop: asked before every step; True ends the run there.
        checkpoint_dir: a folder in which to keep the last two checkpoints, from which `resume` goes on after a crash or
            a kill; default None: nothing is written. Needs safetensors (`pip install 'lrwidget[checkpoint]'`).
        checkpoint_every: optimizer steps between two checkpoints; default None: at the end of every epoch and
            every ten minutes.
        loss_step: in place of the default reading of a batch; see `Loop`, as the seven below.
        train_step: in place of the whole step.
        amp: "fp16" or "bf16".
        scaler: the user's own GradScaler.
        accumulate: batches per optimizer step.
        clip_grad_norm: largest total gradient norm.
        also: further things a step changes, such as weight averages, to be kept in checkpoints.
        set_lrs: with `train_step`, writes the LRs of an optimizer without `param_groups`, one per group of the plan;
            `optimizer` may then be None. The last of them stay: what was there before cannot be read.

    Returns:
        LR, momentum and loss of every step, and what each epoch came to. A loss that is not finite ends the run before
        the step that it would have led to, and weights that are not finite end it by the end of their epoch:
        `history.stop_reason` and `history.note` say so, and what weights the model has.

    Raises:
        Exception: whatever the user's own code raised, and `KeyboardInterrupt`; what was done before is in the
            exception's `history`.
        InputError: the plan has another number of groups than the optimizer, `checkpoint_dir` holds a run already or
            cannot be written to, or an option is given of which nothing would come.
        InputTypeError: something is of the wrong kind: a class for an object, a number for a callback.
    """
    _check_options(
        valid_dl,
        metrics,
        (on_step, on_epoch, should_stop),
        flags={"restore_best": restore_best},
        unwritten=checkpoint_every if checkpoint_dir is None else None,
    )
    loop = Loop(
        model,
        optimizer,
        train_dl,
        loss_fn,
        valid_dl=valid_dl,
        metrics=metrics,
        loss_step=loss_step,
        train_step=train_step,
        amp=amp,
        scaler=scaler,
        accumulate=accumulate,
        clip_grad_norm=clip_grad_norm,
        also=also,
        names=plan.names if optimizer is None and isinstance(plan, Plan) else None,
        set_lrs=set_lrs,
    )
    run = Run(
        loop,
        plan,
        keep_best=restore_best,
        patience=patience,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
    )
    return _finish(run, restore_best, should_stop, on_step, on_epoch)


@known_options
def fine_tune(
    model: Any,
    optimizer: OptimizerLike | Sequence[OptimizerLike],
    train_dl: Loader,
    loss_fn: LossFn | None,
    *,
    epochs: int | None = None,
    base_lr: float = 2e-3,
    freeze_epochs: int = 1,
    steps: int | None = None,
    freeze_steps: int | None = None,
    lr_mult: float = 100.0,
    train_norms: bool = True,
    valid_dl: Loader | None = None,
    metrics: dict[str, Metric] | None = None,
    restore_best: bool = False,
    patience: int | None = None,
    on_step: OnStep = ignore,
    on_epoch: OnEpoch = ignore,
    should_stop: ShouldStop = never,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    loss_step: LossStep | None = None,
    amp: Amp | None = None,
    scaler: torch.amp.GradScaler | None = None,
    accumulate: int = 1,
    clip_grad_norm: float | None = None,
    also: Sequence[Any] = (),
) -> History:
    """Train the head with the rest frozen, then everything with a slice: fastai's `fine_tune` for any model.

    First `freeze_epochs` with only the last group and the normalisation layers training, up to `base_lr`; then
    `epochs` with all groups, up to `slice(base_lr/2/lr_mult, base_lr/2)`. The numbers are those of fastai 2.8
    (`fastai/callback/schedule.py`, `Learner.fine_tune`); unlike there, the optimizer keeps its momenta in between.

    Args:
        model: what is trained, in place.
        optimizer: with one param group per layer group, stem first and head last; with a single one nothing is frozen.
        train_dl: with a length when epochs are told; without one, tell steps.
        loss_fn: as everywhere.
        epochs: passes with everything training, 1 or more.
        base_lr: the head's largest LR in the frozen part; default 2e-3, fastai's.
        freeze_epochs: passes before that; default 1. 0 for none.
        steps: optimizer steps with everything training, in place of `epochs`.
        freeze_steps: optimizer steps before that, in place of `freeze_epochs`.
        lr_mult: how many times slower the first group is than the last; default 100.
        train_norms: the norm layers of frozen groups train on; default True, as in fastai.
        valid_dl: as in `fit`, like the rest.
        metrics: as in `fit`.
        restore_best: as in `fit`.
        patience: as in `fit`.
        on_step: as in `fit`.
        on_epoch: as in `fit`.
        should_stop: as in `fit`.
        checkpoint_dir: as in `fit`.
        checkpoint_every: as in `fit`.
        loss_step: as in `fit`.
        amp: as in `fit`.
        scaler: as in `fit`.
        accumulate: as in `fit`.
        clip_grad_norm: as in `fit`.
        also: as in `fit`.
    """
    _check_options(
        valid_dl,
        metrics,
        (on_step, on_epoch, should_stop),
        flags={"restore_best": restore_best, "train_norms": train_norms},
        unwritten=checkpoint_every if checkpoint_dir is None else None,
    )
    loop = Loop(
        model,
        optimizer,
        train_dl,
        loss_fn,
        valid_dl=valid_dl,
        metrics=metrics,
        loss_step=loss_step,
        amp=amp,
        scaler=scaler,
        accumulate=accumulate,
        clip_grad_norm=clip_grad_norm,
        also=also,
    )
    if (epochs is None) == (steps is None):
        raise InputError(f"Got epochs={epochs} and steps={steps}; expected one of them.")
    plan = fine_tune_plan(
        base_lr,
        _in_steps(loop, "epochs", epochs, 1) if steps is None else steps,
        _in_steps(loop, "freeze_epochs", freeze_epochs, 0) if freeze_steps is None else freeze_steps,
        [group.name for group in loop.groups],
        lr_mult=lr_mult,
        train_norms=train_norms,
    )
    run = Run(
        loop,
        plan,
        keep_best=restore_best,
        patience=patience,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
    )
    return _finish(run, restore_best, should_stop, on_step, on_epoch)


@known_options
def resume(
    checkpoint_dir: str | os.PathLike[str],
    model: Any,
    optimizer: OptimizerLike | Sequence[OptimizerLike] | None,
    train_dl: Loader,
    loss_fn: LossFn | None = None,
    *,
    valid_dl: Loader | None = None,
    metrics: dict[str, Metric] | None = None,
    on_step: OnStep = ignore,
    on_epoch: OnEpoch = ignore,
    should_stop: ShouldStop = never,
    loss_step: LossStep | None = None,
    train_step: TrainStep | None = None,
    scaler: torch.amp.GradScaler | None = None,
    also: Sequence[Any] = (),
    set_lrs: Callable[[tuple[float, ...]], object] | None = None,
) -> History:
    """Go on with a run that was killed, stopped or interrupted, from its last checkpoint to the end of its plan.

    Give it objects made as for that run; their weights, optimizer state and random states are read from the checkpoint.
    On a CPU, and with a loader whose batches depend on random numbers alone, the run ends with the very weights, to the
    last bit, that it would have ended with. Batches of the pass that was under way are drawn once more and
    dropped, to come to the place; a loader with `state_dict` and `load_state_dict` is asked to go there itself. With
    `persistent_workers` the batches come in the same order, but from the second pass on what the workers themselves
    draw at random (augmentations) is new: train without them where the last bit matters.

    Args:
        checkpoint_dir: the folder that the run was given.
        model: as for that run; like the rest.
        optimizer: as for that run; with the groups that were added to it before the checkpoint was written.
        train_dl: as for that run.
        loss_fn: as for that run.
        valid_dl: as for that run.
        metrics: as for that run.
        on_step: called for the steps that are still to do.
        on_epoch: called for the epochs that are still to end; the one that ended right before a kill may come again.
        should_stop: asked before every step.
        loss_step: as for that run.
        train_step: as for that run.
        scaler: as for that run.
        also: as for that run.
        set_lrs: as for that run.

    Returns:
        The history of the whole run, with all that was done before.

    Raises:
        RecordError: the folder holds no checkpoint that is whole.
        InputError: the objects are not like those of that run.

    Warns:
        RuntimeWarning: the last checkpoint is cut short or changed, and the one before it is used.
    """
    _check_options(valid_dl, metrics, (on_step, on_epoch, should_stop))
    folder = CheckpointFolder(checkpoint_dir)
    found = folder.read()
    try:
        numbers, names, told, since = found["loop"], found["plan"]["names"], found["given"], found["since"]
    except (KeyError, TypeError) as error:
        raise RecordError(f"Got a checkpoint without {error}; expected one that a run wrote.") from error
    if optimizer is not None:
        _check_added(optimizer, names, since)
    loop = Loop(
        model,
        optimizer,
        train_dl,
        loss_fn,
        valid_dl=valid_dl,
        metrics=metrics,
        loss_step=loss_step,
        train_step=train_step,
        scaler=scaler,
        also=also,
        names=names,
        set_lrs=set_lrs,
        **numbers,
    )
    given = given_to(loop)
    for name, value in told.items():
        if given.get(name) != value:
            raise InputError(
                f"Got {name}: {given.get(name)}; the run was begun with {name}: {value}. Give resume the objects that "
                "it was begun with."
            )
    run = Run.resumed(loop, folder, found)
    return _finish(run, run.keeps_best, should_stop, on_step, on_epoch)


def _check_options(
    valid_dl: Loader | None,
    metrics: dict[str, Metric] | None,
    callbacks: tuple[object, object, object],
    *,
    flags: Mapping[str, object] | None = None,
    unwritten: int | None = None,
) -> None:
    """Raise for options that would fail on the way, or that nothing would come of.

    Args:
        valid_dl: as given.
        metrics: as given.
        callbacks: on_step, on_epoch and should_stop.
        flags: what must be True or False, by name.
        unwritten: a checkpoint_every that there is no folder for.
    """
    for (name, expected), function in zip(CALLBACKS.items(), callbacks, strict=True):
        if not callable(function):
            raise InputTypeError(f"Got a {type(function).__name__} as {name}; expected a function: {expected}.")
    for name, value in (flags or {}).items():
        check_flag(name, value)
    check_metrics(metrics)
    check_validated(None, metrics, valid_dl)
    check_written(unwritten, None)


def _check_added(optimizer: object, names: Sequence[str], since: Sequence[int]) -> None:
    """Raise when groups that were added on the way, at the steps `since`, are not there."""
    optimizers = optimizer if isinstance(optimizer, list | tuple) else [optimizer]
    there = sum(len(getattr(one, "param_groups", ())) for one in optimizers)
    if there == len(names):
        return
    added = [f"{name!r} before step {step}" for name, step in zip(names, since, strict=True) if step]
    told = f"there were added: {', '.join(added)}" if added else "none had been added yet"
    raise InputError(
        f"Got an optimizer with {there} param groups; expected {len(names)} ({', '.join(names)}), as it had when the "
        f"checkpoint was written; {told}. Make it so, with optimizer.add_param_group for those that were added."
    )


def _finish(run: Run, restore_best: bool, should_stop: ShouldStop, on_step: OnStep, on_epoch: OnEpoch) -> History:
    try:
        history = run.run(should_stop, on_step, on_epoch)
    except BaseException as error:
        with suppress(AttributeError):  # an exception with slots has no room for it
            error.history = run.history()  # type: ignore[attr-defined]
        raise
    if not restore_best:
        return history
    run.restore_best()
    return run.history()  # whose note tells of it
