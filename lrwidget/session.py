"""The controller: starts and stops jobs, takes picks, and is the only writer of the state."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from lrwidget.engine.batches import length
from lrwidget.engine.curve import LossCurve, StopReason
from lrwidget.engine.ending import where
from lrwidget.engine.errors import BusyError, InputError, LRWidgetError, in_one_line, told, unknown_option
from lrwidget.engine.fit import Run, RunPoint, ignore, steps_per_epoch
from lrwidget.engine.history import EpochPoint, History
from lrwidget.engine.layers import layer_groups
from lrwidget.engine.loop import Loop
from lrwidget.engine.plan import Pick, Plan, one_cycle, resolve_lrs
from lrwidget.engine.suggest import Advice
from lrwidget.engine.sweep import Sweep, SweepConfig, SweepPoint
from lrwidget.engine.words import format_lr
from lrwidget.jobs import Job, Launcher, Turn, run_inline
from lrwidget.picks import Picked, Picks
from lrwidget.state import KeptSweep, LRState, Phase, Progress, RunOptions

if TYPE_CHECKING:
    import os

T = TypeVar("T")

START_LR = 1e-3
"""Where the markers of an optimizer whose LRs are 0 stand before a sweep."""

REFRESH_S = 0.08
"""Seconds between two looks at a running job: a dozen a second, by the clock and not by the step."""

SCREEN_SHARE, SLOWEST_REFRESH_S = 0.02, 0.5
"""How much of a job's time may go into showing it, unless the screen would stand still for half a second."""

MOST_KEPT = 12
"""Sweeps on the screen: more curves nobody tells apart. The oldest goes first."""

LONGEST_NAME = 60
"""Letters of a sweep's name: what fits into its row."""

CANNOT_PAUSE = (
    "expected one from another thread, as a button's, because nothing here could end it. Call stop() instead."
)

WATCHER_FAILED = "Something that watches the state failed; the job goes on."

log = logging.getLogger(__name__)

turn = Turn()
"""One job at a time in this process."""

OPTION_NAMES = frozenset(f.name for f in fields(RunOptions))

SHAPE_OPTIONS = ("preset", "pct_start", "div", "div_final", "momentum", "anneal", "phases")

PLAN_OPTIONS = (*SHAPE_OPTIONS, "freeze_epochs", "frozen")
"""Keywords of `Session.plan`: those of `one_cycle`, with the frozen part in epochs."""

START = "Sweep to see the loss at every learning rate, or drag the markers and train."

AS_BEFORE = "The model is as it was before."

BUSY = """Got a request for a {wanted} while a {running} has the model; expected one at a time. Wait for it, or stop it
first (w.stop(), or the Stop button)."""

BUSY_ELSEWHERE = """Got a request for a {wanted} while another widget's {running} is under way; expected one at a time,
because they share the random generators and maybe the model. Wait for that one, or stop it first."""


