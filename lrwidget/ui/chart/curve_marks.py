"""The curves of a loss chart: the one that grows or was chosen, and thinner ones of the other kept sweeps.

Shape suffixes: K points of a kept sweep's line.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import bqplot
import numpy as np

from lrwidget.look.losses import LossRange, has_diverged, loss_range
from lrwidget.ui.chart.sweep_lines import CHOSEN_WIDTH, KEPT_WIDTH, line_look
from lrwidget.ui.parts.loss_lines import LIVE_POINTS, MAX_POINTS, LossLines
from lrwidget.ui.parts.palette import FAINT, nothing, put, put_together

if TYPE_CHECKING:
    from lrwidget.engine.sweeps.curve import LossCurve
    from lrwidget.state import KeptSweep

KEPT_POINTS = 300
"""Points of a kept sweep beside the chosen one: a smoothed line needs no more."""

WIDTH, HEIGHT = 400.0, 270.0
"""Size in px of a narrow plot: there, too, names must not cover each other, nor begin before the axis does."""
NAME_SIZE, LETTER, LINE = 12, 6.5, 15.0
"""Font size of a sweep's name, and how wide a letter and how high a line of it are, in px."""
LIFT = 9
"""How far above its line a name stands, in px."""
LONGEST = 28
"""Letters of a name in the chart; the whole of it is in the list."""
TRIES = 25
"""Places that are tried for a name, from the end of its line to the start."""


class Place(NamedTuple):
    """A point of a line.

    Attributes:
        lr: where on the LR axis.
        loss: where on the loss axis.
    """

    lr: float
    loss: float


class CurveMarks:
    """Raw losses, faint; the smoothed loss, bold, as `Trace` has it; its diverged part, dashed and faint.

    Attributes:
        drawn: the marks, in the order in which they lie on each other.
        range: what a loss axis has to show; None when there is no finite loss.
    """

    def __init__(self, x: Any, y: Any) -> None:
        scales = {"x": x, "y": y}
        self.range: LossRange | None = None
        self._tail = bqplot.Lines(x=[], y=[], scales=scales, colors=[FAINT], stroke_width=2, line_style="dashed")
        self._lines = LossLines(scales, CHOSEN_WIDTH)
        self.drawn = (self._tail, self._lines.mark)
        self._curve: LossCurve | None = None

    def render(self, curve: "LossCurve | None") -> None:
        """Show another curve; nothing is done for the same one."""
        if curve is self._curve:
            return
        self._curve = curve
        points = LIVE_POINTS if curve is not None and curve.stop_reason is None else MAX_POINTS
        trace = curve.decimated(points) if curve is not None and len(curve) else None
        self.range = None if trace is None or curve is None else loss_range(trace, has_diverged(curve))
        if trace is None or self.range is None:
            self._lines.clear()
            put_together(self._tail, x=nothing(), y=nothing())
            return
        tail, count = self.range.tail, len(trace.lrs)
        if tail == count:
            self._lines.show(trace.lrs, trace.losses, trace.smoothed)
            if len(self._tail.x) != 1:  # one point alone draws nothing, wherever it is
                put_together(self._tail, x=trace.lrs[:1], y=trace.smoothed[:1])
            return
        body_M = np.where(np.arange(count) < tail, trace.smoothed, np.nan)
        self._lines.show(trace.lrs, trace.losses, body_M)
        # One point of the body, so that the two meet.
        apart = slice(max(0, tail - 1), None)
        put_together(self._tail, x=trace.lrs[apart], y=trace.smoothed[apart])


class KeptLine:
    """The smoothed loss of one kept sweep. Its points travel once; what changes is how it looks.

    Args:
        curve: the sweep's, of one point or more.
        scales: the LR axis as `x`, the loss axis as `y`.

    Attributes:
        curve: whose line it is.
        mark: what is drawn.
        descent: lowest and highest smoothed loss up to the lowest; None when there is no finite loss.
        lrs: (K,) LRs of its points.
        losses: (K,) smoothed losses of its points, all finite.
        tail: index (0 ... K) of the first point of the diverged part; K when there is none.
    """

    def __init__(self, curve: "LossCurve", scales: dict[str, Any]) -> None:
        trace = curve.decimated(KEPT_POINTS)
        usable = np.isfinite(trace.smoothed)
        self.curve = curve
        self.lrs, self.losses = trace.lrs[usable], trace.smoothed[usable]
        seen = loss_range(trace, has_diverged(curve))
        self.tail = len(self.lrs) if seen is None else int(usable[: seen.tail].sum())
        body_K = self.losses[: self.tail]
        # How high it rises afterwards is worth no room beside another.
        fall_K = body_K[: int(body_K.argmin()) + 1] if len(body_K) else body_K
        self.descent = (float(fall_K[-1]), float(fall_K.max())) if len(fall_K) else None
        self.mark = bqplot.Lines(x=self.lrs, y=self.losses, scales=scales, stroke_width=KEPT_WIDTH)

    def show(self, index: int, *, visible: bool) -> None:
        """Look as the kept sweep at an index does, or not at all."""
        look = line_look(index)
        put(self.mark, colors=[look.color], line_style=look.style, visible=visible)


