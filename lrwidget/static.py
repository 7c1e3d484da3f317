"""Pictures of a curve, a plan and a run, by matplotlib: for `plot()`, and for notebooks opened without a kernel.

Only matplotlib's objects are used, never pyplot: a figure is made and drawn on any thread, with no global state and no
window. Texts are drawn as they are; a `$` in a group's name starts no formula.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from lrwidget.engine.errors import InputError
from lrwidget.engine.plans.plan import Plan
from lrwidget.engine.runs.history import History
from lrwidget.engine.sweeps.curve import LossCurve
from lrwidget.engine.sweeps.suggest import Advice
from lrwidget.engine.sweeps.thinning import thin
from lrwidget.engine.words import format_lr
from lrwidget.look.axes import lr_label, powers_between, round_ticks, with_peak
from lrwidget.look.colors import group_color
from lrwidget.look.losses import has_diverged, loss_range, run_range
from lrwidget.look.markers import fastest, marker_label
from lrwidget.look.schedule import lr_range, phase_names, plan_steps, trained_lrs, wants_log
from lrwidget.look.suggestions import Tick, rows_of, suggested_ticks

INK, FAINT, GRID, PICKED = "#222222", "#888888", "#e4e4e4", "#D55E00"
PNG_COLORS = 40
"""Of a picture: the groups', greys and the shades between them."""
MAX_POINTS = 2000
"""Points of a line: more than the pixels of a picture, fewer than a long run has steps."""


HALO = withStroke(linewidth=2.5, foreground="white")
"""Around a text that a line may cross."""
LETTERS = 95.0
"""Letters of a marker's label beside each other in the plot of a sweep."""
MOST_NAMES = 5
"""Groups that all have a line in the legend of their LRs, which is in a plot as low as 1.7 inches."""
MOST_LABELS = 12
"""Groups that all have a label; of more, the outer ones and the fastest."""


