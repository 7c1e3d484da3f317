"""`LRWidget`: the views around a session, and the names a user types."""

import difflib
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import ipywidgets
import torch

from lrwidget.engine.errors import LRWidgetError, in_one_line, known_options
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.loops.protocols import Loader, LossFn, LossStep, Metric, OptimizerLike, TrainStep
from lrwidget.engine.loops.step import Amp
from lrwidget.engine.picking import Pick
from lrwidget.engine.plans.plan import Plan
from lrwidget.engine.runs.fit import RunPoint, ignore
from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.sweeps.curve import LossCurve
from lrwidget.engine.sweeps.suggest import Advice
from lrwidget.engine.words import format_lr
from lrwidget.session.jobs import Job
from lrwidget.session.session import Session
from lrwidget.state import KeptSweep, LRState
from lrwidget.ui.chart.chart import LossChart
from lrwidget.ui.files import history_file, picture_file
from lrwidget.ui.notebook import cells, kernel
from lrwidget.ui.notebook.closed import check_open, is_closed, let_go
from lrwidget.ui.notebook.picture import Picture, curve_picture, run_picture
from lrwidget.ui.parts.bind import bind
from lrwidget.ui.parts.palette import close_all, hidden
from lrwidget.ui.parts.panel import Panel
from lrwidget.ui.parts.style import CHARTS
from lrwidget.ui.views.exports import Exports
from lrwidget.ui.views.group_table import GroupTable
from lrwidget.ui.views.pick_bar import PickBar
from lrwidget.ui.views.run_controls import RunControls
from lrwidget.ui.views.runs import RunChart
from lrwidget.ui.views.schedule import SchedulePreview
from lrwidget.ui.views.schedule_numbers import ScheduleNumbers
from lrwidget.ui.views.status import StatusLine
from lrwidget.ui.views.sweeps import SweepList
from lrwidget.ui.views.toolbar import Toolbar
from lrwidget.ui.words import in_words

if TYPE_CHECKING:
    import os

ROOT_CLASS = "lrwidget"
"""CSS class of everything the widget shows."""

A = TypeVar("A")


@known_options
def attach(
    model: Any,
    optimizer: OptimizerLike | Sequence[OptimizerLike],
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
) -> "LRWidget":
    """A widget for a training loop; showing it, or leaving it as the last line of a cell, is enough.

    The arguments are those of `lrwidget.engine.loops.loop.Loop`. Nothing is changed and nothing runs until a sweep or a
    run is started.
    """
    loop = Loop(
        model,
        optimizer,
        train_dl,
        loss_fn,
        valid_dl=valid_dl,
        loss_step=loss_step,
        train_step=train_step,
        amp=amp,
        scaler=scaler,
        accumulate=accumulate,
        clip_grad_norm=clip_grad_norm,
        also=also,
        metrics=metrics,
        names=names,
        set_lrs=set_lrs,
    )
    return LRWidget(loop)