class KeptMarks:
    """A thin line for every kept sweep besides the chosen one, each with its name at its end.

    Attributes:
        names: the mark of all names.
    """

    def __init__(self, x: Any, y: Any) -> None:
        self._scales = {"x": x, "y": y}
        self._lines: list[KeptLine] = []
        self._shown: list[tuple[int, str, KeptLine]] = []
        self._sweeps: tuple[Sequence[KeptSweep], int | None] = ((), None)
        self._named: tuple[object, ...] = ()
        self.names = bqplot.Label(
            x=[],
            y=[],
            text=[],
            scales=self._scales,
            default_size=NAME_SIZE,
            font_weight="normal",
            align="end",
            y_offset=-LIFT,
        )

    @property
    def lines(self) -> list[Any]:
        """The marks of the lines. A new one comes last: the browser draws all those anew that come after a change."""
        return [line.mark for line in self._lines]

    @property
    def descents(self) -> list[tuple[float, float]]:
        """What the shown ones need of the loss axis: lowest and highest."""
        return [line.descent for _, _, line in self._shown if line.descent is not None]

    @property
    def ends(self) -> list[float]:
        """The LRs at which the shown ones begin and end."""
        return [float(line.curve.lrs[end]) for _, _, line in self._shown for end in (0, -1)]

    def render(self, sweeps: "Sequence[KeptSweep]", chosen: int | None) -> list[KeptLine]:
        """Show other sweeps; nothing is done for the same ones. Returns the lines that are gone, for `close`."""
        if (sweeps, chosen) == self._sweeps:
            return []
        self._sweeps = (sweeps, chosen)
        curves = [sweep.curve for sweep in sweeps]
        gone = [line for line in self._lines if not any(line.curve is curve for curve in curves)]
        self._lines = [line for line in self._lines if line not in gone]
        self._shown = []
        for index, sweep in enumerate(sweeps):
            line = next((line for line in self._lines if line.curve is sweep.curve), None)
            if line is None and index != chosen:
                line = KeptLine(sweep.curve, self._scales)
                self._lines.append(line)
            if line is not None:
                line.show(index, visible=index != chosen)
                if index != chosen:
                    self._shown.append((index, sweep.name, line))
        return gone

    def place_names(self, above: float, below: float) -> None:
        """Put every name where it can be read on the axes as they are now.

        Args:
            above: share of the chart, from its top, that suggestions take.
            below: share of it, from its bottom, that the handles take.
        """
        x, y = self._scales["x"], self._scales["y"]
        wanted = (*self._sweeps, above, below, x.min, x.max, y.min, y.max)
        if wanted == self._named:
            return
        self._named = wanted
        taken: list[tuple[float, float, float]] = []
        found = []
        rows = (HEIGHT * above, HEIGHT * (1 - below))
        for index, name, line in self._shown:
            text = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
            place = self._place(line, LETTER * len(text), taken, rows)
            if place is not None:
                found.append((*place, text, line_look(index).color))
        put(self.names, colors=[color for *_, color in found] or [FAINT])
        put_together(
            self.names,
            x=np.array([lr for lr, *_ in found]),
            y=np.array([loss for _, loss, *_ in found]),
            text=np.array([text for *_, text, _ in found]),
        )

    def _place(
        self, line: KeptLine, width: float, taken: list[tuple[float, float, float]], rows: tuple[float, float]
    ) -> Place | None:
        """Where a name stands over a line, between two heights in px: the nearest to its end that is free.

        None when nothing of the line is seen there, or nothing is free: the list of sweeps has every name.
        """
        x, y = self._scales["x"], self._scales["y"]
        right_K = WIDTH * np.log(line.lrs / x.min) / math.log(x.max / x.min)
        top_K = HEIGHT * (y.max - line.losses) / (y.max - y.min)
        top, bottom = rows
        seen = np.flatnonzero((top + LINE + LIFT <= top_K[: line.tail]) & (top_K[: line.tail] <= bottom))
        if not len(seen):
            return None
        tries = seen[np.linspace(len(seen) - 1, 0, min(TRIES, len(seen))).astype(int)].tolist()
        boxes = [(max(width, float(right_K[k])), float(top_K[k])) for k in tries]
        free = (n for n, box in enumerate(boxes) if not any(_meet(*box, width, *other) for other in taken))
        best = next(free, None)
        if best is None:
            return None
        taken.append((*boxes[best], width))
        # It ends there, unless it would begin beyond the axis.
        lr = x.min * (x.max / x.min) ** min(1.0, width / WIDTH)
        return Place(max(float(line.lrs[tries[best]]), lr), float(line.losses[tries[best]]))


def _meet(right: float, top: float, width: float, other_right: float, other_top: float, other_width: float) -> bool:
    """Whether two names cover each other."""
    across = right > other_right - other_width and other_right > right - width
    return across and abs(top - other_top) < LINE


def common_range(
    own: LossRange | None, others: Sequence[tuple[float, float]], *, live: bool
) -> tuple[float, float] | None:
    """The losses to show: all of one's own and of the others, as long as one's own fills a third of the height.

    While a sweep runs its first points span next to nothing, and all of the others is shown.

    >>> common_range(LossRange(1, 2, 0), [(0.5, 9)], live=False)
    (0.5, 3)
    """
    ends = [*others] if own is None else [(own.low, own.high), *others]
    if not ends:
        return None
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if own is not None and not live:
        span = own.high - own.low
        low, high = max(low, own.low - span), min(high, own.high + span)
    # One point, or several that are the same, still need an axis with two ends.
    return (low, high) if low < high else (low - 0.05 * abs(low) - 1e-3, high + 0.05 * abs(high) + 1e-3)
