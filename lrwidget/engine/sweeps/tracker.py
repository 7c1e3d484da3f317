"""Losses smoothed as they come, and the test for divergence.

Shape suffixes: T points.
"""

import math

from lrwidget.engine.errors import InputError
from lrwidget.engine.plain import FloatArray, frozen_floats

DIVERGE_RATIO = 2.0
"""How many times the fall so far the smoothed loss may rise above its best.

At 2 the loss is as far above its start as the best was below it. A loss that blows up exponentially passes any ratio
from 1 to 4 within 0.2 decades of learning rate, so the choice matters where it does not: networks with normalisation
layers only climb to a few times the level of chance. Of ten sweeps of such a network under SGD, 2 stopped ten before
their end and 4 stopped two.
"""
NOISE_FLOOR = 10.0
"""Least rise that counts, before the ratio, in standard deviations of the smoothed loss.

Times the ratio this is 20 of them; Gaussian noise lifts the average of a flat curve by 4 to 8 above its lowest value.
"""
LEVEL_FLOOR = 0.15
"""Least rise that counts, before the ratio, as a share of the first loss; it serves until the loss has fallen."""
MIN_WARM_UP, MAX_WARM_UP = 10, 50
"""Bounds on the number of points that are only averaged, before the first test for divergence."""


def beta_for(num_steps: int, smoothing: float = 0.1) -> float:
    """The EMA factor whose memory is a constant share of a sweep of `num_steps`.

    A fixed factor smears a short sweep over decades of learning rate: 0.98 remembers 50 steps, half of a sweep of 100.

    Args:
        num_steps: Planned steps of the sweep, at least 1.
        smoothing: Share of the sweep that the average remembers, from 0 (none) to below 1. The default, 0.1, is 0.8
            decades of a sweep from 1e-7 to 10 whatever its number of steps.

    Returns:
        `1 − 1/max(1, smoothing · num_steps)`, in [0, 1).

    >>> beta_for(100), beta_for(5)
    (0.9, 0.0)
    """
    if not 0 <= smoothing < 1:
        raise InputError(f"Got smoothing={smoothing!r}; expected a share of the sweep, 0 ≤ smoothing < 1, such as 0.1.")
    return 1 - 1 / max(1.0, smoothing * num_steps)


class LossTracker:
    """Smooths losses as they come and notices when they diverge, in plain floats at about half a microsecond each.

    The smoothed loss is the bias-corrected exponential moving average
    `s_t = m_t / (1 − β^t)` with `m_t = β·m_{t−1} + (1 − β)·loss_t` (Kingma and Ba 2015, section 3).

    The loss has diverged at the first point past the warm-up where::

        min(s_t, loss_t, loss_{t−1}) − best  >  diverge_ratio · max(first − best, floor)
        floor = max(NOISE_FLOOR · σ_s, LEVEL_FLOOR · |first|)

    `best` is the lowest smoothed loss since the warm-up, and `first − best` the fall so far. Losses enter as
    differences, except in the last floor, so negative losses and losses that cross zero are judged as any other. The
    two latest raw losses must have risen too: one bad batch is no divergence, however long the average remembers it.

    `σ_s`, the noise of the smoothed loss, is `σ · √((1−β)/(1+β))` with `σ = √π · (mean fall from one loss to the next,
    a rise counting as zero)`, exact for independent Gaussian noise. Noise moves down as often as up while a loss that
    blows up does not move down, so a blow-up does not hide behind the noise that it makes. The warm-up is the memory of
    the average, `1/(1−β)` points, within `MIN_WARM_UP` and `MAX_WARM_UP`.

    Args:
        beta: EMA factor in [0, 1); 0 means no smoothing. `beta_for` gives the one for a sweep.
        diverge_ratio: As in the formula, above 0; `math.inf` never diverges.

    Attributes:
        smoothed: Smoothed loss after the latest update; NaN before the first and after a loss that is not finite.
        best: Lowest smoothed loss since the warm-up; infinite before its end.
        diverged: Whether any point so far has met the formula.
    """

    __slots__ = (
        "_beta",
        "_count",
        "_falls",
        "_first",
        "_last",
        "_level_floor",
        "_mean",
        "_noise_floor",
        "_power",
        "_ratio",
        "_warm_up",
        "best",
        "diverged",
        "smoothed",
    )

    def __init__(self, beta: float, diverge_ratio: float = DIVERGE_RATIO) -> None:
        check_beta(beta)
        if not diverge_ratio > 0:
            raise InputError(
                f"Got diverge_ratio={diverge_ratio!r}; expected a number above 0, such as {DIVERGE_RATIO}, or math.inf."
            )
        self.smoothed = math.nan
        self.best = math.inf
        self.diverged = False
        self._beta = beta
        self._ratio = diverge_ratio
        self._warm_up = min(max(math.ceil(1 / (1 - beta)), MIN_WARM_UP), MAX_WARM_UP)
        self._noise_floor = NOISE_FLOOR * math.sqrt(math.pi * (1 - beta) / (1 + beta))
        self._level_floor = 0.0
        self._count = 0
        self._mean = 0.0
        self._power = 1.0
        self._first = math.nan
        self._last = math.nan
        self._falls = 0.0

    def update(self, loss: float) -> float:
        """Take the next loss and return the smoothed one; NaN for a loss that is not finite, which leaves no trace."""
        if not math.isfinite(loss):
            self.smoothed = math.nan
            return math.nan
        beta = self._beta
        before, last = self._count, self._last
        self._count = before + 1
        self._power *= beta
        self._mean = beta * self._mean + (1 - beta) * loss
        self.smoothed = smoothed = self._mean / (1 - self._power)
        if before == 0:
            self._first = loss
            self._level_floor = LEVEL_FLOOR * abs(loss)
        elif loss < last:
            self._falls += last - loss
        self._last = loss
        if before >= self._warm_up:
            if smoothed < self.best:
                self.best = smoothed
            elif min(smoothed, loss, last) - self.best > self._ratio * max(
                self._first - self.best, self._noise_floor * self._falls / before, self._level_floor
            ):
                self.diverged = True
        return smoothed


def smoothed_by(tracker: LossTracker, losses_T: FloatArray) -> FloatArray:
    """(T,) the smoothed losses that a fresh tracker makes of the losses; read-only."""
    return frozen_floats("smoothed", [tracker.update(loss) for loss in losses_T.tolist()])


def check_beta(beta: float) -> None:
    """Raise unless `beta` is an EMA factor."""
    if not 0 <= beta < 1:
        raise InputError(f"Got beta={beta!r}; expected an EMA factor, 0 ≤ beta < 1. beta_for(num_steps) gives one.")
