"""The loss curve on a log axis, with a draggable marker for every group and a tick for every suggestion.

bqplot lets a drag run in the browser alone. What that takes, as found by driving it:

- A handle, its line and its label are three marks with one shared `x`; `jsdlink` copies the handle's to the others in
  the browser. One handle a mark, not one for each point of a mark: `x` travels as a whole, so a kernel that places one
  handle would push back the one that the pointer holds.
- Handles have a y axis of their own, 0 ... 1, and keep their height: a change of y during a drag makes them flicker.
- Positions come from the `drag` messages. The `x` trait arrives late, or not at all, while a cell waits for a sweep.
- Whatever must be hit by a click lies on top of whatever must not, because SVG gives a click to the topmost shape.
- A figure does not tell where it was clicked, a mark only which of its elements was: clicks anywhere are taken by a
  heat map that nobody sees, with a column for every pixel or two. Its cells have the size that the scales give them.
"""

import html
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bqplot
import ipywidgets
import numpy as np

from lrwidget.look import (
    LossRange,
    Tick,
    fastest,
    format_lr,
    group_color,
    has_diverged,
    loss_range,
    lr_label,
    marker_text,
    powers_between,
    reasons,
    round_ticks,
    rows_of,
    suggested_ticks,
)
from lrwidget.ui.palette import (
    FAINT,
    PICKED,
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
    from lrwidget.engine.curve import LossCurve
    from lrwidget.engine.suggest import Advice
    from lrwidget.state import LRState

MAX_POINTS = 600
"""Points of a curve that travel to the browser: one for each pixel or two, and 10 kB a redraw."""

NAME_SIZE = 11
"""Font size of the suggestions' names, which no other label of the chart has."""

STYLE = f"""<style>
.lrw-chart.bqplot > svg.svg-figure, .lrw-chart.bqplot > svg.svg-background {{ background: transparent; }}
.lrw-chart .plotarea_background {{ fill: transparent; }}
.lrw-chart .heatmapcell {{ cursor: crosshair; }}
.lrw-chart .stick, .lrw-chart .curve, .lrw-chart text {{ pointer-events: none; }}
.lrw-chart text.label[style*="font-size: {NAME_SIZE}px"] {{ pointer-events: all; cursor: pointer; }}
.lrw-chart text.label, .lrw-chart text.dot_text {{
  paint-order: stroke; stroke: var(--jp-layout-color0, white); stroke-width: 3px; stroke-linejoin: round;
}}
.lrw-chart .axis text {{ paint-order: normal; stroke: none; }}
.lrw-chart .axis[text-anchor=middle] > .domain {{ clip-path: inset(-1px -1px 4px -1px); }}
.lrw-chart .axis[text-anchor=end] > .domain {{ clip-path: inset(-1px -1px -1px 4px); }}
.lrw-chart .axis[text-anchor=start] > .domain {{ clip-path: inset(-1px 4px -1px -1px); }}
.lrw-advice td, .lrw-advice th {{ padding: 1px 10px 1px 0; text-align: left; vertical-align: top; }}
.lrw-advice summary {{ cursor: pointer; }}
</style>"""

HINT = "Press Sweep: the loss appears here while the learning rate grows"
COLUMNS = 500
"""Columns that take clicks: of a chart of any width, one for each pixel or two."""
NARROW = 450.0
"""Width in px of a narrow plot, in which the names of suggestions must not cover each other."""
NAME_ROOM, LETTER = 24.0, 6.2
"""Width in px of a suggestion's triangle with some space, and of a letter of its name."""
OTHERS = "#8a8a8a"
"""What is suggested beside the recommendation; opaque, so that what is below does not show through."""
HOLD_S = 10.0
"""Seconds after which a drag that sends nothing counts as over."""
LANE, ADVICE_LANE = 0.085, 0.075
"""Heights of a row of handles below the curve and of suggestions above it, as shares of the chart."""


class LossChart:
    """The chart of a sweep.

    Args:
        on_pick_max: called with an LR when the plot is clicked anywhere, or a suggestion.
        on_drag: called with a group's index and LR while its marker is dragged, at most every `refresh_s`.
        on_drop: called with a group's index and LR when its marker is let go.
        refresh_s: shortest time between two calls of `on_drag`, in seconds; the default, 0.05, is what labels need to
            feel live, and leaves room in what a notebook server lets through.
        clock: seconds from any start; replaced in tests.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
    """

    watches = ("groups", "lrs", "config", "curve", "advice", "sweep_message", "phase")

    def __init__(
        self,
        *,
        on_pick_max: Callable[[float], object],
        on_drag: Callable[[int, float], object],
        on_drop: Callable[[int, float], object],
        refresh_s: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._x = bqplot.LogScale(min=1e-7, max=10.0, allow_padding=False)
        self._loss = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        self._height = unit_scale()
        self._ground = Ground(self._x, self._height, on_pick_max)
        self._curve = CurveMarks(self._x, self._loss)
        self._advice = AdviceMarks(self._x, self._height, on_pick_max)
        self._hint = bqplot.Label(
            x=[1e-3],
            y=[0.6],
            text=[HINT],
            scales={"x": self._x, "y": self._height},
            colors=[FAINT],
            align="middle",
            default_size=13,
            font_weight="normal",
        )
        self._markers: list[Marker] = []
        self._drag = Drag(on_drag, on_drop, refresh_s, clock)
        self._held_range = (0.0, 0.0)
        self._held_points = 0
        self._x_axis = axis(self._x, lr_label(1))
        self._y_axis = axis(self._loss, "loss", side="left", visible=False)
        self.figure = figure(
            [self._x_axis, self._y_axis], 320, fig_margin={"top": 8, "bottom": 42, "left": 58, "right": 14}
        )
        self._words = ipywidgets.HTML()
        self.view = ipywidgets.VBox([ipywidgets.HTML(STYLE, layout={"display": "none"}), self.figure, self._words])

    def render(self, state: "LRState") -> None:
        """Show the state; what a pointer holds stays where the pointer has it."""
        lrs = tuple(state.lrs)
        self._match_markers([group.name for group in state.groups])
        if not any(marker.held for marker in self._markers):
            # A change of scale under the pointer would make the handle jump away from it.
            self._fit_x(state, lrs)
        names = [marker.name for marker in self._markers]
        put(self._x_axis, label=lr_label(len(names)))
        for index, marker in enumerate(self._markers[: len(lrs)]):
            marker.place(lrs[index], marker_text(names, lrs, index), is_max=index == fastest(lrs))
        self._curve.render(state.curve)
        self._advice.render(state.advice)
        put(self._hint, visible=state.curve is None or not len(state.curve), x=np.array([self._middle()]))
        self._fit_loss(live=state.phase == "sweeping", points=0 if state.curve is None else len(state.curve))
        put(self._words, value=ending(state.sweep_message) + words(state.advice))

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        for marker in self._markers:
            marker.close()
        close_all(self.view)

    def _match_markers(self, names: Sequence[str]) -> None:
        if [marker.name for marker in self._markers] == list(names) and self.figure.marks:
            return
        gone = self._markers
        room = self._lane(len(names))
        # The first group on top: what is read first is the slowest, and the head lies lowest, nearest to the axis.
        heights = [room * (len(names) - index - 0.4) for index in range(len(names))]
        self._markers = [
            Marker(index, name, height, {"x": self._x, "y": self._height}, self._drag)
            for index, (name, height) in enumerate(zip(names, heights, strict=True))
        ]
        self.figure.marks = [
            *self._curve.drawn,
            self._hint,
            *(marker.line for marker in self._markers),
            self._ground.mark,
            *self._advice.marks,
            *(marker.label for marker in self._markers),
            *(marker.handle for marker in self._markers),
        ]
        for marker in gone:
            marker.close()

    @staticmethod
    def _lane(rows: int) -> float:
        return min(LANE, 0.4 / max(1, rows))

    def _fit_x(self, state: "LRState", lrs: tuple[float, ...]) -> None:
        low, high = state.config.start_lr, state.config.end_lr
        if state.curve is not None and len(state.curve) and state.phase != "sweeping":
            low, high = float(state.curve.lrs[0]), max(high, float(state.curve.lrs[-1]))
        low, high = min((low, *lrs)), max((high, *lrs))
        put_axis(self._x_axis, powers_between(low, high), format_lr, min=low, max=high)
        self._ground.fit(low, high)

    def _fit_loss(self, live: bool, points: int) -> None:
        """Fit the loss axis around the curve, between the rows of handles below and of suggestions above.

        While a sweep runs the axis holds still as long as the curve fills half of it, so that it settles.
        """
        wanted = self._curve.range
        if wanted is None:
            put(self._y_axis, visible=False)
            return
        low, high = wanted.low, wanted.high
        if live:
            # The first points differ by noise alone, which is not worth the whole height.
            room = max(0.0, 0.05 * abs(high + low) / 2 - (high - low)) / 2
            low, high = low - room, high + room
        bottom, top = self._held_range
        settled = points >= self._held_points and bottom <= low and high <= top and high - low > 0.5 * (top - bottom)
        if live and settled:
            low, high = bottom, top
        elif live:
            spare = 0.25 * (high - low)
            low, high = low - spare, high + spare
        self._held_range, self._held_points = (low, high), points
        below = self._lane(len(self._markers)) * len(self._markers)
        above = ADVICE_LANE * self._advice.rows
        span = (high - low) / (1 - below - above)
        put_axis(self._y_axis, round_ticks(low, high), min=low - below * span, max=high + above * span)
        put(self._y_axis, visible=True)

    def _middle(self) -> float:
        return float(np.sqrt(self._x.min * self._x.max))


@dataclass(frozen=True, slots=True)
class Drag:
    """What a marker does with a drag; see `LossChart`."""

    on_drag: Callable[[int, float], object]
    on_drop: Callable[[int, float], object]
    refresh_s: float
    clock: Callable[[], float]


class Marker:
    """The handle of one group with its line and its label.

    Args:
        index: which group.
        name: its name.
        height: of the handle, 0 (bottom) ... 1 (top of the chart).
        scales: the LR axis as `x`, and as `y` one from 0 to 1 for heights.
        drag: whom to tell.

    Attributes:
        name: the group's name.
    """

    def __init__(self, index: int, name: str, height: float, scales: dict[str, Any], drag: Drag) -> None:
        self.name = name
        self._index, self._scale, self._drag = index, scales["x"], drag
        self._lr = math.nan
        self._held_until = self._told = -math.inf
        self._moved = False
        color = group_color(index)
        self.handle = bqplot.Scatter(
            x=[1e-3],
            y=[height],
            scales=scales,
            marker="diamond",
            default_size=190,
            colors=[color],
            stroke="white",
            stroke_width=1.5,
            enable_move=True,
            restrict_x=True,
            update_on_move=True,
            hovered_style={"cursor": "ew-resize"},
        )
        # "hl" alone draws one bar from high to low, without the ticks of open and close.
        self.line = bqplot.OHLC(
            x=[1e-3], y=[[1.0, 0.0]], scales=scales, format="hl", marker="bar", stroke=color, opacities=[0.9]
        )
        self.label = bqplot.Label(
            x=[1e-3],
            y=[height],
            text=[name],
            scales=scales,
            colors=[TEXT],
            default_size=12,
            x_offset=12,
            apply_clip=False,
        )
        self._links = [ipywidgets.jsdlink((self.handle, "x"), (mark, "x")) for mark in (self.line, self.label)]
        self.handle.on_drag_start(self._start)
        self.handle.on_drag(self._move)
        self.handle.on_drag_end(self._drop)
        self.handle.observe(self._put_right, "x")

    @property
    def held(self) -> bool:
        """Whether the pointer has it. Not for ever: the end of a drag is never told by a page that was closed."""
        return self._drag.clock() < self._held_until

    def place(self, lr: float, text: str, *, is_max: bool) -> None:
        """Put the marker at an LR, and a text beside it; one that the pointer holds keeps its place."""
        self._lr = lr
        if not self.held:
            for mark in (self.handle, self.line, self.label):
                put(mark, x=np.array([lr]))
        put(self.line, stroke_width=2.5 if is_max else 1.5)
        put(self.label, text=np.array([text]), **self._side(lr))

    def close(self) -> None:
        """Let go of the browser's copies; the scales stay, they are the chart's."""
        for widget in (*self._links, self.handle, self.line, self.label):
            widget.close()

    def _side(self, lr: float) -> dict[str, Any]:
        """Labels hang where there is more room, because the chart may be narrow: towards the middle."""
        place = math.log(lr / self._scale.min) / math.log(self._scale.max / self._scale.min)
        return {"align": "end", "x_offset": -12} if place > 0.55 else {"align": "start", "x_offset": 12}

    def _start(self, _mark: object, _message: dict[str, Any]) -> None:
        self._held_until = self._drag.clock() + HOLD_S
        self._moved = False

    def _move(self, _mark: object, message: dict[str, Any]) -> None:
        now = self._drag.clock()
        self._held_until = now + HOLD_S
        self._moved = True
        if now - self._told >= self._drag.refresh_s:
            self._told = now
            self._drag.on_drag(self._index, self._lr_of(message))

    def _drop(self, _mark: object, message: dict[str, Any]) -> None:
        self._held_until = -math.inf
        if self._moved:  # A mere click would give the LR back rounded by the axis.
            self._drag.on_drop(self._index, self._lr_of(message))
        self._put_right()

    def _lr_of(self, message: dict[str, Any]) -> float:
        # A pointer may leave the chart; the LR may not leave the axis.
        return float(min(max(message["point"]["x"], self._scale.min), self._scale.max))

    def _put_right(self, _change: object = None) -> None:
        """Correct a position that comes late from the browser and is no longer, or never was, the state's."""
        if not self.held and math.isfinite(self._lr):
            put(self.handle, x=np.array([self._lr]))


class Ground:
    """What takes the clicks on the plot, wherever nothing else does: see the top of this file.

    Args:
        x: the LR axis.
        height: a scale from 0 to 1.
        on_pick_max: called with the LR that was clicked, to half a column.
    """

    def __init__(self, x: Any, height: Any, on_pick_max: Callable[[float], object]) -> None:
        self._step = 1.0
        # Two rows, though one would do: bqplot takes a matrix of one row for a vector.
        self.mark = bqplot.GridHeatMap(
            color=np.zeros((2, COLUMNS)),
            row=np.array([0.0, 0.5, 1.0]),
            column=np.geomspace(x.min, x.max, COLUMNS + 1),
            scales={"column": x, "row": height, "color": bqplot.ColorScale(colors=["rgba(0, 0, 0, 0)"] * 2)},
            stroke="rgba(0, 0, 0, 0)",
        )
        # What it tells of a column is where it begins.
        self.mark.on_element_click(lambda _, message: on_pick_max(float(message["data"]["column"]) * self._step**0.5))
        self.fit(x.min, x.max)

    def fit(self, low: float, high: float) -> None:
        """Cover the axis from `low` to `high`."""
        self._step = (high / low) ** (1 / COLUMNS)
        put(self.mark, column=np.geomspace(low, high, COLUMNS + 1))


class CurveMarks:
    """Raw losses, faint; the smoothed loss, bold; its diverged part, dashed and faint."""

    def __init__(self, x: Any, y: Any) -> None:
        scales = {"x": x, "y": y}
        self.range: LossRange | None = None
        self._raw = bqplot.Lines(x=[], y=[], scales=scales, colors=[FAINT], opacities=[0.55], stroke_width=1)
        self._tail = bqplot.Lines(x=[], y=[], scales=scales, colors=[FAINT], stroke_width=2, line_style="dashed")
        self._body = bqplot.Lines(x=[], y=[], scales=scales, colors=[TEXT], stroke_width=3)
        self.drawn = (self._raw, self._tail, self._body)
        self._curve: LossCurve | None = None

    def render(self, curve: "LossCurve | None") -> None:
        """Show another curve; nothing is done for the same one."""
        if curve is self._curve:
            return
        self._curve = curve
        trace = curve.decimated(MAX_POINTS) if curve is not None and len(curve) else None
        self.range = None if trace is None or curve is None else loss_range(trace, has_diverged(curve))
        if trace is None or self.range is None:
            for mark in self.drawn:
                put_together(mark, x=nothing(), y=nothing())
            return
        tail = self.range.tail
        put_together(self._raw, x=trace.lrs, y=trace.losses)
        put_together(self._body, x=trace.lrs[:tail], y=trace.smoothed[:tail])
        # One point of the body, so that the two meet.
        put_together(self._tail, x=trace.lrs[max(0, tail - 1) :], y=trace.smoothed[max(0, tail - 1) :])


class AdviceMarks:
    """A tick for every suggestion that has an LR, the rule's name, and a bar below for how far it can be trusted."""

    def __init__(self, x: Any, y: Any, on_pick_max: Callable[[float], object]) -> None:
        self._x = x
        self._scales = {"x": x, "y": y}
        self.rows = 0
        self._ticks = bqplot.Scatter(
            x=[],
            y=[],
            scales=self._scales,
            marker="triangle-down",
            default_size=190,
            stroke="white",
            stroke_width=1,
            apply_clip=False,
            hovered_style={"cursor": "pointer"},
        )
        self._names = self._label(align="start", x_offset=11)
        self._names_left = self._label(align="end", x_offset=-11)
        self._bands = bqplot.Lines(x=[], y=[], scales=self._scales, stroke_width=4, opacities=[0.45], colors=[FAINT])
        self.marks = (self._bands, self._names, self._names_left, self._ticks)
        self._ticks.on_element_click(lambda _mark, message: on_pick_max(float(message["data"]["x"])))
        # A label tells of no click, but of a drag's end, also when it may not be moved: that is a click.
        for label in (self._names, self._names_left):
            label.on_drag_end(lambda label, message: on_pick_max(self._named[label][message["index"]].lr))
        self._named: dict[Any, list[Tick]] = {}
        self._shown: tuple[Advice | None, float, float] | None = None

    def render(self, advice: "Advice | None") -> None:
        """Show another advice, or the same on another axis; else nothing is done."""
        if self._shown == (advice, self._x.min, self._x.max):
            return
        self._shown = (advice, self._x.min, self._x.max)
        found = suggested_ticks(advice)
        left = [tick.lr * self._room(tick) > self._x.max for tick in found]
        rows = rows_of([self._span(tick, side) for tick, side in zip(found, left, strict=True)])
        self.rows = max(rows, default=-1) + 1
        heights = [1 - ADVICE_LANE * (row + 0.45) for row in rows]
        put(self._ticks, colors=[PICKED if tick.best else OTHERS for tick in found] or [OTHERS])
        put_together(self._ticks, x=np.array([tick.lr for tick in found]), y=np.array(heights))
        for mark, side in ((self._names, False), (self._names_left, True)):
            named = [(t, height) for t, height, on in zip(found, heights, left, strict=True) if on is side]
            put(mark, colors=[PICKED if tick.best else TEXT for tick, _ in named] or [TEXT])
            put_together(
                mark,
                x=np.array([tick.lr for tick, _ in named]),
                y=np.array([height for _, height in named]),
                text=np.array([tick.text for tick, _ in named]),
            )
            self._named[mark] = [tick for tick, _ in named]
        # Below the name, on the border of its row: a bar behind a text strikes it through.
        borders = [1 - ADVICE_LANE * (row + 0.95) for row in rows]
        put_together(
            self._bands,
            x=np.array([(tick.low, tick.high) for tick in found]),
            y=np.array([(border, border) for border in borders]),
        )

    def _label(self, **side: Any) -> Any:
        return bqplot.Label(
            x=[],
            y=[],
            text=[],
            scales=self._scales,
            default_size=NAME_SIZE,
            font_weight="normal",
            enable_move=True,
            restrict_x=True,
            restrict_y=True,
            apply_clip=False,
            **side,
        )

    def _room(self, tick: Tick) -> float:
        """The factor of LRs that a tick's name covers in a narrow chart."""
        return float((self._x.max / self._x.min) ** ((NAME_ROOM + LETTER * len(tick.text)) / NARROW))

    def _span(self, tick: Tick, left: bool) -> tuple[float, float]:
        """The LRs that a tick covers with its name and its bar."""
        room = self._room(tick)
        return min(tick.low, tick.lr / (room if left else 1)), max(tick.high, tick.lr * (1 if left else room))


def ending(message: str) -> str:
    """How the sweep ended, as HTML."""
    return f"<div>{html.escape(message)}</div>" if message else ""


def words(advice: "Advice | None") -> str:
    """The advice in words: what is recommended, and every rule's answer and why as a table to unfold.

    When all rules give the same reason for having no answer, it is said once.
    """
    if advice is None:
        return ""
    best = advice["recommended"]
    answer = "no suggestion" if best.lr is None else f"suggested: {format_lr(best.lr)}"
    summary = f"<b>{answer}</b> · {html.escape(best.why)}"
    told = reasons(advice)
    if best.lr is None and len(told) == 1:
        return f"<div>{summary}</div>"
    rows = "".join(
        f"<tr><td>{html.escape(rules)}</td><td>{'–' if lr is None else format_lr(lr)}</td>"
        f"<td>{html.escape(why)}</td></tr>"
        for rules, lr, why in told
    )
    return (
        f"<details class='lrw-advice'><summary>{summary}</summary>"
        f"<table><tr><th>rule</th><th>lr</th><th>why</th></tr>{rows}</table></details>"
    )
