"""Numbers as people bring them: those of numpy, out of an array or a `logspace`, are as good as Python's own."""

import math
import numbers
import operator
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from lrwidget.engine.errors import InputError, InputTypeError

FloatArray = npt.NDArray[np.float64]


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


def whole(value: Any, what: str, *, least: int = 1) -> int:
    """`value` as an int; numpy's and floats like 250.0, as divisions give them, are welcome, booleans are not."""
    try:
        if isinstance(value, bool):
            raise TypeError
        is_whole_float = isinstance(value, float | np.floating) and float(value).is_integer()
        number = int(value) if is_whole_float else operator.index(value)
    except TypeError:
        raise InputTypeError(f"Got {what}={value!r}; expected a whole number, {least} or more.") from None
    if number < least:
        raise InputError(f"Got {what}={number}; expected a whole number, {least} or more.")
    return number


def finite(value: Any, what: str) -> float:
    """`value` as a finite Python float; booleans and strings are refused."""
    try:
        if isinstance(value, bool | np.bool_ | str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise InputTypeError(f"Got {what}={value!r}; expected a number.") from None
    if not math.isfinite(number):
        raise InputError(f"Got {what}={number}; expected a finite number.")
    return number


def positive_lr(value: Any, what: str) -> float:
    """`value` as a finite float above 0."""
    number = finite(value, what)
    if not number > 0:
        raise InputError(
            f"Got {what}={number}; expected a number above 0. "
            "To keep a group from training, set requires_grad of its parameters to False."
        )
    return number


def frozen_floats(name: str, values: npt.ArrayLike) -> FloatArray:
    """A read-only float64 copy of the sequence `values`, or an error that calls it `name`."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"Got {name} of type {type(values).__name__}; expected a sequence of numbers ({error})."
        ) from error
    if array.ndim != 1:
        raise InputError(f"Got {name} of shape {array.shape}; expected one dimension, a number for each point.")
    array.flags.writeable = False
    return array
