"""Losses smoothed to both sides: the line that pictures of an ended sweep draw. Needs numpy only.

Shape suffixes: T points, F of them with a finite loss; M bins.
"""

import math

import numpy as np

from lrwidget.engine.plain import FloatArray, frozen_floats
from lrwidget.engine.sweeps.local_fits import (
    ROUNDING,
    SIGNIFICANT,
    away_from,
    binned,
    line_fits,
    noise_of,
    off_neighbours,
    running_median,
    smoothed,
    smoother,
)

MIN_POINTS = 5
"""Fewer are no curve that could be fitted."""
PILOT = 0.4
"""Width of the first fit, which tells how far apart two levels are, as a share of that of the second."""
NEAR = 9
"""Points whose noise is that of the one in the middle; the two or three of a jump are fewer than half of them."""
PASSES = 2
"""Fits that know levels; the first still has the last point before a rise for a part of it."""
REACH_NOISE, REACH_FALL = 2.0, 0.1
"""How far apart in loss two points help each other: in standard deviations of noise, and as a share of the fall."""


def centred_losses(lrs_T: FloatArray, losses_T: FloatArray, beta: float) -> FloatArray | None:
    """(T,) the losses smoothed over `ln lr` to both sides, NaN where one is not finite; read-only.

    Local straight-line fits, on the bins of `binned`, with Gaussian weights in `ln lr` as wide as gives the noise of
    the average that has the factor `beta`. Such a fit alone would not lag, but it would carry the rise at the end
    back into the descent, and have its lowest point half a decade early; so a weight is also Gaussian in the distance
    of the two levels, as the fit before has them, of which the first is narrow (a joint bilateral filter: Tomasi and
    Manduchi 1998, ICCV; Petschnigg et al. 2004, ACM Transactions on Graphics 23), in units of the noise around and of
    the fall. So many points make the line where the loss is level or unstable, and few where it leaves.

    What is far above or below the descent counts by its logarithm, and a point that is alone with its loss hardly.

    Measured on 100 points from 1e-7 to 10 that fall by 1.8, half of it up to 3e-3, and blow up from 0.2; 20 draws with
    noise of 0.1:

    ========================================  ==============  =========
    mean                                      causal average  this line
    ========================================  ==============  =========
    decades that half of the fall is late     0.61            0.01
    decades that the lowest point is late     0.13            −0.13
    share of the noise left where it is flat  0.24            0.25
    distance from the truth up to lr 0.5      0.33            0.04
    ========================================  ==============  =========

    It takes 1 to 2 ms, of 10 000 points too.

    Returns:
        None when there are too few points, when no smoothing was asked for, or when the losses span too much.
    """
    finite_T = np.isfinite(losses_T)
    x_F, y_F = np.log(lrs_T[finite_T]), losses_T[finite_T]
    # A mean of independent values has the noise of the average with Gaussian weights of this width.
    width = (1 + beta) / (1 - beta) / (2 * math.sqrt(math.pi))
    if len(y_F) < MIN_POINTS or width < 0.5:
        return None
    with np.errstate(all="ignore"):
        line_F = _fitted(x_F, y_F, width / len(y_F))
    if line_F is None or not np.isfinite(line_F).all():
        return None
    line_T = np.full(len(losses_T), math.nan)
    line_T[finite_T] = line_F
    return frozen_floats("centred", line_T)


def _fitted(x_F: FloatArray, y_F: FloatArray, width: float) -> FloatArray | None:
    """(F,) the line at each point, smoothed over a share `width` of the points; None when they are in too few bins."""
    _, level_M = binned(x_F, y_F)
    if len(level_M) < MIN_POINTS:
        return None
    start, bottom = float(np.median(level_M[: max(3, len(level_M) // 10)])), float(running_median(level_M).min())
    fall = start - bottom
    room = max(fall, SIGNIFICANT * noise_of(y_F), ROUNDING * max(abs(start), abs(bottom))) or 1.0
    if not math.isfinite(room):
        return None
    low, high = bottom - room, start + room

    def bent(losses: FloatArray) -> FloatArray:
        """Losses from `low` to `high` as they are, those beyond by the logarithm of how far."""
        inside = np.clip(losses, low, high)
        return inside + np.sign(losses - inside) * room * np.log1p(np.abs(losses - inside) / room)

    def straight(losses: FloatArray) -> FloatArray:
        inside = np.clip(losses, low, high)
        return inside + np.sign(losses - inside) * room * np.expm1(np.abs(losses - inside) / room)

    x_M, y_M = binned(x_F, bent(y_F))
    middle_M = running_median(y_M)
    y_M = np.clip(y_M, middle_M - room / 2, middle_M + room / 2)
    line_M = smoothed(smoother(len(y_M), PILOT * width)[0], y_M)
    reach_M = np.maximum(REACH_NOISE * _noise_around(y_M), max(REACH_FALL * fall, ROUNDING * room))
    away_MM = away_from(len(y_M))
    beside_MM = np.exp(-0.5 * (away_MM / max(1.0, width * len(y_M))) ** 2)
    next_MM = 1e-3 * (np.abs(away_MM) <= 1)  # always of some account, so that there is a line to fit
    for _ in range(PASSES):
        alike_MM = np.exp(-0.5 * (np.subtract.outer(line_M, line_M) / reach_M[:, None]) ** 2)
        level_MM, _ = line_fits(beside_MM * np.maximum(alike_MM, next_MM), away_MM)
        line_M = np.clip(smoothed(level_MM, y_M), y_M.min(), y_M.max())
    return straight(np.interp(x_F, x_M, line_M))


def _noise_around(y_M: FloatArray) -> FloatArray:
    """(M,) the noise near each value, at least that of all; where a loss is unstable it is more than before."""
    noise = noise_of(y_M)
    off_M = np.pad(off_neighbours(y_M), 1 + NEAR // 2, constant_values=noise)
    near_M = np.median(np.lib.stride_tricks.sliding_window_view(off_M, NEAR), axis=1)
    return np.maximum(noise, np.asarray(near_M, dtype=np.float64))
