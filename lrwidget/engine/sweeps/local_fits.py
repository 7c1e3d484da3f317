"""Straight lines fitted to the losses around each learning rate: what suggestions and pictures smooth with. Numpy only.

Shape suffixes: T points; M bins.
"""

import functools
import math

import numpy as np

from lrwidget.engine.plain import FloatArray

MAX_BINS = 128
SIGNIFICANT = 6.0
"""Standard deviations of the smoothed level that make a fall; the lowest wiggle of a flat curve reaches 3 or 4."""
ROUNDING = 1e-6
"""Share of the level below which the difference of two float32 losses is rounding."""


def binned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means of `x` and `y` over at most `MAX_BINS` stretches of equal width in `x`, without the empty ones.

    A sweep of fewer points with a constant factor between its learning rates keeps every point. A stretch whose mean
    overflows is left out.
    """
    width = (x[-1] - x[0]) / (MAX_BINS - 1) or 1.0
    starts = np.flatnonzero(np.diff(np.rint((x - x[0]) / width), prepend=-1))
    counts = np.diff(starts, append=len(x))
    with np.errstate(over="ignore", invalid="ignore"):
        mean_x, mean_y = np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts
    kept = np.isfinite(mean_y)
    return mean_x[kept], mean_y[kept]


def running_median(y: FloatArray, width: int = 5) -> FloatArray:
    """Median of the `width` values around each one, the ends repeated: a single spike leaves no trace in it."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(y, width // 2, mode="edge"), width)
    return np.asarray(np.median(around, axis=1), dtype=np.float64)


def off_neighbours(y: FloatArray) -> FloatArray:
    """How far each value but the first and the last is off the mean of its neighbours; the median is the noise.

    Scaled such that the median of independent Gaussian values is their standard deviation.
    """
    return np.asarray(np.abs(y[1:-1] - (y[:-2] + y[2:]) / 2) * (1.4826 / math.sqrt(1.5)), dtype=np.float64)


def noise_of(y: FloatArray) -> float:
    """The standard deviation of independent noise on at least 3 values, whatever the level and however it slopes."""
    return float(np.median(off_neighbours(y)))


def away_from(bins: int) -> FloatArray:
    """(M, M) how many bins each bin, a column, is to the right of each other, a row."""
    return np.subtract.outer(np.arange(bins), np.arange(bins)).T.astype(np.float64)


def line_fits(weight_MM: FloatArray, away_MM: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two (M, M) matrices: values times them are the level and the slope per bin of local straight-line fits.

    Around each bin, a row, a line is fitted by least squares (Cleveland 1979, JASA 74) with the weights of that row.
    """
    s0, s1, s2 = (np.sum(weight_MM * away_MM**power, axis=1, keepdims=True) for power in range(3))
    spread = s0 * s2 - s1**2
    return weight_MM * (s2 - s1 * away_MM) / spread, weight_MM * (s0 * away_MM - s1) / spread


@functools.lru_cache(maxsize=64)
def smoother(bins: int, width: float) -> tuple[FloatArray, FloatArray]:
    """`line_fits` with Gaussian weights whose standard deviation is `width · bins`, at least one bin."""
    away = away_from(bins)
    return line_fits(np.exp(-0.5 * (away / max(1.0, width * bins)) ** 2), away)


def smoothed(matrix: FloatArray, values: FloatArray) -> FloatArray:
    """`matrix` (M, M) times the values (..., M), on this thread alone.

    A product by `@` is spread over threads, which on a machine with other work wait for each other: 20 ms, not 0.4.
    """
    return np.asarray(np.einsum("nm,...m->...n", matrix, values), dtype=np.float64)
