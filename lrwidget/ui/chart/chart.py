"""The loss curve on a log axis, with a draggable marker for every group and a tick for every suggestion.

Whatever must be hit by a click lies on top of whatever must not, because SVG gives a click to the topmost shape.
"""

import html
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import bqplot
import ipywidgets
import numpy as np

from lrwidget.engine.words import format_lr
from lrwidget.look.axes import lr_label, powers_between, round_ticks
from lrwidget.look.suggestions import reasons
from lrwidget.ui.chart.curve_marks import CurveMarks, KeptMarks, common_range
from lrwidget.ui.chart.ground import DoubleClick, Ground
from lrwidget.ui.chart.markers import PLOT, Drag, Markers
from lrwidget.ui.chart.suggestion_marks import LANE, NAME_SIZE, SuggestionMarks
from lrwidget.ui.chart.sweep_lines import STYLE as KEPT_LINES
from lrwidget.ui.parts.leash import TOGETHER_CLASS, leash
from lrwidget.ui.parts.palette import FAINT, axis, close_all, figure, hidden, put, put_axis, unit_scale
from lrwidget.ui.parts.settling import SettlingRange
from lrwidget.ui.parts.view import View

if TYPE_CHECKING:
    from lrwidget.engine.sweeps.suggest import Advice
    from lrwidget.state import LRState

# What takes the clicks is not drawn: a thousand cells that nobody can see were a tenth of all the browser's work.
STYLE = f"""<style>{KEPT_LINES}
.lrw-chart .heatmapcell {{ cursor: crosshair; visibility: hidden; pointer-events: all; }}
.lrw-chart text.label[style*="font-size: {NAME_SIZE}px"] {{ pointer-events: all; cursor: pointer; }}
.lrw-advice td, .lrw-advice th {{ padding: 1px 10px 1px 0; text-align: left; vertical-align: top; }}
.lrw-advice summary {{ cursor: pointer; }}
.lrw-words {{ container-type: inline-size; }}
.lrw-words .widget-html-content {{ line-height: 20px; }}
.lrw-words .widget-html-content > div {{ min-height: clamp(60px, 196px - 16cqw, 120px); }}
</style>"""

MARGIN = {"top": 8, "bottom": 42, "left": 62, "right": 24}
"""Around the plot, in px."""
DECADES = 8.0
"""Of a usual axis, whatever this one has."""
ROOM = 0.02
"""Beyond either end of the axis, as a share of it: half a handle."""
TICKS = 9
"""Powers of ten on the LR axis, at most: what a narrow chart has room for."""
HINT = "Press Sweep: the loss appears here"

SWEEPING = "Suggestions come when the sweep ends; until then the bold line lags behind the losses."
TO_COME = "Suggestions come here when a sweep ends; a click on the plot picks, markers can be dragged."


