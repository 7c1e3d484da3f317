"""The controller: starts and stops jobs, takes picks, and is the only writer of the state."""

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from lrwidget.engine.errors import BusyError, unknown_option
from lrwidget.engine.loops.layers import layer_groups
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.picking import Pick, resolve_lrs
from lrwidget.engine.plans.plan import Plan
from lrwidget.engine.runs.ending import where
from lrwidget.engine.runs.fit import Run, RunPoint, ignore
from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.sweeps.curve import LossCurve
from lrwidget.engine.sweeps.suggest import Advice
from lrwidget.engine.sweeps.sweep import Sweep, SweepConfig
from lrwidget.session.job_control import JobControl
from lrwidget.session.jobs import Job, Launcher, run_inline
from lrwidget.session.kept_sweeps import KeptSweeps
from lrwidget.session.messages import AS_BEFORE, NEXT_RUNS, START
from lrwidget.session.on_screen import OnScreen, RunOnScreen, SweepOnScreen
from lrwidget.session.picks import Picked, Picks, positive, usable
from lrwidget.session.planning import preview, program, resolve, taken_over
from lrwidget.session.screen import Changes, Screen
from lrwidget.state import KeptSweep, LRState, Phase, RunOptions

if TYPE_CHECKING:
    import os

T = TypeVar("T")


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
        self.state = LRState(groups=loop.groups, title=_title(loop), config=SweepConfig(), options=RunOptions())
        self._clock = clock
        self._screen = Screen(self.state)
        self._lock = self._screen.lock
        self._jobs = JobControl(self._screen, launch)
        self._picks = Picks(usable(loop.lrs()))
        self._sweeps_done = 0
        self._run: Run | None = None
        self.state.message = START
        self._show_pick()

    @property
    def job(self) -> Job[Any] | None:
        """The last job that was started, whether it runs or is over."""
        return self._jobs.job

    # Picking -------------------------------------------------------------------------------------------------------

    def pick(self, pick: Pick) -> None:
        """Set the LR of every group: one for all, a slice, or one per group."""
        with self._lock:
            self._take(Picked(lrs=resolve_lrs(pick, len(self.loop.groups))))

    def pick_max(self, lr: float) -> None:
        """Move all markers together so that the fastest group's is at `lr`."""
        with self._lock:
            self._take(self._picks.scaled(positive(lr)))

    def pick_group(self, index: int, lr: float, *, dragging: bool = False) -> None:
        """Move one group's marker, and others with it: see `Picks.moved`.

        Args:
            index: which group, in optimizer order.
            lr: where to.
            dragging: more of the same drag will follow; the last one comes without.
        """
        with self._lock:
            moved = self._picks.moved(index, positive(lr), together=self.state.together)
            self._take(moved, dragging=dragging)

    def reset_pick(self) -> None:
        """Back to the recommendation of the chosen sweep, or to the optimizer's own LRs without one."""
        with self._lock:
            own = Picks(usable([group.lr for group in self.loop.groups]))
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
        self._jobs.between_jobs(name, change)
        self._show_groups()

    def _show_groups(self) -> None:
        """Show other groups than before, and a pick for them, whose fastest is as fast as it was picked."""
        with self._lock, self.state.hold_trait_notifications():
            lrs = usable(self.loop.lrs())
            scale = max(self.state.lrs) / max(lrs) if self.state.lrs else 1.0
            self.state.frozen = ()
            self.state.groups = self.loop.groups
            self.state.title = _title(self.loop)
            self._picks = Picks(tuple(lr * scale for lr in lrs))
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
            self._show_kept(self._kept().choosing(index))

    def remove_sweep(self, index: int) -> None:
        """Keep a sweep no longer; when it was the chosen one, the last of the others is."""
        with self._lock:
            before = self._kept()
            kept = before.without(index)
            with self.state.hold_trait_notifications():
                self.state.chosen, self.state.sweeps = None, kept.sweeps
                if before.chosen == index:
                    self._show_kept(kept)
                else:
                    self.state.chosen = kept.chosen

    def rename_sweep(self, index: int, name: str) -> None:
        """Call a kept sweep something else."""
        with self._lock:
            self.state.sweeps = self._kept().renamed(index, name).sweeps

    def _kept(self) -> KeptSweeps:
        """The kept sweeps; they stand still while another one runs."""
        if self.state.phase is Phase.SWEEPING:
            raise BusyError("Got a request for a kept sweep while another one runs; expected to wait for its end.")
        return KeptSweeps(self.state.sweeps, self.state.chosen)

    def _show_kept(self, kept: KeptSweeps) -> None:
        shown = kept.shown
        ended = "" if shown is None else f"{shown.curve.note} {AS_BEFORE}"
        self._screen.show(
            chosen=kept.chosen,
            curve=shown and shown.curve,
            advice=shown and shown.advice,
            sweep_message=ended,
            message=ended or START,
            failed=False,
            error="",
        )
        self._take_recommendation()

    def _keep(self, curve: LossCurve, advice: Advice) -> Changes:
        """What the state shows of one more sweep; one without points is not worth keeping."""
        if not len(curve):
            return {}
        self._sweeps_done += 1
        new = KeptSweep(name=f"sweep {self._sweeps_done}", curve=curve, advice=advice)
        kept = KeptSweeps(self.state.sweeps).with_new(new)
        return {"sweeps": kept.sweeps, "chosen": kept.chosen}

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
            return self._resolve(epochs, steps, options)

    def code(self, epochs: int | None = None, *, steps: int | None = None, **options: Any) -> str:
        """The plan as a program in plain PyTorch, with the steps of this loop; the arguments are those of `plan`."""
        return self.code_of(self.plan(epochs, steps=steps, **options))

    def code_of(self, plan: Plan) -> str:
        """Any plan as such a program."""
        return program(plan, self.loop)

    def _resolve(self, epochs: int | None, steps: int | None, options: dict[str, Any]) -> Plan:
        state = self.state
        return resolve(self.loop, state.lrs, state.frozen, state.options, epochs=epochs, steps=steps, **options)

    def _preview(
        self,
        *,
        lrs: Sequence[float] | None = None,
        frozen: Sequence[bool] | None = None,
        options: RunOptions | None = None,
    ) -> Plan | None:
        """What a run would do with these in place of what the screen says; None while no epoch has a length.

        Raises:
            LRWidgetError: no plan can be so.
        """
        state = self.state
        return preview(
            self.loop,
            state.lrs if lrs is None else lrs,
            state.frozen if frozen is None else frozen,
            state.options if options is None else options,
        )

    def _show_plan(self, plan: Plan | None) -> None:
        """Show what a run would do; while one trains, its own plan stays, and that is said."""
        if self.state.phase is Phase.TRAINING:
            self.state.message, self.state.failed, self.state.error = NEXT_RUNS, False, ""
        else:
            self.state.plan = plan

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
        sweep = SweepOnScreen(Sweep(self.loop, config, snapshot=snapshot, verify=verify), self._keep)
        return self._start(sweep)

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
        on_start: Callable[[], object] = lambda: None,
        **options: Any,
    ) -> Job[History]:
        """Start a training with exactly the plan that `plan()` gives for the same arguments.

        What is not of the plan is as in `lrwidget.fit`; `keep_best` keeps the weights for `restore_best()`. `on_start`
        is called when nothing that was asked for can be refused any more.
        """
        with self._lock:
            plan = self._resolve(epochs, steps, options)
            shown = taken_over(self.loop, self.state.options, epochs, steps, options)
        run = Run(
            self.loop,
            plan,
            keep_best=keep_best,
            patience=patience,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
        )

        def train(job: Job[History]) -> History:
            self._run = run
            return self._work(job, on_screen)

        on_screen = RunOnScreen(run, on_step, on_epoch)
        on_start()
        return self._start(on_screen, train, options=shown)

    def pause(self) -> None:
        """Ask the running job to wait at its next step boundary, and keep the model; without one, nothing happens.

        Raises:
            InputError: the job runs in the calling thread, where nothing could end the pause.
        """
        self._jobs.pause()

    def resume(self) -> None:
        """Let a paused job go on; without one, nothing happens."""
        self._jobs.resume()

    def stop(self, *, interrupted: bool = False) -> None:
        """Ask the running job to end at its next step boundary; without one, nothing happens."""
        self._jobs.stop(interrupted=interrupted)

    def restore_best(self) -> EpochPoint | None:
        """Put the weights of the last run's best epoch into the model; None when there is none.

        Raises:
            BusyError: a job is running.
        """
        run = self._run
        epoch = self._jobs.between_jobs(
            "return to the best weights", lambda: None if run is None else run.restore_best()
        )
        if epoch is None:
            message = "No weights were kept; fine_tune(keep_best=True) keeps them."
        else:
            message = f"The model has the weights of {where(epoch)} again."
        self._screen.show(message=message, failed=False, error="")
        return epoch

    def let_go(self, instead: Any) -> None:
        """Forget all that is the user's, as soon as the running job has given it back.

        Args:
            instead: what takes the loop's place, and answers whatever is asked of it.
        """

        def forget() -> None:
            self.loop, self._run = instead, None

        self._jobs.let_go(forget)

    def _start(self, on_screen: OnScreen[T], work: Callable[[Job[T]], T] | None = None, **shown: Any) -> Job[T]:
        """Start a job, and show that it has begun."""
        job = Job(on_screen.name, work or (lambda job: self._work(job, on_screen)))
        return self._jobs.start(job, {**on_screen.begins(), **shown}, self._end)

    def _work(self, job: Job[T], on_screen: OnScreen[T]) -> T:
        """What a job does, on its own thread."""
        try:
            result = on_screen.work(job, self._screen.show, self._clock)
        except BaseException as error:
            self._end(job, **on_screen.failed(error))
            raise
        self._end(job, **on_screen.ended(result))
        return result

    def _end(self, job: Job[Any], **changes: Any) -> None:
        """End a job, and have everything on the screen ready for the next one."""

        def settle() -> None:
            if self.state.phase is Phase.SWEEPING:
                self._take_recommendation()

        with self._lock:
            self._jobs.end(job, settle, changes)
            if self.loop.look_again():  # the user's own code may have added some while it trained
                self._show_groups()
            # What was picked or chosen during a run is the next one's.
            self._screen.show(plan=self._preview())

    # The pick on the screen ----------------------------------------------------------------------------------------

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


def _title(loop: Loop) -> str:
    count = len(loop.groups)
    trainers = " + ".join(type(optimizer).__name__ for optimizer in loop.optimizers)
    parts = [type(loop.model).__name__, trainers, f"{count} group{'s' if count > 1 else ''}"]
    return " · ".join(part for part in parts if part)
