"""What takes the clicks on the plot, wherever nothing else does.

A figure does not tell where it was clicked, a mark only which of its elements was: clicks anywhere are taken by a
heat map that nobody sees, with a column for every pixel or two. Its cells have the size that the scales give them.
"""

import math
from collections.abc import Callable
from typing import Any

import bqplot
import numpy as np

from lrwidget.ui.parts.palette import put

COLUMNS = 500
"""Columns that take clicks: of a chart of any width, one for each pixel or two."""
DOUBLE_S = 0.4
"""Seconds within which a second click makes a double-click."""
NEAR = 0.01
"""How far apart the two may be, as a share of the axis: a few pixels."""


class DoubleClick:
    """Tells the second of two clicks at one place from a first one.

    Args:
        clock: when the click that is asked about was made, in seconds from any start.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[float, tuple[float, ...]] = (-math.inf, ())

    def completed_at(self, *places: float) -> bool:
        """Whether a click is the second at its place; the next one is a first again.

        Args:
            *places: where it was, by one measure or several, each a share of the axis; one that fits is enough.
        """
        when, where = self._last
        now = self._clock()
        second = now - when <= DOUBLE_S and any(abs(a - b) <= NEAR for a, b in zip(places, where, strict=False))
        self._last = (-math.inf, ()) if second else (now, places)
        return second


class Ground:
    """The heat map below everything that can be hit.

    Args:
        x: the LR axis.
        height: a scale from 0 to 1.
        on_click: called with the LR that was clicked, to half a column.

    Attributes:
        mark: what is drawn.
    """

    def __init__(self, x: Any, height: Any, on_click: Callable[[float], object]) -> None:
        self._ends = (0.0, 0.0)
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
        self.mark.on_element_click(lambda _, message: on_click(float(message["data"]["column"]) * self._step**0.5))
        self.fit(x.min, x.max)

    def fit(self, low: float, high: float) -> None:
        """Cover the axis from `low` to `high`."""
        if (low, high) != self._ends:
            self._ends = (low, high)
            self._step = (high / low) ** (1 / COLUMNS)
            put(self.mark, column=np.geomspace(low, high, COLUMNS + 1))
