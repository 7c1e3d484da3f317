"""A range that settles: it grows with a curve in few steps, and holds still between them."""

GROWTH = 0.6
"""How far beyond what has left the range it grows, as a share of what there is to show."""
START = 0.25
"""Room at both ends at first, as a share of what there is to show."""
LEAST_FILLED = 0.3
"""Share of the range that what there is to show fills at least; a little less than what a flat curve fills at first."""
ROOM = 0.05
"""Least to show, as a share of the level: first points differ by noise alone, which is not worth the whole height."""
FEW = 20
"""Points of which nobody knows yet how little they need: until then the range grows only."""


class SettlingRange:
    """The ends of an axis while a curve grows, point by point."""

    def __init__(self) -> None:
        self._ends = (0.0, 0.0)
        self._points = 0

    def fit(self, low: float, high: float, points: int) -> tuple[float, float]:
        """Ends that hold `low` and `high`; the same as before if they can be, and of few points no narrower.

        Args:
            low: the lowest value to show.
            high: the highest, above `low`.
            points: how many there are; fewer than before are another curve, of which nothing is held.
        """
        nonnegative = low >= 0
        room = max(0.0, ROOM * abs(high + low) / 2 - (high - low)) / 2
        low, high = low - room, high + room
        span = high - low
        bottom, top = self._ends
        another, self._points = points < self._points or bottom == top, points
        if not another:
            # An end that is passed will be passed again: a loss that falls goes on falling.
            bottom = bottom if bottom <= low else low - GROWTH * span
            top = top if high <= top else high + GROWTH * span
        if another or (points >= FEW and span < LEAST_FILLED * (top - bottom)):
            bottom, top = low - START * span, high + START * span
        if nonnegative:
            bottom = max(bottom, 0.0)  # no loss of this kind is below
        self._ends = (bottom, top)
        return bottom, top
