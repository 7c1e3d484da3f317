"""A draggable marker for every group.

bqplot lets a drag run in the browser alone. What that takes, as found by driving it:

- A handle, its line and its label are three marks with one shared `x`; `jsdlink` copies the handle's to the others in
  the browser. One handle a mark, not one for each point of a mark: `x` travels as a whole, so a kernel that places one
  handle would push back the one that the pointer holds.
- Handles have a y axis of their own, 0 ... 1, and keep their height: a change of y during a drag makes them flicker.
- That the pointer rests on a handle goes to its label likewise, by `hovered_point`: of many handles only that one is
  named. A label that is not to be seen has a font size of 0, because that is a style that bqplot also takes back.
- Positions come from the `drag` messages. The `x` trait arrives late, or not at all, while a cell waits for a sweep.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import bqplot
import ipywidgets
import numpy as np

from lrwidget.look.colors import group_color
from lrwidget.look.markers import MarkerLabel, fastest, marker_label
from lrwidget.ui.parts.palette import FAINT, TEXT, put

HOLD_S = 10.0
"""Seconds after which a drag that sends nothing counts as over."""
PLOT, ROOM = 270.0, 108.0
"""Height in px of a usual plot, and what rows of handles may take of it; for more than that the plot grows."""
PAGE = "var(--jp-layout-color0, white)"
"""The page's colour, with which a frozen group's handle is filled."""
GAP = 12
"""Between a marker and its label, in px."""
LETTERS = 44.0
"""Letters of a label beside each other in a narrow plot, of 310 px: where there is more room, names stay as short."""
MOST_LABELS = 12
"""Groups that all have a label; of more, the outer ones, the fastest, and the one that is or was last moved."""
LABEL_SIZE = 12.0
"""Font size of labels, in px."""


class LineLook(NamedTuple):
    """How a vertical line is drawn.

    Attributes:
        width: in px.
        opacity: 0 ... 1.
    """

    width: float
    opacity: float


THICK, PLAIN, THIN = LineLook(2.5, 0.9), LineLook(1.5, 0.9), LineLook(1.0, 0.5)
"""Lines of the fastest group, of others, and of others among many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How markers look, which depends on how many there are.

    Attributes:
        rows: height of all rows of handles, in px.
        shape: of a handle, as bqplot names it.
        size: area of a handle, in px².
        edge: colour around a handle.
        hovered: CSS of a handle below the pointer.
        line: of any group but the fastest.
        stems: whether lines begin at their handles, and not at the axis.
    """

    rows: float
    shape: str
    size: int
    edge: str
    hovered: dict[str, str]
    line: LineLook
    stems: bool


def look_of(count: int) -> Look:
    """The look of so many markers.

    Up to 4 rows have 23 px each, then they get tighter, down to what a name needs, 16 px. Above 12 groups, when most
    are not named, they get tighter again, down to 11 px. Rows of more than 32 groups are tighter still: handles
    overlap then, but of each a stripe can be seen and taken.
    """
    rows = max(min(23.0 * count, ROOM), min(16.0 * count, 16.0 * MOST_LABELS), min(11.0 * count, 11.0 * 32))
    row = rows / max(1, count)
    grab = {"cursor": "ew-resize"}
    if count <= MOST_LABELS:
        # The tips of diamonds may overlap, and their edge keeps them apart: bqplot's are as high as 1.86 √size.
        size = round(min(25.6, 1.3 * row) ** 2 / 1.86**2)
        return Look(
            rows=rows,
            shape="diamond",
            size=size,
            edge="white",
            hovered=grab,
            line=PLAIN,
            stems=False,
        )
    # Circles are easier to hit where rows are low. Whole lines of all groups would be a curtain before the curve.
    return Look(
        rows=rows,
        shape="circle",
        size=round(math.pi / 4 * max(8.0, row) ** 2),
        edge=PAGE,
        hovered={**grab, "stroke": TEXT, "stroke-width": "2px"},
        line=THIN,
        stems=True,
    )


@dataclass(frozen=True, slots=True)
class Drag:
    """What a marker does with a drag.

    Attributes:
        on_drag: called with a group's index and LR while its marker is dragged, at most every `refresh_s`.
        on_drop: called with a group's index and LR when its marker is let go.
        on_click: called with the LR of a marker that is clicked and not moved.
        on_axis: called with a group's index and the LR where a pointer is, gives the one that its marker has there.
        refresh_s: shortest time between two calls of `on_drag`, in seconds.
        clock: seconds from any start.
    """

    on_drag: Callable[[int, float], object]
    on_drop: Callable[[int, float], object]
    on_click: Callable[[float], object]
    on_axis: Callable[[int, float], float]
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
        plot: height in px that the plot needs.
        height: what the rows of handles take of it, as a share.
    """

    def __init__(self, names: Sequence[str], scales: dict[str, Any], drag: Drag) -> None:
        self.names = list(names)
        look = look_of(len(names))
        self.plot = PLOT + max(0.0, look.rows - ROOM)
        self.height = look.rows / self.plot
        self._scale = scales["x"]
        self._line = look.line
        self._many = len(names) > MOST_LABELS
        self._placed: tuple[object, ...] = ()
        self._lrs: tuple[float, ...] = ()
        self._moved: int | None = None
        # The first group on top: what is read first is the slowest, and the head lies lowest, nearest to the axis.
        lane = self.height / max(1, len(names))
        heights = [lane * (len(names) - index - 0.4) for index in range(len(names))]
        self._each = [
            Marker(index, height, group_color(index, len(names)), look, scales, drag)
            for index, height in enumerate(heights)
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
        """What lies on top of all else; the one name that appears among many handles on top of them."""
        labels, handles = [marker.label for marker in self._each], [marker.handle for marker in self._each]
        return handles + labels if self._many else labels + handles

    def place(self, lrs: tuple[float, ...], frozen: Sequence[bool]) -> None:
        """Put every marker at its LR; one that a pointer holds keeps its place."""
        ends = (self._scale.min, self._scale.max)
        wanted = (lrs, tuple(frozen), ends, [marker.held for marker in self._each])
        if not lrs or wanted == self._placed:
            return
        self._placed = wanted
        self._moved = self._last_moved(lrs)
        for index, (marker, lr) in enumerate(zip(self._each, lrs, strict=False)):
            still = bool(frozen) and frozen[index]
            is_max, moved = index == fastest(lrs), index == self._moved
            marker.place(
                lr,
                marker_label(self.names, lrs, index, ends, LETTERS, " · frozen" if still else ""),
                named=not self._many or is_max or moved or index in (0, len(lrs) - 1),
                line=THICK if is_max else PLAIN if moved else self._line,
                frozen=still,
            )
        self._lrs = lrs

    def _last_moved(self, lrs: tuple[float, ...]) -> int | None:
        """The marker that a pointer holds, or else the one that was moved alone, as by typing; it keeps its label."""
        held = [index for index, marker in enumerate(self._each) if marker.held]
        moved = [index for index, (old, new) in enumerate(zip(self._lrs, lrs, strict=False)) if old != new]
        if held:
            return held[0]
        if not moved or self._moved in moved:
            return self._moved
        return moved[0] if len(moved) == 1 else None

    def close(self) -> None:
        """Let go of the browser's copies; the scales stay, they are the chart's."""
        for marker in self._each:
            marker.close()


class Marker:
    """The handle of one group with its line and its label.

    Args:
        index: which group.
        height: of the handle, 0 (bottom) ... 1 (top of the chart).
        color: the group's.
        look: how handle and line are drawn.
        scales: the LR axis as `x`, and as `y` one from 0 to 1 for heights.
        drag: whom to tell.
    """

    def __init__(self, index: int, height: float, color: str, look: Look, scales: dict[str, Any], drag: Drag) -> None:
        self._index, self._color, self._edge = index, color, look.edge
        self._scale, self._drag = scales["x"], drag
        self._lr = self._last = math.nan
        self._held_until = self._told = -math.inf
        self._moved = False
        self.handle = bqplot.Scatter(
            x=[1e-3],
            y=[height],
            scales=scales,
            marker=look.shape,
            default_size=look.size,
            colors=[color],
            stroke=look.edge,
            stroke_width=1.5,
            enable_move=True,
            restrict_x=True,
            update_on_move=True,
            hovered_style=look.hovered,
        )
        # "hl" alone draws one bar from high to low, without the ticks of open and close.
        self.line = bqplot.OHLC(
            x=[1e-3],
            y=[[1.0, height if look.stems else 0.0]],
            scales=scales,
            format="hl",
            marker="bar",
            stroke=color,
            opacities=[look.line.opacity],
        )
        self.label = bqplot.Label(
            x=[1e-3],
            y=[height],
            text=[""],
            scales=scales,
            colors=[TEXT],
            default_size=LABEL_SIZE,
            hovered_style={"font-size": f"{LABEL_SIZE:g}px"},
            x_offset=GAP,
            apply_clip=False,
        )
        followers = [(self.line, "x"), (self.label, "x"), (self.label, "hovered_point")]
        self._links = [ipywidgets.jsdlink((self.handle, trait), (mark, trait)) for mark, trait in followers]
        self.handle.on_drag_start(self._start)
        self.handle.on_drag(self._move)
        self.handle.on_drag_end(self._drop)
        self.handle.observe(self._put_right, "x")

    @property
    def held(self) -> bool:
        """Whether the pointer has it. Not for ever: the end of a drag is never told by a page that was closed."""
        return self._drag.clock() < self._held_until

    def place(self, lr: float, label: MarkerLabel, *, named: bool, line: LineLook, frozen: bool) -> None:
        """Put the marker at an LR, unless the pointer holds it; its label is there, or waits for the pointer."""
        self._lr = lr
        if not self.held:
            for mark in (self.handle, self.line, self.label):
                put(mark, x=np.array([lr]))
        self._paint(line, frozen=frozen)
        # A marker that others take along may leave the axis, which holds still meanwhile. Its label is not cut off.
        seen = self.held or self._scale.min <= lr <= self._scale.max
        side = {"align": "end", "x_offset": -GAP} if label.left else {"align": "start", "x_offset": GAP}
        size = LABEL_SIZE if named else 0.0
        put(self.label, text=np.array([label.text]), default_size=size, visible=seen, **side)

    def _paint(self, line: LineLook, *, frozen: bool) -> None:
        put(self.handle, colors=[PAGE if frozen else self._color], stroke=self._color if frozen else self._edge)
        put(self.line, stroke_width=line.width, opacities=[min(line.opacity, 0.35) if frozen else line.opacity])
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
            self._tell(self._lr_of(message))

    def _drop(self, _mark: object, message: dict[str, Any]) -> None:
        self._held_until = -math.inf
        lr = self._lr_of(message)
        if self._moved:
            self._drag.on_drop(self._index, lr)
        else:  # A mere click would give the LR back rounded by the axis.
            self._drag.on_click(lr)
        self._put_right()

    def _tell(self, lr: float) -> None:
        self._told, self._last = self._drag.clock(), lr
        self._drag.on_drag(self._index, lr)

    def _lr_of(self, message: dict[str, Any]) -> float:
        return self._drag.on_axis(self._index, float(message["point"]["x"]))

    def _put_right(self, _change: object = None) -> None:
        """Follow a hand that has stopped; correct a place that comes late and is no longer, or never was, the state's.

        The browser sends the place of the handle besides telling of each move, less often, and always the last one.
        """
        if self.held and self._moved:
            lr = self._drag.on_axis(self._index, float(self.handle.x[0]))
            if lr != self._last:
                self._tell(lr)
        elif not self.held and math.isfinite(self._lr):
            put(self.handle, x=np.array([self._lr]))