class Session:
    """One attached loop: what the widget's buttons and a user's code both act on.

    Safe to call from any thread. A job owns the model while it runs; what the user does meanwhile only touches the
    state, except `stop()`, which the job reads at its next step boundary.

    Args:
        loop: the user's training loop.
        launch: runs a job: inline (default) or on a thread.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        launch: Launcher[Any] = run_inline,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = loop
        self.job: Job[Any] | None = None
        self._launch = launch
        self._clock = clock
        # Held while the state is read and assigned, never while a job runs: traitlets knows nothing of threads.
        self._lock = threading.RLock()
        self._picks = Picks(_usable(loop.lrs()))
        self._sweeps_done = 0
        self._run: Run | None = None
        self.state = LRState(groups=loop.groups, title=_title(loop), config=SweepConfig(), options=RunOptions())
        self.state.message = START
        self._show_pick()

    # Picking -------------------------------------------------------------------------------------------------------

    def pick(self, pick: Pick) -> None:
        """Set the LR of every group: one for all, a slice, or one per group."""
        with self._lock:
            self._take(Picked(lrs=resolve_lrs(pick, len(self.loop.groups))))

    def pick_max(self, lr: float) -> None:
        """Move all markers together so that the fastest group's is at `lr`."""
        with self._lock:
            self._take(self._picks.scaled(_positive(lr)))

    def pick_group(self, index: int, lr: float, *, dragging: bool = False) -> None:
        """Move one group's marker, and others with it: see `Picks.moved`.

        Args:
            index: which group, in optimizer order.
            lr: where to.
            dragging: more of the same drag will follow; the last one comes without.
        """
        with self._lock:
            moved = self._picks.moved(index, _positive(lr), together=self.state.together)
            self._take(moved, dragging=dragging)

    def reset_pick(self) -> None:
        """Back to the recommendation of the chosen sweep, or to the optimizer's own LRs without one."""
        with self._lock:
            own = Picks(_usable([group.lr for group in self.loop.groups]))
            advice = self.state.advice
            lr = None if advice is None else advice.recommended.lr
            self._take(own.now if lr is None else own.scaled(lr, chosen=False))

    def undo(self) -> None:
        """Take the last pick back; without one, nothing happens."""
        with self._lock:
            if self._picks.undo():
                self._show_pick()

    def redo(self) -> None:
        """Take an undone pick again; without one, nothing happens."""
        with self._lock:
            if self._picks.redo():
                self._show_pick()

    def set_together(self, together: bool) -> None:
        """Whether a dragged marker takes all others along."""
        with self._lock:
            self.state.together = together

    # Groups --------------------------------------------------------------------------------------------------------

    def split(self, n: int = 3, *, by: Any = None, per_layer: bool = False) -> None:
        """Give the optimizer one param group per group of layers; the arguments are those of `layer_groups`.

        Raises:
            BusyError: a job is running.
            InputError: the model cannot be split so.
        """
        layers = layer_groups(self.loop.model, n, by=by, per_layer=per_layer)
        self._change_groups("split", lambda: self.loop.split(layers))

    def unsplit(self) -> None:
        """The optimizer's own groups again.

        Raises:
            BusyError: a job is running.
        """
        self._change_groups("unsplit", self.loop.unsplit)

    def _change_groups(self, name: str, change: Callable[[], None]) -> None:
        job = Job(name, lambda job: change())
        self._take_turn(job)
        try:
            run_inline(job)
        finally:
            turn.give_back(job)
        self._show_groups()

    def _show_groups(self) -> None:
        """Show other groups than before, and a pick for them."""
        with self._lock, self.state.hold_trait_notifications():
            self.state.frozen = ()
            self.state.groups = self.loop.groups
            self.state.title = _title(self.loop)
            self._picks = Picks(_usable(self.loop.lrs()))
            self._show_pick()

    def rename_group(self, index: int, name: str) -> None:
        """Call a group something else, on the screen and in plans and curves to come."""
        with self._lock:
            self.loop.rename(index, name)
            with self.state.hold_trait_notifications():
                self.state.groups = self.loop.groups
                self._show_plan(self._preview())

    def freeze(self, index: int, frozen: bool) -> None:
        """Say whether a group stays as it is in the next run.

        Raises:
            InputError: no group would train.
        """
        with self._lock:
            now = self.state.frozen or (False,) * len(self.loop.groups)
            frozen_G = tuple(frozen if i == index else still for i, still in enumerate(now))
            plan = self._preview(frozen=frozen_G)
            with self.state.hold_trait_notifications():
                self.state.frozen = frozen_G
                self._show_plan(plan)

    # Kept sweeps ---------------------------------------------------------------------------------------------------

    def choose_sweep(self, index: int) -> None:
        """Show one of the kept sweeps, with its advice; markers that nobody has moved go to its recommendation."""
        with self._lock:
            self._check_kept(index)
            self._show_kept(index)

    def remove_sweep(self, index: int) -> None:
        """Keep a sweep no longer; when it was the chosen one, the last of the others is."""
        with self._lock:
            self._check_kept(index)
            kept = [sweep for i, sweep in enumerate(self.state.sweeps) if i != index]
            chosen = self.state.chosen
            with self.state.hold_trait_notifications():
                self.state.chosen, self.state.sweeps = None, tuple(kept)
                if chosen is not None and chosen != index:
                    self.state.chosen = chosen - (chosen > index)
                elif chosen is not None:
                    self._show_kept(len(kept) - 1 if kept else None)

    def rename_sweep(self, index: int, name: str) -> None:
        """Call a kept sweep something else."""
        with self._lock:
            self._check_kept(index)
            named = replace(self.state.sweeps[index], name=_name(name))
            self.state.sweeps = tuple(named if i == index else sweep for i, sweep in enumerate(self.state.sweeps))

    def _check_kept(self, index: int) -> None:
        if self.state.phase is Phase.SWEEPING:
            raise BusyError("Got a request for a kept sweep while another one runs; expected to wait for its end.")
        if not 0 <= index < len(self.state.sweeps):
            raise InputError(f"Got sweep {index}; expected one of the {len(self.state.sweeps)} kept, counted from 0.")

    def _show_kept(self, index: int | None) -> None:
        kept = None if index is None else self.state.sweeps[index]
        ended = "" if kept is None else f"{kept.curve.note} {AS_BEFORE}"
        self._show(
            chosen=index,
            curve=kept and kept.curve,
            advice=kept and kept.advice,
            sweep_message=ended,
            message=ended or START,
            failed=False,
            error="",
        )
        self._take_recommendation()

    # The plan ------------------------------------------------------------------------------------------------------

    def set_options(self, options: RunOptions) -> None:
        """Set how the pick becomes a plan; what no plan can have is refused and nothing changes."""
        with self._lock:
            plan = self._preview(options=options)
            with self.state.hold_trait_notifications():
                self.state.options = options
                self._show_plan(plan)

    def plan(self, epochs: int | None = None, *, steps: int | None = None, **options: Any) -> Plan:
        """The pick as a plan: what a run would do.

        Args:
            epochs: passes over the training loader; default: what the screen says.
            steps: optimizer steps, instead of epochs; needed when the loader has no length.
            **options: `preset`, `pct_start`, `div`, `div_final`, `freeze_epochs`, `momentum`, `anneal`, `phases`,
                `frozen` (one bool per group), instead of what the screen says.
        """
        with self._lock:
            return self._resolve(self.state.options, epochs, steps, options)

    def code(self, epochs: int | None = None, *, steps: int | None = None, **options: Any) -> str:
        """The plan as a program in plain PyTorch, with the steps of this loop; the arguments are those of `plan`."""
        loop = self.loop
        plain = loop.loss_fn is not None and loop.loss_step is None
        return self.plan(epochs, steps=steps, **options).code(
            step="train_step" if loop.train_step is not None else "loss_fn" if plain else "loss_step",
            n_optimizers=max(1, len(loop.optimizers)),
            amp=loop.amp,
            accumulate=loop.accumulate,
            clip_grad_norm=loop.clip_grad_norm,
        )

    # Jobs ----------------------------------------------------------------------------------------------------------

    def sweep(self, *, snapshot: Any = None, verify: bool = False, **changes: Any) -> Job[LossCurve]:
        """Start a range test; `changes` are fields of `SweepConfig` that replace those of the last one.

        `snapshot` and `verify` are those of `lrwidget.range_test`.

        Raises:
            BusyError: a job is running.
            InputError: a range that cannot be swept.
        """
        known = {f.name for f in fields(SweepConfig)}
        for name in changes:
            if name not in known:
                unknown_option("sweep()", name, known | {"snapshot", "verify"})
        config = replace(self.state.config, **changes)
        sweep = Sweep(self.loop, config, snapshot=snapshot, verify=verify)
        return self._start(
            Job("sweep", lambda job: self._sweep(job, sweep)),
            config=config,
            curve=None,
            advice=None,
            chosen=None,
            failed=False,
            error="",
            sweep_message="",
            message=f"Sweeping from {format_lr(config.start_lr)} to {format_lr(config.end_lr)}.",
            phase=Phase.SWEEPING,
            progress=Progress(step=0, total=config.num_steps),
        )

    def fine_tune(
        self,
        epochs: int | None = None,
        *,
        steps: int | None = None,
        keep_best: bool = True,
        patience: int | None = None,
        checkpoint_dir: "str | os.PathLike[str] | None" = None,
        checkpoint_every: int | None = None,
        on_step: Callable[[RunPoint], object] = ignore,
        on_epoch: Callable[[EpochPoint], object] = ignore,
        **options: Any,
    ) -> Job[History]:
        """Start a training with exactly the plan that `plan()` gives for the same arguments.

        What is not of the plan is as in `lrwidget.fit`; `keep_best` keeps the weights for `restore_best()`.
        """
        with self._lock:
            plan = self._resolve(self.state.options, epochs, steps, options)
            shown: dict[str, Any] = {name: value for name, value in options.items() if name in OPTION_NAMES}
            if epochs is not None:
                shown.update(epochs=epochs, steps=None)
            if steps is not None and not length(self.loop.train_dl):
                shown["steps"] = steps
            shown_options = replace(self.state.options, **shown)
        run = Run(
            self.loop,
            plan,
            keep_best=keep_best,
            patience=patience,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
        )
        return self._start(
            Job("run", lambda job: self._train(job, run, on_step, on_epoch)),
            options=shown_options,
            plan=plan,
            history=run.history(),
            failed=False,
            error="",
            run_message="",
            message=f"Training for {plan.total_steps} steps.",
            phase=Phase.TRAINING,
            progress=Progress(step=0, total=plan.total_steps),
        )

    def pause(self) -> None:
        """Ask the running job to wait at its next step boundary, and keep the model; without one, nothing happens.

        Raises:
            InputError: the job runs in the calling thread, where nothing could end the pause.
        """
        job = self.job
        if job is None or not job.running:
            return
        try:
            job.pause()
        except RuntimeError as error:
            raise InputError(f"Got a pause from inside the running {job.name}; {CANNOT_PAUSE}") from error
        with self._lock:
            if self.state.phase is not Phase.IDLE and not self.state.stopping:
                self._show(paused=True, message=f"The {job.name} is paused, and still has the model.")

    def resume(self) -> None:
        """Let a paused job go on; without one, nothing happens."""
        job = self.job
        if job is None or not self.state.paused:
            return
        job.resume()
        with self._lock:
            if self.state.paused:
                self._show(paused=False, message=f"The {job.name} goes on.")

    def stop(self, *, interrupted: bool = False) -> None:
        """Ask the running job to end at its next step boundary; without one, nothing happens."""
        job = self.job
        if job is not None and job.running:
            job.stop(interrupted=interrupted)
            with self._lock:
                # It may have ended since, and said so.
                self.state.stopping = self.state.phase is not Phase.IDLE

    def restore_best(self) -> EpochPoint | None:
        """Put the weights of the last run's best epoch into the model; None when there is none.

        Raises:
            BusyError: a job is running.
        """
        run = self._run
        job = Job("return to the best weights", lambda job: run.restore_best() if run is not None else None)
        self._take_turn(job)
        try:
            run_inline(job)
        finally:
            turn.give_back(job)
        epoch = job.wait()
        if epoch is None:
            message = "No weights were kept; fine_tune(keep_best=True) keeps them."
        else:
            message = f"The model has the weights of {where(epoch)} again."
        self._show(message=message, failed=False, error="")
        return epoch

    def let_go(self, instead: Any) -> None:
        """Forget all that is the user's, as soon as the running job has given it back.

        Args:
            instead: what takes the loop's place, and answers whatever is asked of it.
        """

        def forget() -> None:
            self.loop, self.job, self._run = instead, None, None

        if self.job is None:
            forget()
        else:
            self.job.when_over(forget)

    # Inside a job --------------------------------------------------------------------------------------------------

    def _sweep(self, job: Job[LossCurve], sweep: Sweep) -> LossCurve:
        pace = Pace(sweep.config.num_steps, self._clock, job)

        def show(point: SweepPoint) -> None:
            if pace.due():
                self._show(curve=sweep.curve(), progress=pace.progress(point.step + 1, point.smoothed, point.lr))
                pace.shown()

        try:
            curve = sweep.run(job.should_stop, show)
        except KeyboardInterrupt:
            # Inline: the sweep ends as if Stop had been pressed, with what it has.
            curve = sweep.curve()
        except BaseException as error:
            curve = sweep.curve()
            said = _failure(error).partition("\n")[0]
            self._end(job, curve=curve, sweep_message=f"{curve.note} {said} {AS_BEFORE}", **_failed(error))
            raise
        if job.interrupted and curve.stop_reason is StopReason.STOPPED:
            curve = replace(curve, stop_reason=StopReason.INTERRUPTED)
        ended, advice = f"{curve.note} {AS_BEFORE}", curve.suggest()
        self._end(job, curve=curve, sweep_message=ended, message=ended, advice=advice, **self._kept(curve, advice))
        return curve

    def _kept(self, curve: LossCurve, advice: Advice) -> dict[str, Any]:
        """What the state shows of one more sweep; one without points is not worth keeping."""
        if not len(curve):
            return {}
        self._sweeps_done += 1
        kept = KeptSweep(name=f"sweep {self._sweeps_done}", curve=curve, advice=advice)
        sweeps = (*self.state.sweeps, kept)[-MOST_KEPT:]
        return {"sweeps": sweeps, "chosen": len(sweeps) - 1}

    def _train(
        self,
        job: Job[History],
        run: Run,
        on_step: Callable[[RunPoint], object],
        on_epoch: Callable[[EpochPoint], object],
    ) -> History:
        self._run = run
        pace = Pace(run.plan.total_steps, self._clock, job)

        def show(point: RunPoint) -> None:
            if pace.due():
                history = run.history()
                smoothed = float(history.smoothed[-1])
                self._show(history=history, progress=pace.progress(point.step + 1, smoothed, max(point.lrs)))
                pace.shown()
            on_step(point)

        try:
            history = run.run(job.should_stop, show, on_epoch)
        except KeyboardInterrupt:
            history = run.history()
        except BaseException as error:
            history = run.history()
            self._end(job, history=history, run_message=_summary(history), **_failed(error))
            raise
        summary = _summary(history)
        self._end(job, history=history, run_message=summary, message=summary)
        return history

    def _show(self, **changes: Any) -> None:
        """Assign to the state; what goes wrong where it is watched from is no reason to end a job."""
        try:
            with self._lock, self.state.hold_trait_notifications():
                for name, value in changes.items():
                    setattr(self.state, name, value)
        except Exception:
            log.exception(WATCHER_FAILED)

    def _end(self, job: Job[Any], **changes: Any) -> None:
        """The last word of a job: its result and, after that and unthrottled, that the model is the user's again."""
        job.told_at = time.monotonic()
        with self._lock:
            try:
                self._show(**{**changes, "progress": None, "stopping": False, "paused": False})
                if self.state.phase is Phase.SWEEPING:
                    self._take_recommendation()
            except Exception:
                log.exception(WATCHER_FAILED)
            finally:
                # In any case: what says for ever that it is busy cannot be used again.
                turn.give_back(job)
                self._show(phase=Phase.IDLE)
            if self.loop.look_again():  # the user's own code may have added some while it trained
                self._show_groups()
            # What was picked or chosen during a run is the next one's.
            self._show(plan=self._preview())

    # Helpers -------------------------------------------------------------------------------------------------------

    def _start(self, job: Job[T], **shown: Any) -> Job[T]:
        """Show that a job starts, and launch it; when that fails, nothing has changed."""
        self._take_turn(job)
        before = {name: getattr(self.state, name) for name in shown if name != "phase"}
        try:
            self.job = job
            self._show(**shown, stopping=False, paused=False)
            self._launch(job)
        except BaseException as error:
            if job.abandon(error):
                self._end(job, **{**before, "message": f"Not started: {_failure(error)}"})
            raise
        return job

    def _take_turn(self, job: Job[Any]) -> None:
        running = turn.take(job)
        if running is not None:
            text = BUSY if running is self.job else BUSY_ELSEWHERE
            raise BusyError(text.format(wanted=job.name, running=running.name))

    def _take(self, picked: Picked, *, dragging: bool = False) -> None:
        """Make a pick the one that counts; one that no plan can have changes nothing."""
        self._preview(lrs=picked.lrs)
        self._picks.put(picked, dragging=dragging)
        self._show_pick()

    def _show_pick(self) -> None:
        lrs = resolve_lrs(self._picks.now.lrs, len(self.loop.groups))
        plan = self._preview(lrs=lrs)
        with self.state.hold_trait_notifications():
            self.state.lrs = lrs
            self.state.can_undo, self.state.can_redo = self._picks.can_undo, self._picks.can_redo
            self._show_plan(plan)

    def _take_recommendation(self) -> None:
        """Put `max_lr` where the advice says, unless the user has picked since the markers were last placed."""
        advice = self.state.advice
        if advice is not None and not self._picks.now.chosen and advice.recommended.lr is not None:
            self._take(self._picks.scaled(advice.recommended.lr, chosen=False))

    def _preview(
        self,
        *,
        lrs: Sequence[float] | None = None,
        options: RunOptions | None = None,
        frozen: Sequence[bool] | None = None,
    ) -> Plan | None:
        """What a run would do with these in place of what the screen says; None while no epoch has a length.

        Raises:
            LRWidgetError: no plan can be so.
        """
        options = options or self.state.options
        if not length(self.loop.train_dl) and options.steps is None:
            return None
        changed = {} if frozen is None else {"frozen": frozen}
        return self._resolve(options, None, None, changed, lrs)

    def _show_plan(self, plan: Plan | None) -> None:
        """Show what a run would do; while one trains, its own plan stays."""
        if self.state.phase is not Phase.TRAINING:
            self.state.plan = plan

    def _resolve(
        self,
        shown: RunOptions,
        epochs: int | None,
        steps: int | None,
        options: dict[str, Any],
        lrs: Sequence[float] | None = None,
    ) -> Plan:
        if epochs is not None and steps is not None:
            raise InputError(f"Got epochs={epochs} and steps={steps}; expected one of them.")
        if epochs is None and steps is None:
            steps = shown.steps
        for name in options:
            if name not in PLAN_OPTIONS:
                unknown_option("a plan", name, PLAN_OPTIONS)
        epochs = _whole("epochs", shown.epochs if epochs is None else epochs, 1)
        freeze_epochs = _whole("freeze_epochs", options.get("freeze_epochs", shown.freeze_epochs), 0)
        per_epoch = steps_per_epoch(self.loop) if steps is None or freeze_epochs else 0
        freeze_steps = freeze_epochs * per_epoch
        given = {name: getattr(shown, name) for name in SHAPE_OPTIONS}
        frozen = {"frozen": self.state.frozen} if self.state.frozen else {}
        return one_cycle(
            self.state.lrs if lrs is None else lrs,
            (epochs * per_epoch if steps is None else steps) + freeze_steps,
            [group.name for group in self.loop.groups],
            freeze_steps=freeze_steps,
            **{**given, **frozen, **{k: value for k, value in options.items() if k != "freeze_epochs"}},
        )


