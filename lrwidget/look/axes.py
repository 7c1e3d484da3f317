"""Axes: what they are of, and their ticks."""

import math
from collections.abc import Callable, Sequence


def lr_label(n_groups: int) -> str:
    """What an axis of LRs is of: with one group there is no other that could be faster."""
    return "learning rate" if n_groups < 2 else "learning rate of the fastest group"


def powers_between(low: float, high: float, at_most: int = 12) -> list[float]:
    """The powers of ten in `[low, high]`, thinned evenly to `at_most`; for a short range 2 and 5 times them as well.

    >>> powers_between(3e-4, 2.0), powers_between(1e-3, 8e-3)
    ([0.001, 0.01, 0.1, 1.0], [0.001, 0.002, 0.005])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [power for exponent in range(first, last + 1) if low <= (power := float(f"1e{exponent}")) <= high]
    if len(ticks) < 3:
        mantissas = (f"{m}e{exponent}" for exponent in range(first, last + 1) for m in (1, 2, 5))
        return [tick for text in mantissas if low <= (tick := float(text)) <= high]
    return ticks[:: math.ceil(len(ticks) / at_most)]


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in `[low, high]`, about so many.

    >>> round_ticks(0.13, 2.4)
    [0.5, 1.0, 1.5, 2.0]
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return []
    unit = float(f"1e{math.floor(math.log10(span / about))}")
    step = next(unit * m for m in (1, 2, 5, 10) if span / (unit * m) <= about)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def with_peak(ticks: Sequence[float], peak: float, apart: Callable[[float, float], float]) -> list[float]:
    """Ticks with the peak among them, in place of those too near to it.

    Args:
        ticks: rising values.
        peak: the value that must have a tick.
        apart: the distance of two values as a share of the axis.
    """
    return sorted([*(tick for tick in ticks if abs(apart(tick, peak)) > 0.12), peak])
