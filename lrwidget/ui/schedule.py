"""The plan over its steps: the LR of every group, momentum where it is cycled, and where the phases begin."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bqplot
import numpy as np
import numpy.typing as npt

from lrwidget.look import (
    format_lr,
    group_color,
    lr_range,
    phase_names,
    plan_steps,
    powers_between,
    round_ticks,
    trained_lrs,
    wants_log,
    with_peak,
)
from lrwidget.ui.palette import (
    FAINT,
    GRID,
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

if TYPE_CHECKING:
    from lrwidget.engine.plan import Plan
    from lrwidget.state import LRState

MAX_POINTS = 200
"""Points of a line: one for every four pixels, and no corner of a schedule is left out."""


class SchedulePreview:
    """The schedule that a run would follow now.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
    """

    watches = ("plan",)

    def __init__(self) -> None:
        self._plan: Plan | None = None
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
        # Said at the line and not by an axis on the right, for which the plot would end before those above and below.
        self._momentum_says = bqplot.Label(
            x=[],
            y=[],
            text=[],
            scales={"x": self._step, "y": self._momentum},
            colors=[TEXT],
            default_size=11,
            font_weight="normal",
            x_offset=5,
            y_offset=-9,
        )
        self._phases = self._line(self._height, stroke_width=1, colors=[GRID])
        self._phase_names = bqplot.Label(
            x=[],
            y=[],
            text=[],
            scales={"x": self._step, "y": self._height},
            colors=[TEXT],
            default_size=11,
            font_weight="normal",
            x_offset=5,
        )
        # Without grid lines an axis has ticks, and its numbers stand lower.
        self._step_axis = axis(self._step, "optimizer step", grid_lines="none", label_offset="2.5em")
        self.view = figure(
            [self._step_axis, *self._lr_axes],
            204,
            fig_margin={"top": 8, "bottom": 44, "left": 58, "right": 14},
        )
        self.view.marks = [self._phases, self._momentum_line, *self._lr_lines, self._momentum_says, self._phase_names]

    def render(self, state: "LRState") -> None:
        """Draw another plan; nothing is done for the same one."""
        plan = state.plan
        if plan is self._plan:
            return
        self._plan = plan
        put(self.view.layout, display="none" if plan is None else "")
        if plan is not None:
            self._draw(plan)

    def close(self) -> None:
        """Let go of the browser's copies."""
        close_all(self.view)

    def _draw(self, plan: "Plan") -> None:
        step_S = plan_steps(plan, MAX_POINTS)
        log = wants_log(plan)
        last = float(max(1, plan.total_steps - 1))
        put_axis(self._step_axis, round_ticks(0, last, 8), max=last)
        self._draw_lrs(plan, step_S, log)
        self._draw_momentum(plan.momentum_at(step_S), step_S)
        between = np.array([(step, step) for step, _ in plan.boundaries() if step > 0])
        named = phase_names(plan)
        put_together(self._phases, x=between, y=np.array([(0.0, 1.0)] * len(between)))
        put_together(
            self._phase_names,
            x=np.array([step for step, _ in named]),
            y=np.full(len(named), 0.93),
            text=np.array([name for _, name in named]),
        )

    def _draw_lrs(self, plan: "Plan", step_S: npt.NDArray[np.int64], log: bool) -> None:
        lr_SG = trained_lrs(plan, step_S)
        lowest, highest = lr_range(lr_SG, log)
        # Room above the peak for the names of the phases.
        top = highest * (highest / lowest) ** 0.2 if log else 1.2 * highest
        for kind, (lr_axis, lines) in enumerate(zip(self._lr_axes, self._lr_lines, strict=True)):
            shown = kind == int(log)
            put(lr_axis, visible=shown)
            if not shown:
                put_together(lines, x=nothing(), y=nothing())
                continue
            marks = powers_between(lowest, top, 5) if log else round_ticks(0, highest, 4)
            # What was picked, though the steps may miss it by a little.
            marks = with_peak(marks, max(plan.max_lrs), apart(lowest, top, log))
            put_axis(lr_axis, marks, format_lr, min=lowest, max=top)
            put(lines, colors=[group_color(group) for group in range(plan.n_groups)])
            put_together(lines, x=step_S.astype(float), y=np.maximum(lr_SG.T, lowest))

    def _draw_momentum(self, momentum_SG: npt.NDArray[np.float64], step_S: npt.NDArray[np.int64]) -> None:
        cycled = np.isfinite(momentum_SG).all(axis=0)
        if not cycled.any():
            for mark in (self._momentum_line, self._momentum_says):
                put_together(mark, x=nothing(), y=nothing())
            return
        # Momentum is cycled for all groups alike.
        momentum_S = momentum_SG[:, int(cycled.argmax())]
        low, high = float(momentum_S.min()), float(momentum_S.max())
        spare = 0.25 * (high - low) or 0.05
        # More room above, where the phases have their names.
        put_together(self._momentum, min=low - spare, max=high + 2.5 * spare)
        put_together(self._momentum_line, x=step_S.astype(float), y=momentum_S)
        lowest = int(momentum_S.argmin())
        put_together(
            self._momentum_says,
            x=step_S[[0, lowest]].astype(float),
            y=momentum_S[[0, lowest]],
            text=np.array([f"momentum {momentum_S[0]:.3g}", f"{low:.3g}"]),
        )

    def _line(self, scale: Any, **style: Any) -> Any:
        return bqplot.Lines(x=[], y=[], scales={"x": self._step, "y": scale}, **style)


def apart(low: float, high: float, log: bool) -> Callable[[float, float], float]:
    """How far two values are from each other on an axis from `low` to `high`, as a share of it."""
    if log:
        return lambda a, b: math.log(a / b) / math.log(high / low)
    return lambda a, b: (a - b) / (high - low)