class Pace:
    """When to look at a running job, by the clock, and how long it will still take.

    Args:
        total: steps planned.
        clock: seconds, monotonic.
        job: whose pauses do not count.
    """

    def __init__(self, total: int, clock: Callable[[], float], job: Job[Any]) -> None:
        self._total = total
        self._clock = clock
        self._job = job
        self._started = self._next = self._looked = clock()

    def due(self) -> bool:
        """Whether a refresh interval has gone by since this last said so."""
        now = self._clock()
        if now < self._next:
            return False
        self._looked, self._next = now, now + REFRESH_S
        return True

    def shown(self) -> None:
        """What was due has been shown: the longer that took, the later the next, so that its share stays small."""
        now = self._clock()
        self._next = now + min(max(REFRESH_S, (now - self._looked) / SCREEN_SHARE), SLOWEST_REFRESH_S)

    def progress(self, step: int, loss: float, lr: float) -> Progress:
        """How far it is after `step` steps."""
        spent = self._clock() - self._started - self._job.seconds_paused
        speed = step / spent if step and spent > 0 else None
        left = None if speed is None else (self._total - step) / speed
        return Progress(step=step, total=self._total, loss=loss, lr=lr, steps_per_second=speed, seconds_left=left)


def _usable(lrs: Sequence[float]) -> tuple[float, ...]:
    """Where markers can stand: a log axis has no place for an LR of 0."""
    return tuple(lr if math.isfinite(lr) and lr > 0 else START_LR for lr in lrs)


