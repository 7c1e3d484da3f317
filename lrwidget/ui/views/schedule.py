"""The plan over its steps: the LR of every group, momentum where it is cycled, the phases, and where a run is in it."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bqplot
import ipywidgets
import numpy as np
import numpy.typing as npt

from lrwidget.engine.words import format_lr
from lrwidget.look.axes import powers_between, round_ticks, with_peak
from lrwidget.look.colors import group_color
from lrwidget.look.schedule import last_step, lr_range, plan_steps, trained_lrs, wants_log
from lrwidget.ui.parts.palette import (
    FAINT,
    GRID,
    MESSAGE,
    TEXT,
    axis,
    close_all,
    figure,
    nothing,
    put,
    put_axis,
    put_together,
    unit_scale,
)
from lrwidget.ui.parts.view import View
from lrwidget.ui.views.phases import MARGIN, phase_strip

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan
    from lrwidget.state import LRState, Progress

MAX_POINTS = 200
"""Points of a line: one for every four pixels, and no corner of a schedule is left out."""

NO_PLAN = (
    "No schedule yet: the training loader does not tell its length, so nobody knows how many steps an epoch has. "
    "Enter run steps below, or call w.fine_tune(steps=500)."
)

LOG_HINT = "Learning rates on a logarithmic axis; by itself it is one when groups are more than a factor of 5 apart"


class SchedulePreview(View):
    """The schedule that a run would follow now, and while one trains, where it is.

    Args:
        numbers: what stands above the plot, where no curve can be.

    Attributes:
        view: the widget to show.
        figure: the chart in it.
        log_axis: whether LRs are on a log axis; what the user has chosen stays, before that the plan decides.
        watches: traits of the state that `render` reads.
    """

    watches = ("plan", "frozen", "phase", "progress")

    def __init__(self, numbers: ipywidgets.Widget) -> None:
        self._plan: Plan | None = None
        self._frozen: tuple[bool, ...] = ()
        self._log = False
        self._log_chosen: bool | None = None
        self._step = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        self._height = unit_scale()
        self._momentum = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        kinds: tuple[Any, ...] = (
            bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False),
            bqplot.LogScale(min=1e-5, max=1.0, allow_padding=False),
        )
        self._lr_axes = [axis(scale, "lr", side="left", visible=False, label_offset="44px") for scale in kinds]
        self._lr_lines = [self._line(scale, stroke_width=2.5) for scale in kinds]
        self._momentum_line = self._line(
            self._momentum, stroke_width=1.5, line_style="dashed", colors=[FAINT], opacities=[0.9]
        )
        self._phases = self._line(self._height, stroke_width=1, colors=[GRID])
        self._cursor = self._line(self._height, stroke_width=1.5, colors=[TEXT])
        # Without grid lines an axis has ticks, and its numbers stand lower.
        self._step_axis = axis(self._step, "optimizer step", grid_lines="none", label_offset="2.5em")
        self.figure = figure(
            [self._step_axis, *self._lr_axes],
            194,
            fig_margin={**MARGIN, "top": 6, "bottom": 44},
        )
        self.figure.marks = [self._phases, self._momentum_line, *self._lr_lines, self._cursor]
        self._phase_names = ipywidgets.HTML()
        self.log_axis = ipywidgets.Checkbox(
            description="log axis",
            tooltip=LOG_HINT,
            indent=False,
            layout=ipywidgets.Layout(width="auto", margin=f"0 {MARGIN['right']}px 0 8px"),
        )
        self.log_axis.observe(self._axis_chosen, "value")
        self._top = ipywidgets.HBox([numbers, self.log_axis], layout=ipywidgets.Layout(align_items="center"))
        self._missing = ipywidgets.HTML(f"<div style='{MESSAGE}'>{NO_PLAN}</div>")
        # The figure joins when there is a plan: bqplot measures a hidden figure as having no size.
        self.view = ipywidgets.VBox([])

    def render(self, state: "LRState") -> None:
        """Draw another plan, and where a run is in it; nothing is drawn again for the same one."""
        plan, now = state.plan, state.progress if state.phase == "training" else None
        if plan is not self._plan or state.frozen != self._frozen:
            self._plan, self._frozen = plan, state.frozen
            if plan is not None:
                self._draw(plan)
        put(self.view, children=(self._missing,) if plan is None else (self._top, self._phase_names, self.figure))
        self._show_now(now)

    def stream(self, state: "LRState") -> None:
        """Show where a run is; a sweep's progress is nothing to a schedule."""
        if state.phase == "training":
            self._show_now(state.progress)

    def close(self) -> None:
        """Let go of the browser's copies."""
        close_all(self.view, self._top, self._phase_names, self.figure, self._missing)

    def _axis_chosen(self, change: Any) -> None:
        # What `_draw` writes comes by here too, and is nobody's choice.
        if change["new"] == self._log:
            return
        self._log_chosen = change["new"]
        if self._plan is not None:
            self._draw(self._plan)

    def _draw(self, plan: "Plan") -> None:
        step_S = plan_steps(plan, MAX_POINTS)
        self._log = wants_log(plan) if self._log_chosen is None else self._log_chosen
        put(self.log_axis, value=self._log)
        last = float(max(1, plan.total_steps - 1))
        put_axis(self._step_axis, round_ticks(0, last, 8), max=last)
        self._draw_lrs(plan, step_S, self._log)
        self._draw_momentum(plan, step_S)
        between = np.array([(step, step) for step, _ in plan.boundaries() if step > 0])
        put_together(self._phases, x=between, y=np.array([(0.0, 1.0)] * len(between)))
        put(self._phase_names, value=phase_strip(plan, last))

    def _show_now(self, progress: "Progress | None") -> None:
        if progress is None or self._plan is None:
            put_together(self._cursor, x=nothing(), y=nothing())
        else:
            step = float(last_step(self._plan, progress.step))
            put_together(self._cursor, x=np.array([step, step]), y=np.array([0.0, 1.0]))

    def _draw_lrs(self, plan: "Plan", step_S: npt.NDArray[np.int64], log: bool) -> None:
        lr_SG = trained_lrs(plan, step_S, self._frozen)
        lowest, highest = lr_range(lr_SG, log)
        top = highest * (highest / lowest) ** 0.06 if log else 1.06 * highest
        for kind, (lr_axis, lines) in enumerate(zip(self._lr_axes, self._lr_lines, strict=True)):
            shown = kind == int(log)
            put(lr_axis, visible=shown)
            if not shown:
                put_together(lines, x=nothing(), y=nothing())
                continue
            marks = powers_between(lowest, top, 5) if log else round_ticks(0, highest, 4)
            # What was picked, though the steps may miss it by a little.
            trained = [lr for lr, still in zip(plan.max_lrs, self._frozen, strict=False) if not still]
            marks = with_peak(marks, max(trained or plan.max_lrs), apart(lowest, top, log))
            put_axis(lr_axis, marks, format_lr, min=lowest, max=top)
            # A line without a point is an error in the browser.
            drawn = np.flatnonzero(np.isfinite(lr_SG).any(axis=0))
            y = np.maximum(lr_SG[:, drawn].T, lowest) if len(drawn) else nothing()
            put_together(
                lines,
                x=step_S.astype(float) if len(drawn) else nothing(),
                y=y,
                colors=[group_color(group, lr_SG.shape[1]) for group in drawn.tolist()] or [TEXT],
            )

    def _draw_momentum(self, plan: "Plan", step_S: npt.NDArray[np.int64]) -> None:
        if plan.cycles[0].momentum is None:
            put_together(self._momentum_line, x=nothing(), y=nothing())
            return
        # Momentum is cycled for all groups alike.
        momentum_S = plan.momentum_at(step_S)[:, 0]
        low, high = float(momentum_S.min()), float(momentum_S.max())
        spare = 0.25 * (high - low) or 0.05
        put_together(self._momentum, min=low - spare, max=high + spare)
        put_together(self._momentum_line, x=step_S.astype(float), y=momentum_S)

    def _line(self, scale: Any, **style: Any) -> Any:
        return bqplot.Lines(x=[], y=[], scales={"x": self._step, "y": scale}, **style)


def apart(low: float, high: float, log: bool) -> Callable[[float, float], float]:
    """How far two values are from each other on an axis from `low` to `high`, as a share of it."""
    if log:
        return lambda a, b: math.log(a / b) / math.log(high / low)
    return lambda a, b: (a - b) / (high - low)