class LossChart(View):
    """The chart of a sweep.

    Args:
        on_pick_max: called with an LR when the plot is clicked anywhere, or a suggestion.
        on_drag: called with a group's index and LR while its marker is dragged, at most every `refresh_s`.
        on_drop: called with a group's index and LR when its marker is let go.
        on_take_back: called before `on_reset` when the first of two clicks has picked, which nobody meant.
        on_reset: called when the plot is clicked twice at one place.
        refresh_s: shortest time between two calls of `on_drag`, in seconds; the default, 0.05, is what labels need to
            feel live, and leaves room in what a notebook server lets through.
        clock: seconds from any start; replaced in tests.
        clicked_at: when the click that is being told was made, in seconds from any start; None: now, by the clock.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
    """

    watches = (
        "groups",
        "lrs",
        "config",
        "curve",
        "advice",
        "sweeps",
        "chosen",
        "frozen",
        "together",
        "sweep_message",
        "phase",
    )

    def __init__(
        self,
        *,
        on_pick_max: Callable[[float], object],
        on_drag: Callable[[int, float], object],
        on_drop: Callable[[int, float], object],
        on_take_back: Callable[[], object] = lambda: None,
        on_reset: Callable[[], object] = lambda: None,
        refresh_s: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
        clicked_at: Callable[[], float] | None = None,
    ) -> None:
        self._on_pick_max, self._on_take_back, self._on_reset = on_pick_max, on_take_back, on_reset
        self._picked = False
        self._x = bqplot.LogScale(min=1e-7, max=10.0, allow_padding=False)
        self._loss = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        self._height, self._from_top = unit_scale(), unit_scale()
        self._double_click = DoubleClick(clicked_at or clock)
        self._ground = Ground(self._x, self._height, self._clicked)
        self._curve = CurveMarks(self._x, self._loss)
        self._kept = KeptMarks(self._x, self._loss)
        self._suggestions = SuggestionMarks(self._x, self._from_top, on_pick_max)
        self._hint = bqplot.Label(
            x=[1e-3],
            y=[0.6],
            text=[HINT],
            scales={"x": self._x, "y": self._from_top},
            colors=[FAINT],
            align="middle",
            default_size=13,
            font_weight="normal",
        )
        self._drag = Drag(on_drag, on_drop, self._second_click, self._on_axis, refresh_s, clock)
        self._markers = self._markers_of([])
        self._swept = self._fitted = self._fitted_loss = (0.0, 0.0)
        self._lrs: tuple[float, ...] = ()
        self._together = False
        self._settling = SettlingRange()
        self._x_axis = axis(self._x, lr_label(1))
        self._y_axis = axis(self._loss, "loss", side="left", visible=False, label_offset="52px")
        self.figure = figure(
            [self._x_axis, self._y_axis],
            round(PLOT) + MARGIN["top"] + MARGIN["bottom"],
            fig_margin=MARGIN,
        )
        self._words = ipywidgets.HTML()
        self._words.add_class("lrw-words")
        self.view = ipywidgets.VBox([hidden(STYLE), leash(ROOM), self.figure, self._words])

    def render(self, state: "LRState") -> None:
        """Show the state; what a pointer holds stays where the pointer has it."""
        gone = self._kept.render(state.sweeps, state.chosen)
        names = [group.name for group in state.groups]
        if names != self._markers.names:
            before, self._markers = self._markers, self._markers_of(names)
            self._make_room()
            self._arrange()
            before.close()
            put(self._x_axis, label=lr_label(len(names)))
        else:
            self._arrange()
        for line in gone:
            line.mark.close()
        if not self._markers.held:
            # A change of scale under the pointer would make the handle jump away from it.
            self._fit_x(state)
        self._lrs, self._together = state.lrs, state.together
        (self.figure.add_class if state.together else self.figure.remove_class)(TOGETHER_CLASS)
        self._markers.place(state.lrs, state.frozen)
        self._suggestions.render(state.advice)
        self.stream(state)
        empty = not (state.curve is not None and len(state.curve)) and not self._kept.ends
        put(self._hint, visible=empty and state.phase == "idle", x=np.array([math.sqrt(self._x.min * self._x.max)]))
        told = ending(state.sweep_message) + words(state.advice)
        put(self._words, value=f"<div>{told or ending(SWEEPING if state.phase == 'sweeping' else TO_COME)}</div>")

    def stream(self, state: "LRState") -> None:
        """Show how far the curve has come."""
        self._curve.render(state.curve)
        self._fit_loss(live=state.phase == "sweeping", points=0 if state.curve is None else len(state.curve))
        self._kept.place_names(self._above, self._markers.height)

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        self._markers.close()
        close_all(self.view)

    def _markers_of(self, names: list[str]) -> Markers:
        return Markers(names, {"x": self._x, "y": self._height}, self._drag)

    @property
    def _above(self) -> float:
        """The share of the plot that suggestions take."""
        return LANE * self._suggestions.rows * PLOT / self._markers.plot

    def _make_room(self) -> None:
        """Make the plot as high as the markers need; rows of suggestions at its top stay as high as they are."""
        plot = self._markers.plot
        put(self.figure.layout, height=f"{plot + MARGIN['top'] + MARGIN['bottom']:.0f}px")
        put(self._from_top, min=1 - plot / PLOT)
        # Beside the curve, which is in the upper half.
        put(self._y_axis, label_location="end" if self._markers.height > 0.5 else "middle")

    def _arrange(self) -> None:
        """Lay the marks over each other; lines and names of sweeps let all clicks through."""
        marks = [
            *self._curve.drawn,
            self._hint,
            *self._markers.lines,
            self._ground.mark,
            *self._suggestions.marks,
            *self._markers.labels_and_handles,
            # Last, because the browser draws anew what comes after a change: a handle would drop out of the hand.
            *self._kept.lines,
            self._kept.names,
        ]
        put(self.figure, marks=marks)

    def _clicked(self, lr: float) -> None:
        if not self._second_click(lr):
            self._picked = True
            # Where no sweep goes no loss tells for an LR; slower markers may have taken the axis there.
            self._on_pick_max(within(lr, *self._swept))

    def _second_click(self, lr: float) -> bool:
        """Reset if a click is the second at its place: by pixels if the axis has moved between, by LR if not yet."""
        by_pixels = math.log(lr / self._x.min) / math.log(self._x.max / self._x.min)
        second = self._double_click.completed_at(by_pixels, math.log10(lr) / DECADES)
        if second:
            if self._picked:
                self._on_take_back()
            self._on_reset()
        self._picked = False  # until the caller picks: a click on a handle does not
        return second

    def _fit_x(self, state: "LRState") -> None:
        low, high = state.config.start_lr, state.config.end_lr
        if state.curve is not None and len(state.curve) and state.phase != "sweeping":
            low, high = float(state.curve.lrs[0]), max(high, float(state.curve.lrs[-1]))
        self._swept = min((low, *self._kept.ends)), max((high, *self._kept.ends))
        low, high = min((self._swept[0], *state.lrs)), max((self._swept[1], *state.lrs))
        if (low, high) != self._fitted:
            self._fitted = (low, high)
            room = (high / low) ** ROOM
            put_axis(self._x_axis, powers_between(low, high, TICKS), tick_text, min=low / room, max=high * room)
            self._ground.fit(low / room, high * room)

    def _on_axis(self, index: int, lr: float) -> float:
        """The LR of a marker at a place: a pointer may leave the chart, a marker and those it takes along may not."""
        (low, high), own = self._fitted, self._lrs[index]
        if self._together:
            low, high = low * own / min(self._lrs), high * own / max(self._lrs)
        return within(lr, low, high)

    def _fit_loss(self, live: bool, points: int) -> None:
        """Fit the loss axis around the curves, between the rows of handles below and of suggestions above.

        While a sweep runs the axis settles; when it has ended they fit.
        """
        if not live:
            self._settling = SettlingRange()  # The next sweep is another.
        wanted = common_range(self._curve.range, self._kept.descents, live=live)
        put(self._y_axis, visible=wanted is not None)
        if wanted is None:
            return
        low, high = self._settling.fit(*wanted, points) if live else wanted
        below, above = self._markers.height, self._above
        span = (high - low) / (1 - below - above)
        bottom, top = low - below * span, high + above * span
        if (bottom, top) != self._fitted_loss:
            self._fitted_loss = (bottom, top)
            put_axis(self._y_axis, round_ticks(low, high), min=bottom, max=top)


def within(value: float, low: float, high: float) -> float:
    """The value, or the end that it is beyond."""
    return min(max(value, low), high)


def tick_text(lr: float) -> str:
    """A power of ten, so short that many have room beside each other.

    >>> [tick_text(lr) for lr in (1e-4, 1e-3, 0.1, 10.0)]
    ['1e-4', '0.001', '0.1', '10']
    """
    return f"1e{math.log10(lr):.0f}" if lr < 1e-3 and math.log10(lr).is_integer() else format_lr(lr)


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
