"""A run as it goes: training loss by step, validation loss by epoch, the plan's phases, and a table of the epochs."""

import html
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import bqplot
import ipywidgets
import numpy as np

from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.sweeps.thinning import thin
from lrwidget.look.axes import round_ticks
from lrwidget.look.losses import run_range
from lrwidget.look.numbers import format_loss
from lrwidget.ui.parts.loss_lines import LIVE_POINTS, MAX_POINTS, LossLines
from lrwidget.ui.parts.palette import (
    FAINT,
    GRID,
    MESSAGE,
    PICKED,
    TEXT,
    axis,
    button,
    close_all,
    figure,
    nothing,
    put,
    put_axis,
    put_together,
    unit_scale,
)
from lrwidget.ui.parts.settling import SettlingRange
from lrwidget.ui.parts.view import View
from lrwidget.ui.views.phases import MARGIN, phase_strip

if TYPE_CHECKING:
    from lrwidget.engine.runs.history import EpochPoint, History
    from lrwidget.state import LRState

BEYOND = 20.0
"""How far outside the plot a line is drawn that leaves it, in heights of the plot: it looks upright there."""

RESTORE = "Put the weights of epoch {epoch}, the best one, into the model"


class RunChart(View):
    """The run so far, or the last one; nothing before the first.

    Args:
        on_restore: called when Best weights is pressed, which is there when a run is over that ended worse than it was.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
    """

    watches = ("history", "keeps_best", "run_message", "phase", "validating")

    def __init__(self, *, on_restore: Callable[[], object] = lambda: None) -> None:
        self._history: History | None = None
        self._settling = SettlingRange()
        self._step = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        self._loss = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        scales = {"x": self._step, "y": self._loss}
        self._train = LossLines(scales, 2.5)
        self._validated = nothing(), nothing()
        # Its last point is on the right edge. What is higher than the axis is none of the line's: a mark says there is.
        self._valid = bqplot.Lines(
            x=[],
            y=[],
            scales=scales,
            colors=[PICKED],
            stroke_width=2,
            marker="circle",
            marker_size=48,
            apply_clip=False,
        )
        self._above = bqplot.Scatter(
            x=[], y=[], scales=scales, colors=[PICKED], marker="triangle-up", default_size=60, apply_clip=False
        )
        self._phases = bqplot.Lines(
            x=[], y=[], scales={"x": self._step, "y": unit_scale()}, colors=[GRID], stroke_width=1
        )
        # The only upright lines are the phases'. Without grid lines an axis has ticks, and its numbers stand lower.
        self._step_axis = axis(self._step, "optimizer step", grid_lines="none", label_offset="2.5em")
        self._loss_axis = axis(self._loss, "loss", side="left", label_offset="52px")
        self.figure = figure([self._step_axis, self._loss_axis], 240, fig_margin={**MARGIN, "top": 8, "bottom": 44})
        self.figure.marks = [self._train.mark, self._valid, self._phases, self._above]
        # What is drawn and the names of the phases are written above the plot, where no curve can be.
        self._names = ipywidgets.HTML()
        self._words = ipywidgets.HTML()
        self.restore = button("Best weights", "undo", "", "")
        self.restore.layout.align_self = "flex-start"
        self.restore.on_click(lambda _button: on_restore())
        # The figure joins when there is a run: bqplot measures a hidden figure as having no size.
        self.view = ipywidgets.VBox([])

    def render(self, state: "LRState") -> None:
        """Show another history, and how the run ended; nothing is drawn again for the same one."""
        history = state.history
        if history is None or not len(history):
            put(self._words, value=ending(state.run_message))
            put(self.view, children=(self._words,) if state.run_message else ())  # it may have ended at once
            self._settling = SettlingRange()  # The next run is another.
            return
        if history is not self._history:
            self._draw(history)
        put(self._words, value=ending(state.run_message) + epochs_table(history))
        best = worth_restoring(history) if state.keeps_best and state.phase != "training" else None
        put(
            self.restore,
            disabled=state.phase != "idle",
            tooltip="" if best is None else RESTORE.format(epoch=best.epoch),
        )
        restore = () if best is None else (self.restore,)
        put(self.view, children=(self._names, self.figure, self._words, *restore))

    def stream(self, state: "LRState") -> None:
        """Show the steps of a run; only with an epoch comes more than their losses."""
        history, before = state.history, self._history
        steps_alone = (
            history is not None
            and before is not None
            and bool(self.view.children)
            and history.plan is before.plan
            and len(history.epochs) == len(before.epochs)
        )
        if steps_alone and history is not None:
            self._draw_steps(history)
        else:
            self.render(state)

    def close(self) -> None:
        """Let go of the browser's copies."""
        close_all(self.view, self._names, self.figure, self._words, self.restore)

    def _draw_steps(self, history: "History") -> None:
        self._history = history
        smoothed_S = history.smoothed
        low, high = run_range(history.losses, smoothed_S, self._validated[1])
        if history.stop_reason is None:
            low, high = self._settling.fit(low, high, len(history))
        some = thin(history.losses, LIVE_POINTS if history.stop_reason is None else MAX_POINTS)
        # No browser draws a line whose end is as far away as a loss can be.
        least, most = low - BEYOND * (high - low), high + BEYOND * (high - low)
        raw_M, smoothed_M = (np.clip(values[some], least, most) for values in (history.losses, smoothed_S))
        if len(history) == 1:  # A line needs two points: the step's own stretch of the axis.
            self._train.show(np.array([0.0, 1.0]), raw_M.repeat(2), smoothed_M.repeat(2))
        else:
            self._train.show(some.astype(np.float64) + 1, raw_M, smoothed_M)
        step_V, valid_V = self._validated
        above_V = valid_V > high
        put_together(self._valid, x=step_V[~above_V], y=valid_V[~above_V])
        put_together(self._above, x=step_V[above_V], y=np.full(int(above_V.sum()), high))
        put_axis(self._loss_axis, round_ticks(low, high), min=low, max=high)

    def _draw(self, history: "History") -> None:
        valid = np.array(
            [
                (point.step, point.valid_loss)
                for point in history.epochs
                if point.valid_loss is not None and math.isfinite(point.valid_loss)
            ],
            dtype=float,
        ).reshape(-1, 2)
        self._validated = valid[:, 0], valid[:, 1]
        self._draw_steps(history)
        last = float(max(history.total_steps, len(history), 1))
        put_axis(self._step_axis, [tick for tick in round_ticks(0, last, 8) if tick.is_integer()], max=last)
        plan = history.plan
        between = (
            np.array([(step, step) for step, _ in plan.boundaries() if step > 0]) if plan is not None else nothing()
        )
        put_together(self._phases, x=between, y=np.array([(0.0, 1.0)] * len(between)))
        put(
            self._names, value=legend(validated=len(valid) > 0, beyond=len(self._above.x) > 0) + phase_strip(plan, last)
        )


