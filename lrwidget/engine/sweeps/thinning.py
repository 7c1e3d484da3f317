"""Fewer points that draw the same line. Needs numpy only."""

import math

import numpy as np
import numpy.typing as npt

from lrwidget.engine.plain import FloatArray


def thin(values: FloatArray, at_most: int) -> npt.NDArray[np.intp]:
    """Rising indices (M <= at_most, which is 4 or more) of the points to draw.

    Kept are both ends, and the lowest and the highest finite value of each of many equal stretches, so that no spike
    is lost.

    >>> thin(np.array([0.0, 1, 9, 1, 0, 1, -9, 1]), 6).tolist()
    [0, 2, 5, 6, 7]
    """
    if len(values) <= at_most:
        return np.arange(len(values))
    low = high = values
    finite = np.isfinite(values)
    if not finite.all():
        low, high = np.where(finite, low, np.inf), np.where(finite, high, -np.inf)
    # Stretches of equal width as rows of a matrix; the last one may be shorter and has its own.
    width = math.ceil(len(values) / (at_most // 2 - 1))
    end = len(values) // width * width
    start_R = np.arange(0, end, width)
    kept = [0, len(values) - 1]
    if end < len(values):
        kept += [end + int(low[end:].argmin()), end + int(high[end:].argmax())]
    low_R, high_R = low[:end].reshape(-1, width).argmin(1), high[:end].reshape(-1, width).argmax(1)
    found_M: npt.NDArray[np.intp] = np.unique(np.concatenate([kept, start_R + low_R, start_R + high_R]))
    return found_M