def _title(loop: Loop) -> str:
    count = len(loop.groups)
    trainers = " + ".join(type(optimizer).__name__ for optimizer in loop.optimizers)
    parts = [type(loop.model).__name__, trainers, f"{count} group{'s' if count > 1 else ''}"]
    return " · ".join(part for part in parts if part)


def _positive(lr: float) -> float:
    if isinstance(lr, bool) or not isinstance(lr, (int, float)) or not (math.isfinite(lr) and lr > 0):
        raise InputError(f"Got a learning rate of {lr!r}; expected a finite number above 0, such as 3e-4.")
    return float(lr)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"Got {name!r} as a name; expected a text.")
    return name.strip()[:LONGEST_NAME]


def _whole(name: str, number: Any, least: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise InputError(f"Got {name}={number!r}; expected a whole number, {least} or more.")
    return number


def _summary(history: History) -> str:
    last = history.epochs[-1] if history.epochs else None
    best = history.best_epoch
    if last is None or last.valid_loss is None:
        return history.note
    measured = ", ".join([f"validation loss {last.valid_loss:.4g}"] + [f"{k} {v:.4g}" for k, v in last.metrics.items()])
    return f"{history.note} At the end: {measured}." + (
        f" Epoch {best.epoch} was better; Best weights, or w.restore_best(), returns to it."
        if best is not None and best is not last
        else ""
    )


def _failed(error: BaseException) -> dict[str, Any]:
    """What the state shows of an error that ended a job."""
    return {"failed": True, "message": _failure(error), "error": _traceback(error)}


def _failure(error: BaseException) -> str:
    """What an error says, with the notes that lrwidget has added to it."""
    text = in_one_line(error) if isinstance(error, LRWidgetError) else str(error)
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return "\n".join([said, *getattr(error, "__notes__", ())])


def _traceback(error: BaseException) -> str:
    """Where in the user's own code it came from; an error of lrwidget's says all in its message."""
    return "" if isinstance(error, LRWidgetError) else "\n".join(told(error))