LEGEND = f"margin: 0 0 4px {MARGIN['left']}px; font-size: 12px; line-height: 18px"


def legend(*, validated: bool, beyond: bool) -> str:
    """What the curves are, as HTML.

    Args:
        validated: whether there is a curve of validation losses.
        beyond: whether some of them are higher than the axis.
    """
    curves = [("&#9473;", "train, smoothed", TEXT), ("&#9473;", "every step", FAINT)]
    curves += [("&#9473;", "validation", PICKED)] * validated + [("&#9650;", "beyond the axis", PICKED)] * beyond
    return (
        f"<div style='{LEGEND}'>"
        + " &nbsp; ".join(
            f"<b aria-hidden='true' style='color: {color}'>{sign}</b> {name}" for sign, name, color in curves
        )
        + "</div>"
    )


# A column that is laid out from below is scrolled to its end, where the newest epoch is, whenever it is drawn.
TABLE_STYLE = """<style>
.lrw-table { display: flex; flex-direction: column-reverse; align-items: flex-start; width: max-content;
  max-width: 100%; max-height: 176px; overflow: auto; margin: 4px 0 10px; line-height: 18px; }
.lrw-table table { border-collapse: collapse; margin-right: 20px; }
.lrw-table th, .lrw-table td {
  padding: 2px 0 2px 24px; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums;
}
.lrw-table th:first-child, .lrw-table td:first-child { padding-left: 0; }
.lrw-table thead { position: sticky; top: 0; background: var(--jp-layout-color0, white);
  box-shadow: 0 1px var(--jp-border-color2, #dddddd); }
.lrw-table tbody tr:first-child td { padding-top: 4px; }
.lrw-table .lrw-best {
  font-weight: bold; position: sticky; top: 22px; bottom: 0; background: var(--jp-layout-color0, white);
}
</style>"""


def ending(message: str) -> str:
    """How the run ended, as HTML."""
    return f"<div style='{MESSAGE}'>{html.escape(message)}</div>" if message else ""


def worth_restoring(history: "History") -> "EpochPoint | None":
    """The best epoch of a run that is over, when the run went on from it; None when the model is at its best."""
    best = history.best_epoch
    if best is None or history.stop_reason is None:
        return None
    return best if best is not history.epochs[-1] or history.stop_reason is StopReason.NOT_FINITE else None


def steps_of_short_epoch(history: "History") -> int:
    """How many steps the last epoch of a run that is over has, when it had to end early; 0 when it had all of them.

    One with steps behind it had all. Nobody knows how many the first one would have had.
    """
    if history.stop_reason is None or not history.epochs or len(history) > history.epochs[-1].step:
        return 0
    ends = [0, *(point.step for point in history.epochs)]
    steps = ends[-1] - ends[-2]
    early = steps < ends[-2] - ends[-3] if len(ends) > 2 else history.epochs[-1].step < history.total_steps
    return steps if early else 0


def epochs_table(history: "History") -> str:
    """The epochs as HTML, the best one bold; no table before the end of the first.

    Of many the newest are in sight, and the best one, which stays at the edge when it is scrolled away. A last one that
    is not whole says so, and without validation there is no column for it.
    """
    if not history.epochs:
        return ""
    metrics = list(dict.fromkeys(name for point in history.epochs for name in point.metrics))
    best = history.best_epoch
    validated = ["valid loss"] if any(point.valid_loss is not None for point in history.epochs) else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("epoch", "train loss", *validated, *metrics))
    short = steps_of_short_epoch(history)
    head += "<td></td>" if short else ""

    def row(point: "EpochPoint") -> str:
        valid = math.nan if point.valid_loss is None else point.valid_loss
        measured = [valid] if validated else []
        numbers = (point.train_loss, *measured, *(point.metrics.get(name, math.nan) for name in metrics))
        cells = "".join(f"<td>{format_loss(number)}</td>" for number in numbers)
        marked = " class='lrw-best'" if point is best else ""
        if short and point is history.epochs[-1]:
            cells += f"<td>{short} step{'s' * (short > 1)} only</td>"
        return f"<tr{marked}><td>{point.epoch}</td>{cells}</tr>"

    return (
        f"{TABLE_STYLE}<div class='lrw-table' role='region' aria-label='Epochs' tabindex='0'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(row, history.epochs))}</tbody></table></div>"
    )