class LRWidget:
    """A learning-rate finder for one training loop: sweep, pick, train.

    Made by `lrwidget.attach` or `%lrfind`. What the buttons do, these methods do too; both act on the same session.

    Args:
        loop: the training loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._session = session = Session(loop, launch=self._launch)
        self._chart = LossChart(
            on_pick_max=self._told(session.pick_max),
            on_drag=self._told(lambda index, lr: session.pick_group(index, lr, dragging=True)),
            on_drop=self._told(self._drop),
            on_take_back=self._told(session.undo),
            on_reset=self._told(session.reset_pick),
            clicked_at=kernel.told_at,
        )
        self._picks = PickBar(
            on_undo=self._told(session.undo),
            on_redo=self._told(session.redo),
            on_reset=self._told(session.reset_pick),
            on_together=self._told(session.set_together),
        )
        self._sweeps = SweepList(
            on_choose=self._told(session.choose_sweep),
            on_rename=session.rename_sweep,
            on_remove=self._told(session.remove_sweep),
        )
        self._status = StatusLine()
        self._runs = RunChart(on_restore=self._told(self._restore_pressed))
        self._controls = RunControls(
            on_fine_tune=self._fine_tune_pressed,
            on_options=session.set_options,
            on_copy_code=self._told(self.code),
            code_of=session.code_of,
        )
        self._toolbar = Toolbar(
            on_sweep=self._sweep_pressed,
            on_stop=self._told(session.stop),
            on_pause=self._told(lambda pause: session.pause() if pause else session.resume()),
        )
        self._groups = GroupTable(on_lr=session.pick_group, on_name=session.rename_group, on_freeze=session.freeze)
        exports = Exports(
            on_picture=self._told(lambda what, kind: picture_file(self.state, what, kind)),
            on_history=self._told(lambda kind: history_file(self.state, kind)),
        )
        numbers = ScheduleNumbers()
        rows = (
            self._toolbar,
            self._chart,
            self._picks,
            self._groups,
            self._sweeps,
            SchedulePreview(numbers.view),
            self._controls,
            self._runs,
            exports,
            self._status,
        )
        self._views = (*rows, numbers)
        self._run_views: list[ipywidgets.Widget] = []
        self._style = hidden(CHARTS)
        self._view = ipywidgets.VBox([*(row.view for row in rows), self._style])
        self._view.add_class(ROOT_CLASS)
        kernel.enable(self._view)
        self._picture = Picture(lambda: curve_picture(self.state), self._when_over)
        self._run_picture = Picture(lambda: run_picture(self.state), self._when_over)
        self._binding = bind(self.state, self._views, on_error=self._failed)
        self.state.observe(self._picture.outdated, ["curve", "lrs", "phase"])
        self.state.observe(self._run_picture.outdated, ["history", "phase"])

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse names that do not exist, because `w.maxlr = 3e-3` would pick nothing and say nothing."""
        if not name.startswith("_") and not hasattr(type(self), name):
            near = difflib.get_close_matches(name, ("max_lr", "lrs", "slice"), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"Got w.{name} = ...; what can be assigned is max_lr, lrs and slice.{hint}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        lrs = ", ".join(f"{group.name} {format_lr(lr)}" for group, lr in zip(self.state.groups, self.lrs, strict=True))
        phase = "closed" if is_closed(self._session) else self.state.phase
        return f"<LRWidget {self.state.title}: {phase}; {lrs}>"

    @property
    def view(self) -> ipywidgets.Widget:
        """The ipywidget itself, to be put into a layout of one's own."""
        return self._view

    # What was picked -----------------------------------------------------------------------------------------------

    @property
    def max_lr(self) -> float:
        """LR of the fastest group. Assigning moves all markers, and keeps the ratios between groups."""
        return float(max(self.lrs))

    @max_lr.setter
    def max_lr(self, lr: float) -> None:
        self._session.pick_max(lr)

    @property
    def lrs(self) -> tuple[float, ...]:
        """One LR per group, in optimizer order. Assignable: one per group, a slice, or one for all."""
        return tuple(self.state.lrs)

    @lrs.setter
    def lrs(self, lrs: Pick) -> None:
        self._session.pick(lrs)

    @property
    def slice(self) -> "slice[float, float, None]":
        """`slice(first group's LR, last group's LR)`, in fastai's meaning; assigning spreads the groups over it."""
        return slice(self.lrs[0], self.lrs[-1])

    @slice.setter
    def slice(self, bounds: Pick) -> None:
        self._session.pick(bounds)

    def reset(self) -> None:
        """Markers back to the recommendation of the chosen sweep; without one, to the optimizer's own LRs."""
        self._session.reset_pick()

    def undo(self) -> None:
        """Take the last pick back, a whole drag at once; without one, nothing happens."""
        self._session.undo()

    def redo(self) -> None:
        """Take an undone pick again; without one, nothing happens."""
        self._session.redo()

    # What was found ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> LRState:
        """All that the screen shows; observe it, but leave writing it to the widget."""
        return self._session.state

    @property
    def curve(self) -> LossCurve | None:
        """The points of the running sweep so far, or of the chosen one; None before the first."""
        return self.state.curve

    @property
    def sweeps(self) -> tuple[KeptSweep, ...]:
        """All sweeps on the screen, oldest first, each with `name`, `curve` and `advice`."""
        return tuple(self.state.sweeps)

    @property
    def advice(self) -> Advice | None:
        """Every rule's suggestion for the last sweep; None before one has ended."""
        return self.state.advice

    @property
    def history(self) -> History | None:
        """The last run, or the one that is under way; None before the first."""
        return self.state.history

    # What can be done ----------------------------------------------------------------------------------------------

    def sweep(self, **changes: Any) -> None:
        """Start a range test.

        Args:
            **changes: `start_lr`, `end_lr`, `num_steps`, `mode`, `smoothing`, `diverge_ratio`; what is left out is as
                on the screen, or in the last sweep. See `lrwidget.engine.sweeps.sweep.SweepConfig`. And for this sweep
                alone: `verify=True` proves afterwards that all was given back, `snapshot="cpu"` keeps the copies there.

        In a notebook this returns at once when it ends a cell, and the next cell waits until the model has been given
        back. Elsewhere it returns when the sweep is over.
        """
        self._session.sweep(**{**self._toolbar.entered, **changes})

    def stop(self) -> None:
        """End the running sweep or run at its next step; without one, nothing happens."""
        self._session.stop()

    def pause(self) -> None:
        """Let the running sweep or run wait at its next step, with the model, until `resume()` or `stop()`."""
        self._session.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._session.resume()

    def wait(self, timeout: float | None = None) -> None:
        """Return when nothing runs any more.

        Raises:
            Exception: what the user's own code raised in the job.
            TimeoutError: after `timeout` seconds.
        """
        if self._session.job is not None:
            self._session.job.wait(timeout)

    def split(self, n: int = 3, *, by: Any = None, per_layer: bool = False) -> None:
        """A marker for every group of layers: regroup the attached optimizer, in place and with its state.

        For an optimizer made from `model.parameters()`. `w.unsplit()` puts its own groups back exactly.

        Args:
            n: how many groups from stem to head; default 3.
            by: the layers of each group by name, as a mapping, or a function of the model; see
                `lrwidget.layer_groups`.
            per_layer: a group for every layer, so that LRs rise inside each part, too.
        """
        self._session.split(n, by=by, per_layer=per_layer)

    def unsplit(self) -> None:
        """Undo `split`: the optimizer's own group dicts again, in their order."""
        self._session.unsplit()

    def plan(self, epochs: int | None = None, *, steps: int | None = None, **options: Any) -> Plan:
        """The pick as a plan, a frozen value: what `fine_tune` with the same arguments would do.

        Args:
            epochs: passes over `train_dl`; default: what the screen says.
            steps: optimizer steps, in place of epochs; needed when the loader has no length.
            **options: of `lrwidget.one_cycle`, in place of what the screen says: `preset`, `pct_start`, `div`,
                `div_final`, `momentum`, `anneal`, `phases`; and `freeze_epochs`.
        """
        return self._session.plan(epochs, steps=steps, **options)

    def code(self, epochs: int | None = None, *, steps: int | None = None, **options: Any) -> str:
        """A training loop in plain PyTorch that does what the screen says, without lrwidget.

        It has the accumulation, clipping and amp of this widget's loop; `loss_step` and `train_step` are called by
        these names. The arguments are those of `plan`.
        """
        return self._session.code(epochs, steps=steps, **options)

    def fine_tune(
        self,
        epochs: int | None = None,
        *,
        steps: int | None = None,
        keep_best: bool = True,
        patience: int | None = None,
        on_step: Callable[[RunPoint], object] = ignore,
        on_epoch: Callable[[EpochPoint], object] = ignore,
        checkpoint_dir: "str | os.PathLike[str] | None" = None,
        checkpoint_every: int | None = None,
        **options: Any,
    ) -> None:
        """Train with exactly what is on the screen; the arguments are those of `plan`, and of `lrwidget.fit`.

        Returns as `sweep` does; `w.history` has every step and epoch.

        Args:
            epochs: passes over `train_dl`; default: what the screen says.
            steps: optimizer steps, in place of epochs; needed when the loader has no length.
            keep_best: keep a copy of the weights for `w.restore_best()`: of the epoch with the lowest validation loss,
                without `valid_dl` of the last whole epoch. Default True; costs the memory of the weights.
            patience: stop when this many epochs in a row have not brought a lower validation loss.
            on_step: called with a `RunPoint` after every optimizer step, on the thread that trains.
            on_epoch: called with an `EpochPoint` after every epoch, likewise.
            checkpoint_dir: a folder for the last two checkpoints, from which `lrwidget.resume` goes on after a kill.
            checkpoint_every: optimizer steps between two of them.
            **options: of `plan`.
        """
        self._session.fine_tune(
            epochs,
            steps=steps,
            keep_best=keep_best,
            patience=patience,
            on_step=on_step,
            on_epoch=on_epoch,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
            on_start=self._show_run,
            **options,
        )

    def restore_best(self) -> EpochPoint | None:
        """Put the weights of the last run's best epoch into the model; that epoch, or None when none was kept."""
        return self._session.restore_best()

    def close(self) -> None:
        """Stop what runs, take the widget and all its views off the screen, and let go of all that is yours.

        What was found can still be read: the curves, the picked LRs, the history. A cell that runs again closes the
        widget that it showed before.
        """
        self._session.stop()
        self._session = let_go(self._session)
        self._binding.close()
        self.state.unobserve_all()
        for view in self._views:
            view.close()
        close_all(*self._run_views, self.view)

    # How it is shown -----------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Display the widget here, with a picture behind it that stays when there is no kernel; in a script, in words.

        Raises:
            LRWidgetError: it was closed.
        """
        check_open(self._session)
        cells.shown(self)
        title = f"lrwidget: {self.state.title}"  # in a notebook, what stays true of it
        self._picture.show_behind(self.view, in_words(self.state) if kernel.current_kernel() is None else title)

    def _ipython_display_(self) -> None:
        if is_closed(self._session):
            raise NotImplementedError  # asks IPython for the repr instead
        if not self._picture.was_shown_in_this_cell():
            self.show()

    def _show_run(self) -> None:
        if kernel.in_cell():
            view = self._run_view()
            cells.shown(view)
            self._run_picture.show_behind(view, "training")

    def _run_view(self) -> ipywidgets.Widget:
        """The part of the screen that matters while training, to be shown under the cell that started it."""
        # With the style sheet: it can be on a page without the rest (VS Code, Colab).
        view = Panel([self._toolbar.view, self._runs.view, self._status.view, self._style])
        view.add_class(ROOT_CLASS)
        self._run_views.append(view)
        return view

    def _told(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a view: what goes wrong is shown in the status line, because nobody is there to catch it."""

        @wraps(act)
        def tell(*args: Any) -> Any:
            try:
                return act(*args)
            except LRWidgetError as error:
                self.state.failed, self.state.error = True, ""
                self.state.message = in_one_line(error)
                return None

        return tell

    def _launch(self, job: Job[Any]) -> None:
        kernel.launch(job, seen_only_in=partial(cells.shown_only_in, self))

    def _when_over(self, act: Callable[[], object]) -> None:
        """Do something when nothing runs: now, or at the end of the running job, on its thread."""
        job = self._session.job
        if job is None:
            act()
        else:
            job.when_over(act)

    def _drop(self, index: int, lr: float) -> None:
        self._session.pick_group(index, lr)
        # What had to wait while the pointer held the marker, though the LR was told before it was let go.
        self._binding.redraw(self._chart)
        self._picture.outdated()

    def _sweep_pressed(self, start_lr: float, end_lr: float, num_steps: int, mode: str) -> None:
        self._session.sweep(start_lr=start_lr, end_lr=end_lr, num_steps=num_steps, mode=mode)

    def _fine_tune_pressed(self) -> None:
        if not self._groups.note.just_refused:
            self._session.fine_tune()

    def _restore_pressed(self) -> None:
        kernel.check_no_cell_runs("the best weights")
        self._session.restore_best()

    def _failed(self, error: Exception) -> None:
        self.state.error = f"A part of the screen could not be drawn ({type(error).__name__}: {error})."
