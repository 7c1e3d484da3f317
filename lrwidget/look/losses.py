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
    """The range that shows a run: all of the smoothed and the validation loss, and 96 % of the raw losses.

    A thousand raw losses or two tell where 96 % of them are, of however many.
    """
    shown = [values[np.isfinite(values)] for values in (smoothed, valid)]
    some = losses[:: max(1, len(losses) // 1000)]
    raw = some[np.isfinite(some)]
    ends = np.concatenate([*shown, [quantile(raw, share) for share in (0.02, 0.98)] if len(raw) else raw])
    if not len(ends):
        return 0.0, 1.0
    low, high = float(ends.min()), float(ends.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