class Picture(Figure):
    """A figure that a notebook shows by itself, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        return png(self)


def curve_figure(
    curve: LossCurve,
    lrs: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    advice: Advice | None = None,
) -> Figure:
    """The loss of a sweep over the LR of the fastest group, with what was suggested and what was picked.

    Args:
        curve: the sweep; without points the picture says so.
        lrs: the pick, one LR per group; None draws no markers.
        names: one per group; by default the curve's.
        advice: its suggestions; None draws none.

    Raises:
        InputError: as many names as there are not LRs.
    """
    figure, axes = _blank(7.6, 3.9)
    axes.set_xscale("log")
    picked = () if lrs is None else tuple(lrs)
    names = (curve.names if names is None else tuple(names)) if picked else ()
    if len(names) != len(picked):
        raise InputError(f"Got {len(picked)} LRs and {len(names)} names; expected one of each for every group.")
    suggested = suggested_ticks(advice)
    trace = curve.decimated(MAX_POINTS) if len(curve) else None
    shown = None if trace is None else loss_range(trace, has_diverged(curve))
    if trace is None or shown is None:
        text = "no points yet" if trace is None else "no finite loss"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=FAINT, parse_math=False)
        bottom, top = 0.0, 1.0
    else:
        tail = shown.tail
        axes.plot(trace.lrs, trace.losses, color=FAINT, linewidth=0.7, alpha=0.6)
        axes.plot(trace.lrs[max(0, tail - 1) :], trace.smoothed[max(0, tail - 1) :], color=FAINT, linestyle="--")
        axes.plot(trace.lrs[:tail], trace.smoothed[:tail], color=INK, linewidth=2.2)
        bottom, top = shown.low, shown.high
    ends = [*(curve.lrs[[0, -1]].tolist() if len(curve) else [1e-7, 10.0]), *picked, *(tick.lr for tick in suggested)]
    low, high = min(ends), max(ends)
    if not low < high:
        low, high = low / 10, high * 10
    axes.set_xlim(low, high)
    _power_ticks(axes.xaxis, low, high)
    text_width = (high / low) ** (1 / 6.5)
    rows = rows_of([(tick.lr, tick.lr * text_width) for tick in suggested])
    below, above = _lane(len(picked)) * len(picked), 0.06 * (max(rows, default=-1) + 1)
    span = (top - bottom) / (1 - below - above)
    axes.set_ylim(bottom - below * span, top + above * span)
    _draw_suggestions(axes, suggested, rows)
    axes.set_yticks(round_ticks(bottom, top) if shown else [])
    _draw_markers(axes, picked, names)
    axes.set_xlabel(lr_label(len(picked) or len(curve.names)))
    axes.set_ylabel("loss")
    return figure


def plan_figure(plan: Plan) -> Figure:
    """The LR of every group over the steps, momentum below it where it is cycled, and where the phases begin."""
    step_S = plan_steps(plan, MAX_POINTS)
    momentum_SG = plan.momentum_at(step_S)
    cycled = np.isfinite(momentum_SG).all(axis=0)
    figure = _sheet(7.6, 4.4 if cycled.any() else 3.2)
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1)) if cycled.any() else figure.add_gridspec(1, 1)
    upper = _styled(figure.add_subplot(grid[0]))
    lr_SG, log = trained_lrs(plan, step_S), wants_log(plan)
    lowest, highest = lr_range(lr_SG, log)
    for group in range(plan.n_groups):
        color = group_color(group, plan.n_groups)
        upper.plot(step_S, lr_SG[:, group], color=color, linewidth=2)
    if log:
        upper.set_yscale("log")
        upper.set_ylim(lowest, 1.5 * highest)
        _power_ticks(upper.yaxis, lowest, 1.5 * highest)
    else:
        upper.set_ylim(0, 1.12 * highest)
        _plain_ticks(upper)
        _lr_ticks(upper.yaxis, with_peak(round_ticks(0, highest, 4), max(plan.max_lrs), lambda a, b: (a - b) / highest))
    upper.set_ylabel("lr")
    _group_legend(upper, [f"{name}  {format_lr(lr)}" for name, lr in zip(plan.names, plan.max_lrs, strict=True)])
    bottom = upper
    if cycled.any():
        bottom = _styled(figure.add_subplot(grid[1], sharex=upper))
        bottom.plot(step_S, momentum_SG[:, int(cycled.argmax())], color=INK, linestyle="--", linewidth=1.5)
        bottom.set_ylabel("momentum")
        upper.tick_params(labelbottom=False)
    for step, _ in plan.boundaries()[1:]:
        for axes in figure.axes:
            axes.axvline(step, color=FAINT, linewidth=0.8, alpha=0.6)
    where = upper.get_xaxis_transform()
    for step, name in phase_names(plan):
        upper.text(step, 1.01, f" {name}", transform=where, fontsize=8, color=FAINT, va="bottom", parse_math=False)
    upper.set_xlim(0, max(1, plan.total_steps - 1))
    bottom.set_xlabel("optimizer step")
    return figure


def history_figure(history: History) -> Figure:
    """The training loss of every step, smoothed as well, and the validation loss of every epoch.

    Below that, when the run's plan is known: the LR of every group, momentum where it moved, and the plan's phases.
    """
    moved = np.isfinite(history.momentum).any(axis=0)
    heights = (3.6, 1.7, 0.9)[: 0 if not len(history) or history.plan is None else 3 if moved.any() else 2] or (3.6,)
    figure = _sheet(7.6, sum(heights))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    axes = _styled(figure.add_subplot(grid[0]))
    smoothed_S = history.smoothed
    some = thin(history.losses, MAX_POINTS)
    step_M = some + 1
    if len(history) == 1:  # A line needs two points: the step's own stretch of the axis.
        some, step_M = some.repeat(2), np.arange(2)
    axes.plot(step_M, history.losses[some], color=FAINT, linewidth=0.7, alpha=0.6)
    axes.plot(step_M, smoothed_S[some], color=INK, linewidth=2.2)
    valid = np.array(
        [(point.step, point.valid_loss) for point in history.epochs if point.valid_loss is not None], dtype=np.float64
    ).reshape(-1, 2)
    low, high = run_range(history.losses, smoothed_S, valid[:, 1])
    lines = [Line2D([], [], color=INK, linewidth=2.2)]
    texts = ["training"]
    if len(valid):
        # What is higher than the axis is none of the line's: a mark says that there is. Both are whole at its ends.
        above_V = valid[:, 1] > high
        axes.plot(*valid[~above_V].T, color=PICKED, linewidth=1.6, marker="o", markersize=4.5, clip_on=False)
        axes.plot(valid[above_V, 0], [high] * int(above_V.sum()), "^", color=PICKED, markersize=6, clip_on=False)
        lines.append(Line2D([], [], color=PICKED, marker="o", markersize=4.5))
        texts.append("validation")
    axes.set_ylim(low, high)
    axes.set_xlim(0, max(history.total_steps, len(history), 1))
    axes.set_ylabel("loss")
    _plain_ticks(axes)
    _legend(axes, texts, lines)
    if history.plan is not None and len(heights) > 1:
        lower = _styled(figure.add_subplot(grid[1], sharex=axes))
        _draw_lrs_that_were(lower, history, history.plan)
        if len(heights) > 2:
            lowest = _styled(figure.add_subplot(grid[2], sharex=axes))
            lowest.plot(step_M, history.momentum[some][:, int(moved.argmax())], color=INK, linestyle="--")
            lowest.set_ylabel("momentum")
        for step, _ in history.plan.boundaries()[1:]:
            for each in figure.axes:
                each.axvline(step, color=FAINT, linewidth=0.8, alpha=0.6)
        where = axes.get_xaxis_transform()
        for step, name in phase_names(history.plan):
            axes.text(step, 1.01, f" {name}", transform=where, fontsize=8, color=FAINT, va="bottom", parse_math=False)
        for each in figure.axes[:-1]:
            each.tick_params(labelbottom=False)
    figure.axes[-1].set_xlabel("optimizer step")
    return figure


def _draw_lrs_that_were(axes: Axes, history: History, plan: Plan) -> None:
    step_S = np.unique(np.linspace(0, len(history) - 1, MAX_POINTS).astype(np.int64))
    at_S = step_S + 1
    if len(history) == 1:
        step_S, at_S = step_S.repeat(2), np.arange(2)
    lr_SG = history.lrs[step_S]
    for group in range(len(history.names)):
        color = group_color(group, len(history.names))
        axes.plot(at_S, lr_SG[:, group], color=color, linewidth=1.8)
    low, high = lr_range(lr_SG, wants_log(plan))
    if wants_log(plan):
        axes.set_yscale("log")
        axes.set_ylim(low, 1.5 * high)
        _power_ticks(axes.yaxis, low, 1.5 * high)
    else:
        axes.set_ylim(0, 1.12 * high)
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.set_ylabel("lr")
    _group_legend(axes, history.names)


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as the bytes of a PNG; 110 dots an inch are sharp in a notebook and small in its file.

    In `PNG_COLORS` colours it is a third as large, and the lines look the same.
    """
    from PIL import Image  # what matplotlib itself writes pictures with

    held, small = io.BytesIO(), io.BytesIO()
    figure.savefig(held, format="png", dpi=dpi)
    picture = Image.open(held).convert("RGB")
    # An octree keeps the colour of a thin line; median cuts give all colours to the many shades of grey.
    few = picture.quantize(PNG_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(small, "PNG", optimize=True)
    return small.getvalue()


def svg(figure: Figure) -> bytes:
    """A figure as the bytes of an SVG, to be scaled or edited; letters are outlines, and need no font to be there."""
    held = io.BytesIO()
    figure.savefig(held, format="svg", metadata={"Date": None})
    return held.getvalue()


def _sheet(width: float, height: float) -> Figure:
    figure = Picture(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    FigureCanvasAgg(figure)
    return figure


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _sheet(width, height)
    return figure, _styled(figure.add_subplot())


def _styled(axes: Axes) -> Axes:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8.5)
    return axes


def _power_ticks(axis: Any, low: float, high: float) -> None:
    _lr_ticks(axis, powers_between(low, high))


def _lr_ticks(axis: Any, values: Sequence[float]) -> None:
    # Matplotlib's own labels of a log axis are formulas.
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FixedFormatter([format_lr(value) for value in values]))
    axis.set_minor_locator(NullLocator())


