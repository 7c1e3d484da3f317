"""The suggestions above the curve: ticks, names, and how far each can be trusted."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bqplot
import numpy as np

from lrwidget.look.suggestions import Tick, rows_of, suggested_ticks
from lrwidget.ui.parts.palette import FAINT, PICKED, TEXT, put, put_together

if TYPE_CHECKING:
    from lrwidget.engine.sweeps.suggest import Advice

NAME_SIZE = 11
"""Font size of the suggestions' names, which no other label of the chart has."""
NARROW = 450.0
"""Width in px of a narrow plot, in which the names must not cover each other."""
NAME_ROOM, LETTER = 24.0, 6.2
"""Width in px of a suggestion's triangle with some space, and of a letter of its name."""
OTHERS = "#8a8a8a"
"""What is suggested beside the recommendation; opaque, so that what is below does not show through."""
LANE = 0.075
"""Height of a row of suggestions, as a share of the chart."""


class SuggestionMarks:
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
        heights = [1 - LANE * (row + 0.45) for row in rows]
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
        borders = [1 - LANE * (row + 0.95) for row in rows]
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
