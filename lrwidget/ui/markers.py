"""A draggable marker for every group.

bqplot lets a drag run in the browser alone. What that takes, as found by driving it:

- A handle, its line and its label are three marks with one shared `x`; `jsdlink` copies the handle's to the others in
  the browser. One handle a mark, not one for each point of a mark: `x` travels as a whole, so a kernel that places one
  handle would push back the one that the pointer holds.
- Handles have a y axis of their own, 0 ... 1, and keep their height: a change of y during a drag makes them flicker.
- Positions come from the `drag` messages. The `x` trait arrives late, or not at all, while a cell waits for a sweep.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bqplot
import ipywidgets
import numpy as np

from lrwidget.look import MarkerLabel, fastest, group_color, marker_label
from lrwidget.ui.palette import FAINT, TEXT, put

HOLD_S = 10.0
"""Seconds after which a drag that sends nothing counts as over."""
LANE, MOST_HEIGHT = 0.085, 0.4
"""Height of a row of handles below the curve, and of all rows at most, as shares of the chart."""
HOLLOW = "var(--jp-layout-color0, white)"
"""What a frozen group's handle is filled with: the page."""
GAP = 12
"""Between a marker and its label, in px."""
LETTERS = 44.0
"""Letters of a label beside each other in a narrow plot, of 310 px: where there is more room, names stay as short."""
MOST_LABELS = 12
"""Groups that all have a label; of more, the outer ones, the fastest and what the pointer holds have theirs."""


@dataclass(frozen=True, slots=True)
class Drag:
    """What a marker does with a drag.

    Attributes:
        on_drag: called with a group's index and LR while its marker is dragged, at most every `refresh_s`.
        on_drop: called with a group's index and LR when its marker is let go.
        on_click: called with the LR of a marker that is clicked and not moved.
        refresh_s: shortest time between two calls of `on_drag`, in seconds.
        clock: seconds from any start.
    """

    on_drag: Callable[[int, float], object]
    on_drop: Callable[[int, float], object]
    on_click: Callable[[float], object]
    refresh_s: float
    clock: Callable[[], float]


class Markers:
    """The markers of all groups.

    Args:
        names: of the groups, in optimizer order.
        scales: the LR axis as `x`, and as `y` one from 0 to 1 for heights.
        drag: whom to tell of drags.

    Attributes:
        names: as given.
        height: what the rows of handles take of the chart, as a share.
    """

    def __init__(self, names: Sequence[str], scales: dict[str, Any], drag: Drag) -> None:
        self.names = list(names)
        lane = min(LANE, MOST_HEIGHT / max(1, len(names)))
        self.height = lane * len(names)
        self._scale = scales["x"]
        self._placed: tuple[object, ...] = ()
        # The first group on top: what is read first is the slowest, and the head lies lowest, nearest to the axis.
        heights = [lane * (len(names) - index - 0.4) for index in range(len(names))]
        self._each = [
            Marker(index, name, height, group_color(index, len(names)), scales, drag)
            for index, (name, height) in enumerate(zip(names, heights, strict=True))
        ]

    @property
    def held(self) -> bool:
        """Whether a pointer holds any."""
        return any(marker.held for marker in self._each)

    @property
    def lines(self) -> list[Any]:
        """The vertical lines, which no pointer hits."""
        return [marker.line for marker in self._each]

    @property
    def labels_and_handles(self) -> list[Any]:
        """What lies on top of all else."""
        return [marker.label for marker in self._each] + [marker.handle for marker in self._each]

    def place(self, lrs: tuple[float, ...], frozen: Sequence[bool]) -> None:
        """Put every marker at its LR; one that a pointer holds keeps its place."""
        ends = (self._scale.min, self._scale.max)
        wanted = (lrs, tuple(frozen), ends, [marker.held for marker in self._each])
        if not lrs or wanted == self._placed:
            return
        self._placed = wanted
        for index, (marker, lr) in enumerate(zip(self._each, lrs, strict=False)):
            still = bool(frozen) and frozen[index]
            is_max = index == fastest(lrs)
            outer = index in (0, len(lrs) - 1)
            marker.place(
                lr,
                marker_label(self.names, lrs, index, ends, LETTERS, " · frozen" if still else ""),
                named=len(lrs) <= MOST_LABELS or outer or is_max or marker.held,
                is_max=is_max,
                frozen=still,
            )

    def close(self) -> None:
        """Let go of the browser's copies; the scales stay, they are the chart's."""
        for marker in self._each:
            marker.close()


class Marker:
    """The handle of one group with its line and its label.

    Args:
        index: which group.
        name: its name.
        height: of the handle, 0 (bottom) ... 1 (top of the chart).
        color: the group's.
        scales: the LR axis as `x`, and as `y` one from 0 to 1 for heights.
        drag: whom to tell.

    Attributes:
        name: the group's name.
    """

    def __init__(self, index: int, name: str, height: float, color: str, scales: dict[str, Any], drag: Drag) -> None:
        self.name = name
        self._index, self._color, self._scale, self._drag = index, color, scales["x"], drag
        self._lr = math.nan
        self._held_until = self._told = -math.inf
        self._moved = False
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
            x_offset=GAP,
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

    def place(self, lr: float, label: MarkerLabel, *, named: bool, is_max: bool, frozen: bool) -> None:
        """Put the marker at an LR, with its label or without; one that the pointer holds keeps its place."""
        self._lr = lr
        if not self.held:
            for mark in (self.handle, self.line, self.label):
                put(mark, x=np.array([lr]))
        self._look(is_max=is_max, frozen=frozen)
        # A marker that others take along may leave the axis, which holds still meanwhile. Its label is not cut off.
        seen = self.held or self._scale.min <= lr <= self._scale.max
        side = {"align": "end", "x_offset": -GAP} if label.left else {"align": "start", "x_offset": GAP}
        put(self.label, text=np.array([label.text]), visible=named and seen, **side)

    def _look(self, *, is_max: bool, frozen: bool) -> None:
        put(self.handle, colors=[HOLLOW if frozen else self._color], stroke=self._color if frozen else "white")
        put(self.line, stroke_width=2.5 if is_max else 1.5, opacities=[0.35 if frozen else 0.9])
        put(self.label, colors=[FAINT if frozen else TEXT])

    def close(self) -> None:
        """Let go of the browser's copies; the scales stay, they are the chart's."""
        for widget in (*self._links, self.handle, self.line, self.label):
            widget.close()

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
        lr = self._lr_of(message)
        if self._moved:
            self._drag.on_drop(self._index, lr)
        else:  # A mere click would give the LR back rounded by the axis.
            self._drag.on_click(lr)
        self._put_right()

    def _lr_of(self, message: dict[str, Any]) -> float:
        # A pointer may leave the chart; the LR may not leave the axis.
        return float(min(max(message["point"]["x"], self._scale.min), self._scale.max))

    def _put_right(self, _change: object = None) -> None:
        """Correct a position that comes late from the browser and is no longer, or never was, the state's."""
        if not self.held and math.isfinite(self._lr):
            put(self.handle, x=np.array([self._lr]))