def _plain_ticks(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _position: f"{value:g}")


def _draw_suggestions(axes: Axes, suggested: Sequence[Tick], rows: Sequence[int]) -> None:
    for (lr, text, best, _, _), row in zip(suggested, rows, strict=True):
        color = PICKED if best else FAINT
        height = 0.975 - 0.06 * row
        where = axes.get_xaxis_transform()
        axes.plot([lr], [height], marker="v", color=color, markersize=7, transform=where, linestyle="none")
        axes.annotate(
            text,
            (lr, height),
            xycoords=where,
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=PICKED if best else INK,
            parse_math=False,
            path_effects=[HALO],
        )


def _lane(count: int) -> float:
    """Height of a row of markers, as a share of the plot."""
    return min(0.06, 0.4 / max(1, count))


def _draw_markers(axes: Axes, lrs: Sequence[float], names: Sequence[str]) -> None:
    top = fastest(tuple(lrs)) if lrs else -1
    low, high = axes.get_xlim()
    lane = _lane(len(lrs))
    for index, lr in enumerate(lrs):
        height = lane * (len(lrs) - index - 0.4)
        where, color = axes.get_xaxis_transform(), group_color(index, len(lrs))
        # One at the end of the axis is drawn whole.
        axes.axvline(lr, color=color, linewidth=2 if index == top else 1.2, clip_on=False)
        axes.plot([lr], [height], marker="D", color=color, markersize=6, transform=where, clip_on=False)
        if len(lrs) > MOST_LABELS and index not in (0, top, len(lrs) - 1):
            continue
        label = marker_label(names, tuple(lrs), index, (low, high), LETTERS)
        text = axes.annotate(
            label.text,
            (lr, height),
            xycoords=where,
            xytext=(-8 if label.left else 8, 0),
            textcoords="offset points",
            ha="right" if label.left else "left",
            va="center",
            fontsize=8.5,
            color=INK,
            parse_math=False,
        )
        text.set_in_layout(False)  # what stands inside must not make the plot narrower


def _group_legend(axes: Axes, texts: Sequence[str]) -> None:
    """A text for the line of every group; of many groups for the first and the last, because the others are between."""
    lines: Sequence[Line2D] = axes.get_lines()[: len(texts)]
    if len(texts) > MOST_NAMES:
        lines = [lines[0], Line2D([], [], linestyle=""), lines[-1]]
        texts = [texts[0], f"… {len(texts) - 2} more", texts[-1]]
    _legend(axes, texts, lines)


def _legend(axes: Axes, texts: Sequence[str], lines: Sequence[Line2D]) -> None:
    """A legend of any texts: matplotlib would leave out one that starts with an underscore."""
    legend = axes.legend(lines, [str(number) for number in range(len(texts))], fontsize=8.5, frameon=False)
    for label, text in zip(legend.get_texts(), texts, strict=True):
        label.set_parse_math(False)
        label.set_text(text)
