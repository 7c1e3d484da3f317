"""Curves of losses: the range of their axis.

Shape suffixes: M points on the screen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lrwidget.engine.sweeps.curve import StopReason

if TYPE_CHECKING:
    from lrwidget.engine.sweeps.curve import LossCurve, Trace

Floats = npt.NDArray[np.float64]

MODERATE = 100.0
"""How far above where a run began its first validation loss may be, in distances that the training may be above it."""
NOTHING = 1e-6
"""A loss that is zero but for rounding, which says nothing of how high it may go."""


@dataclass(frozen=True, slots=True)
class LossRange:
    """What a loss axis has to show.

    Attributes:
        low: lower end.
        high: upper end, above `low`; a loss may go beyond.
        tail: index (0 ... M) of the first point of the diverged part; M when there is none.
    """

    low: float
    high: float
    tail: int


def has_diverged(curve: "LossCurve") -> bool | None:
    """Whether its loss ended the sweep, None while it runs; a rise alone is not what the sweep calls diverged."""
    if curve.stop_reason is None:
        return None
    return curve.stop_reason in (StopReason.DIVERGED, StopReason.NOT_FINITE)


def loss_range(trace: "Trace", diverged: bool | None) -> LossRange | None:
    """The range that shows a curve's descent and the start of its rise, however high it went afterwards.

    The rise begins where the smoothed loss, past its lowest point, is above all that came before by a quarter of the
    fall and by more than noise (4 median absolute distances of raw from smoothed). The range spans the smoothed loss
    before that, 96 % of the raw losses of the descent, and a bit of the rise; or all of it, when it is no more than
    twice the fall and the sweep has ended for another reason. Of a curve that has diverged it is the diverged part.

    Args:
        trace: the points on the screen; losses may be NaN or infinite.
        diverged: whether the sweep was ended by its loss; None while it runs.

    Returns:
        None when no loss is finite.
    """
    smoothed_M, losses_M = trace.smoothed, trace.losses
    usable = np.isfinite(smoothed_M) & np.isfinite(losses_M)
    if not usable.any():
        return None
    start = int(usable.argmax())
    broken = np.flatnonzero(~usable[start:])
    end = start + int(broken[0]) if len(broken) else len(smoothed_M)
    body, raw = smoothed_M[start:end], losses_M[start:end]
    lowest = int(body.argmin())
    top, fall = float(body[: lowest + 1].max()), float(body[: lowest + 1].max() - body[lowest])
    noise = quantile(np.abs(raw - body), 0.5)
    risen = np.flatnonzero(body[lowest:] > top + max(0.25 * fall, 4 * noise))
    rise = lowest + int(risen[0]) if len(risen) else len(body)
    low, high = _spread(body[:rise], raw[: lowest + 1 if len(risen) else None])
    if start + rise < len(smoothed_M):
        all_of_it = float(body.max())
        high = max(high, all_of_it if diverged is False and all_of_it <= top + 2 * fall else top + 0.4 * fall)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return LossRange(low - margin, high + margin, start + rise if diverged else len(smoothed_M))


def _spread(body: Floats, raw: Floats) -> tuple[float, float]:
    return min(float(body.min()), quantile(raw, 0.02)), max(float(body.max()), quantile(raw, 0.98))


def quantile(values: Floats, share: float) -> float:
    """The value below which a share of the values lies: `np.quantile`, at a quarter of its cost for a few hundred.

    >>> quantile(np.array([5.0, 1, 4, 2]), 0.5)
    3.0
    """
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    low, high = np.partition(values, (below, above))[[below, above]].tolist()
    return float(low + (place - below) * (high - low))


def run_range(losses: Floats, smoothed: Floats, valid: Floats) -> tuple[float, float]:
    """The range that shows a run: all that it fell through, and of a rise above where it began only some.

    That is the smoothed loss, 96 % of the raw losses and the validation loss, as far as they are not above where the
    training began by more than twice the fall, by as much as the loss was there, or by what is noise. Validation that
    begins higher, as it does when a model knows its training data by heart, has such a bound of its own, unless the
    training has gone beyond its bound. Of losses that are never negative no range ends below 0.

    A thousand raw losses or two tell where 96 % of them are, of however many.
    """
    some = losses[:: max(1, len(losses) // 1000)]
    raw, body, checked = (values[np.isfinite(values)] for values in (some, smoothed, valid))
    shown = np.concatenate([body, checked, [quantile(raw, share) for share in (0.02, 0.98)] if len(raw) else raw])
    if not len(shown):
        return 0.0, 1.0
    low, high = float(shown.min()), float(shown.max())
    early = losses[:1000]
    early = early[np.isfinite(early)]
    if len(early) and len(body):
        start = _beginning(early)
        bound = _bound(start, float(body.min()))
        bound = max(bound, _noise_above(raw, bound))
        if len(checked) and float(body.max()) <= bound and float(checked[0]) <= start + MODERATE * (bound - start):
            bound = max(bound, _bound(float(checked[0]), float(checked.min())))
        if bound > low + NOTHING:
            high = min(high, bound)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def _beginning(early: Floats) -> float:
    """Where a run began: its first loss, or when that was low by chance the middle one of its first three."""
    first = np.sort(early[:3])
    return max(float(early[0]), float(first[(len(first) - 1) // 2]))


def _bound(start: float, lowest: float) -> float:
    """How high the axis of a curve goes at most that began at `start` and has fallen to `lowest`."""
    return start + max(2 * (start - lowest), abs(start))


def _noise_above(raw: Floats, bound: float) -> float:
    """How high noise alone goes: that of the losses until the last within a bound; the bound when they are few.

    What has left for good is no noise, and quartiles do not feel what went high for a while and came back.
    """
    low = np.flatnonzero(raw <= bound)
    if len(low) < 8:
        return bound  # so few may be the beginning of a rise
    settled = raw[: int(low[-1]) + 1]
    middle, upper = quantile(settled, 0.5), quantile(settled, 0.75)
    return middle + 4 * (upper - middle)
