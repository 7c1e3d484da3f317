"""The controller: starts and stops jobs, takes picks, and is the only writer of the state."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from lrwidget.engine.batches import length
from lrwidget.engine.curve import LossCurve, LossTracker, StopReason, beta_for
from lrwidget.engine.errors import BusyError, InputError, LRWidgetError, told, unknown_option
from lrwidget.engine.fit import Run, RunPoint, steps_per_epoch
from lrwidget.engine.history import EpochPoint, History
from lrwidget.engine.layers import layer_groups
from lrwidget.engine.loop import Loop
from lrwidget.engine.picking import moved, scaled
from lrwidget.engine.plan import Pick, Plan, one_cycle, resolve_lrs
from lrwidget.engine.sweep import Sweep, SweepConfig, SweepPoint
from lrwidget.jobs import Job, Launcher, Turn, run_inline
from lrwidget.state import LRState, Phase, Progress, RunOptions

T = TypeVar("T")

START_LR = 1e-3
"""Where the markers of an optimizer whose LRs are 0 stand before a sweep."""

REFRESH_S = 0.08
"""Seconds between two looks at a running job: a dozen a second, by the clock and not by the step."""

WATCHER_FAILED = "Something that watches the state failed; the job goes on."

log = logging.getLogger(__name__)

turn = Turn()
"""One job at a time in this process."""

OPTION_NAMES = frozenset(f.name for f in fields(RunOptions))

PLAN_OPTIONS = ("preset", "pct_start", "div", "div_final", "momentum", "anneal", "phases", "freeze_epochs")
"""Keywords of `Session.plan`: those of `one_cycle`, with the frozen part in epochs."""

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
        self._by_hand: set[int] = set()
        self._picked = False
        self._run: Run | None = None
        self.state = LRState(groups=loop.groups, title=_title(loop), config=SweepConfig(), options=RunOptions())
        self.state.message = "Sweep to see the loss at every learning rate, or drag the markers and train."
        self._set_lrs(_usable(loop.lrs()))
        self._picked = False

    # Picking -------------------------------------------------------------------------------------------------------

    def pick(self, pick: Pick) -> None:
        """Set the LR of every group: one for all, a slice, or one per group."""
        with self._lock:
            self._set_lrs(resolve_lrs(pick, len(self.loop.groups)))
            self._by_hand.clear()

    def pick_max(self, lr: float) -> None:
        """Move all markers together so that the fastest group's is at `lr`."""
        with self._lock:
            self._set_lrs(scaled(self.state.lrs, _positive(lr)))

    def pick_group(self, index: int, lr: float) -> None:
        """Move one group's marker; the inner ones follow the outer ones unless they were moved by hand."""
        with self._lock:
            if 0 < index < len(self.loop.groups) - 1:
                self._by_hand.add(index)
            self._set_lrs(moved(self.state.lrs, index, _positive(lr), self._by_hand))

    def reset_pick(self) -> None:
        """Back to the recommendation of the last sweep, or to the optimizer's own LRs without one."""
        with self._lock:
            self._by_hand.clear()
            self._set_lrs(_usable([group.lr for group in self.loop.groups]))
            self._picked = False
            self._take_recommendation()

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
        with self._lock:
            self._by_hand.clear()
            with self.state.hold_trait_notifications():
                self.state.groups = self.loop.groups
                self.state.title = _title(self.loop)
                self._set_lrs(_usable(self.loop.lrs()))
            self._picked = False

    # The plan ------------------------------------------------------------------------------------------------------

    def set_options(self, options: RunOptions) -> None:
        """Set how the pick becomes a plan; what no plan can have is refused and nothing changes."""
        with self._lock:
            plan = self._preview(self.state.lrs, options)
            with self.state.hold_trait_notifications():
                self.state.options = options
                self._show_plan(plan)

    def plan(self, epochs: int | None = None, *, steps: int | None = None, **options: Any) -> Plan:
        """The pick as a plan: what a run would do.

        Args:
            epochs: passes over the training loader; default: what the screen says.
            steps: optimizer steps, instead of epochs; needed when the loader has no length.
            **options: `preset`, `pct_start`, `div`, `div_final`, `freeze_epochs`, `momentum`, `anneal`, `phases`,
                instead of what the screen says.
        """
        with self._lock:
            return self._resolve(self.state.lrs, self.state.options, epochs, steps, options)

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
        return self._start(
            Job("sweep", lambda job: self._sweep(job, Sweep(self.loop, config, snapshot=snapshot, verify=verify))),
            config=config,
            curve=None,
            advice=None,
            failed=False,
            error="",
            sweep_message="",
            message=f"Sweeping from {config.start_lr:g} to {config.end_lr:g}.",
            phase=Phase.SWEEPING,
            progress=Progress(step=0, total=config.num_steps),
        )

    def fine_tune(self, epochs: int | None = None, *, steps: int | None = None, **options: Any) -> Job[History]:
        """Start a training with exactly the plan that `plan()` gives for the same arguments."""
        with self._lock:
            plan = self._resolve(self.state.lrs, self.state.options, epochs, steps, options)
            shown: dict[str, Any] = {name: value for name, value in options.items() if name in OPTION_NAMES}
            if epochs is not None:
                shown["epochs"] = epochs
            shown_options = replace(self.state.options, **shown)
        run = Run(self.loop, plan, keep_best=self.loop.valid_dl is not None)
        return self._start(
            Job("run", lambda job: self._train(job, run)),
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
        if epoch is not None:
            with self._lock:
                self.state.message = f"The model has the weights of epoch {epoch.epoch} again."
        return epoch

    # Inside a job --------------------------------------------------------------------------------------------------

    def _sweep(self, job: Job[LossCurve], sweep: Sweep) -> LossCurve:
        pace = Pace(sweep.config.num_steps, self._clock)
        tracker = LossTracker(beta_for(sweep.config.num_steps, sweep.config.smoothing))

        def show(point: SweepPoint) -> None:
            smoothed = tracker.update(point.loss)
            if pace.due():
                self._show(curve=sweep.curve(), progress=pace.progress(point.step + 1, smoothed, point.lr))

        try:
            curve = sweep.run(job.should_stop, show)
        except KeyboardInterrupt:
            # Inline: the sweep ends as if Stop had been pressed, with what it has.
            curve = sweep.curve()
        except BaseException as error:
            curve = sweep.curve()
            self._end(job, curve=curve, sweep_message=curve.note, **_failed(error))
            raise
        if job.interrupted and curve.stop_reason is StopReason.STOPPED:
            curve = replace(curve, stop_reason=StopReason.INTERRUPTED)
        ended = f"{curve.note} The model is as it was before."
        self._end(job, curve=curve, sweep_message=ended, message=ended, advice=curve.suggest())
        return curve

    def _train(self, job: Job[History], run: Run) -> History:
        self._run = run
        pace = Pace(run.plan.total_steps, self._clock)
        tracker = LossTracker(beta_for(run.plan.total_steps, 0.05))

        def show(point: RunPoint) -> None:
            smoothed = tracker.update(point.loss)
            if pace.due():
                self._show(history=run.history(), progress=pace.progress(point.step + 1, smoothed, max(point.lrs)))

        try:
            history = run.run(job.should_stop, show)
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
        with self._lock:
            try:
                self._show(**{**changes, "progress": None, "stopping": False})
                if self.state.phase is Phase.SWEEPING:
                    self._take_recommendation()
            except Exception:
                log.exception(WATCHER_FAILED)
            finally:
                # In any case: what says for ever that it is busy cannot be used again.
                turn.give_back(job)
                self._show(phase=Phase.IDLE)
            # What was picked or chosen during a run is the next one's.
            self._show(plan=self._preview(self.state.lrs, self.state.options))

    # Helpers -------------------------------------------------------------------------------------------------------

    def _start(self, job: Job[T], **shown: Any) -> Job[T]:
        """Show that a job starts, and launch it; when that fails, nothing has changed."""
        self._take_turn(job)
        before = {name: getattr(self.state, name) for name in shown if name != "phase"}
        try:
            self.job = job
            self._show(**shown, stopping=False)
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

    def _set_lrs(self, lrs: Sequence[float]) -> None:
        lrs = resolve_lrs(lrs, len(self.loop.groups))
        plan = self._preview(lrs, self.state.options)
        with self.state.hold_trait_notifications():
            self.state.lrs = lrs
            self._show_plan(plan)
        self._picked = True

    def _take_recommendation(self) -> None:
        """Put `max_lr` where the advice says, unless the user has picked since the markers were last placed."""
        advice = self.state.advice
        if advice is not None and not self._picked and advice.recommended.lr is not None:
            self._set_lrs(scaled(self.state.lrs, advice.recommended.lr))
            self._picked = False

    def _preview(self, lrs: Sequence[float], options: RunOptions) -> Plan | None:
        """What a run would do; None while the loader does not say how long an epoch is.

        Raises:
            LRWidgetError: no plan can have these options.
        """
        return self._resolve(lrs, options, None, None, {}) if length(self.loop.train_dl) else None

    def _show_plan(self, plan: Plan | None) -> None:
        """Show what a run would do; while one trains, its own plan stays."""
        if self.state.phase is not Phase.TRAINING:
            self.state.plan = plan

    def _resolve(
        self, lrs: Sequence[float], shown: RunOptions, epochs: int | None, steps: int | None, options: dict[str, Any]
    ) -> Plan:
        if epochs is not None and steps is not None:
            raise InputError(f"Got epochs={epochs} and steps={steps}; expected one of them.")
        for name in options:
            if name not in PLAN_OPTIONS:
                unknown_option("a plan", name, PLAN_OPTIONS)
        epochs = _whole("epochs", shown.epochs if epochs is None else epochs, 1)
        freeze_epochs = _whole("freeze_epochs", options.get("freeze_epochs", shown.freeze_epochs), 0)
        per_epoch = steps_per_epoch(self.loop) if steps is None or freeze_epochs else 0
        freeze_steps = freeze_epochs * per_epoch
        given = {name: getattr(shown, name) for name in ("preset", "pct_start", "div", "div_final")}
        return one_cycle(
            lrs,
            (epochs * per_epoch if steps is None else steps) + freeze_steps,
            [group.name for group in self.loop.groups],
            freeze_steps=freeze_steps,
            **{**given, **{name: value for name, value in options.items() if name != "freeze_epochs"}},
        )


class Pace:
    """When to look at a running job, by the clock, and how long it will still take.

    Args:
        total: steps planned.
        clock: seconds, monotonic.
    """

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self._total = total
        self._clock = clock
        self._started = self._next = clock()

    def due(self) -> bool:
        """Whether a refresh interval has gone by since this last said so."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + REFRESH_S
        return True

    def progress(self, step: int, loss: float, lr: float) -> Progress:
        """How far it is after `step` steps."""
        spent = self._clock() - self._started
        left = spent / step * (self._total - step) if step else None
        return Progress(step=step, total=self._total, loss=loss, lr=lr, seconds_left=left)


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
        f" Epoch {best.epoch} was better; w.restore_best() returns to it."
        if best is not None and best is not last
        else ""
    )


def _failed(error: BaseException) -> dict[str, Any]:
    """What the state shows of an error that ended a job."""
    return {"failed": True, "message": _failure(error), "error": _traceback(error)}


def _failure(error: BaseException) -> str:
    """What an error says, with the notes that lrwidget has added to it."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return "\n".join([said, *getattr(error, "__notes__", ())])


def _traceback(error: BaseException) -> str:
    """Where in the user's own code it came from; an error of lrwidget's says all in its message."""
    return "" if isinstance(error, LRWidgetError) else "\n".join(told(error))
