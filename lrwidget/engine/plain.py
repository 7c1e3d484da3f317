"""Numbers as people bring them: those of numpy, out of an array or a `logspace`, are as good as Python's own."""

import numbers
from typing import Any, TypeGuard


def plain(value: Any) -> Any:
    """A number as an `int` or a `float`; anything else, truth values among it, as it is.

    Example:
        >>> import numpy as np
        >>> plain(np.int64(100)), plain(np.float64(0.5)), plain("100"), plain(True)
        (100, 0.5, '100', True)
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else value


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a plain value is a number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value: Any, least: int) -> TypeGuard[int]:
    """Whether a plain value is a whole number from `least` upwards."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
