"""The loss curve of a sweep, its live smoothing, and the test for divergence. Needs numpy only.

Shape suffixes: T points, G param groups, M points left for the screen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from lrwidget.engine.errors import InputError, InputTypeError, RecordError
from lrwidget.engine.record import pack_floats, save, unpack_floats
from lrwidget.engine.words import format_lr

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

    from lrwidget.engine.sweeps.suggest import Advice

FloatArray = npt.NDArray[np.float64]

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


class StopReason(StrEnum):
    """Why a sweep ended."""

    FINISHED = auto()
    """Every planned step was taken."""
    DIVERGED = auto()
    """The smoothed loss rose too far above its best."""
    NOT_FINITE = auto()
    """The loss was NaN or infinite."""
    STOPPED = auto()
    """Somebody asked it to stop."""
    INTERRUPTED = auto()
    """A keyboard interrupt, or the kernel's interrupt button."""
    RAN_DRY = auto()
    """The loader had no more batches and could not start again."""
    FAILED = auto()
    """An exception in the user's model, loss or data."""


ENDINGS = {
    StopReason.FINISHED: "Took all planned steps.",
    StopReason.DIVERGED: "The loss diverged {at}, {done}.",
    StopReason.NOT_FINITE: "The loss was not finite any more {at}, {done}.",
    StopReason.STOPPED: "Stopped {at}, {done}.",
    StopReason.INTERRUPTED: "Interrupted {at}, {done}.",
    StopReason.RAN_DRY: "The loader ran out of batches {done}, and cannot start over.",
    StopReason.FAILED: "An exception in your code ended the sweep {at}, {done}.",
}


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


@dataclass(frozen=True, slots=True)
class Trace:
    """The points of a curve that a screen needs, in order.

    Attributes:
        steps: (M,) index of each point in the curve.
        lrs: (M,) learning rate of the fastest group.
        losses: (M,) raw losses.
        smoothed: (M,) smoothed losses, averaged over all points of the curve, not only over these.
    """

    steps: npt.NDArray[np.intp]
    lrs: FloatArray
    losses: FloatArray
    smoothed: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class LossCurve:
    """What a sweep measured, immutable: one loss for each learning rate, and how the sweep ended.

    Losses may be negative, NaN or infinite. Learning rates must be finite, positive and strictly increasing
    (`InputError`).

    Attributes:
        lrs: (T,) float64, learning rate of the fastest group at each point. Read-only copy.
        losses: (T,) float64, raw training loss at each point. Read-only copy.
        beta: EMA factor of `smoothed`, in [0, 1).
        stop_reason: Why the sweep ended; None while it runs.
        ratios: (G,) learning rate of each group divided by the fastest group's: within [0, 1], the largest is 1.
        names: (G,) name of each group.
        num_steps: Steps that were planned; never less than the number of points.
        seconds: How long the sweep took.
        given_back: Whether a comparison after the sweep found everything as before; None when none was asked for.
        gradient_shares: (G,) share of each group in the squared gradient norm at the first step, whose weights are the
            current ones: `‖g_G‖² / ‖g‖²`, adding up to 1. Empty when the gradients could not be seen.
    """

    lrs: FloatArray
    losses: FloatArray
    beta: float = 0.9
    stop_reason: StopReason | None = StopReason.FINISHED
    ratios: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = ("group 0",)
    num_steps: int = 0
    seconds: float = 0.0
    given_back: bool | None = None
    gradient_shares: tuple[float, ...] = ()
    _smoothed: FloatArray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        lrs, losses = frozen_floats("lrs", self.lrs), frozen_floats("losses", self.losses)
        if len(lrs) != len(losses):
            raise InputError(
                f"Got {len(lrs)} learning rates and {len(losses)} losses; expected one loss for each learning rate."
            )
        check_lrs(lrs)
        check_beta(self.beta)
        check_ratios(self.ratios, self.names)
        put = object.__setattr__
        put(self, "lrs", lrs)
        put(self, "losses", losses)
        put(self, "beta", float(self.beta))
        put(self, "stop_reason", None if self.stop_reason is None else StopReason(self.stop_reason))
        put(self, "ratios", tuple(float(ratio) for ratio in self.ratios))
        put(self, "names", tuple(self.names))
        put(self, "num_steps", max(int(self.num_steps), len(lrs)))
        put(self, "seconds", float(self.seconds))
        put(self, "gradient_shares", tuple(float(share) for share in self.gradient_shares))

    @classmethod
    def from_arrays(cls, lrs: npt.ArrayLike, losses: npt.ArrayLike, **extras: Any) -> Self:
        """A curve from numbers measured anywhere, for instance by another finder.

        Args:
            lrs: (T,) learning rates, positive and increasing.
            losses: (T,) raw losses. Smoothed ones would be smoothed again.
            **extras: Any other field. By default `beta` is `beta_for(T)`, `stop_reason` is told from the losses, and
                the groups' names are numbers.
        """
        losses_T = frozen_floats("losses", losses)
        extras.setdefault("beta", beta_for(len(losses_T)))
        extras.setdefault("stop_reason", ending_of(losses_T, extras["beta"]))
        if "ratios" in extras:
            extras.setdefault("names", tuple(f"group {g}" for g in range(len(extras["ratios"]))))
        return cls(frozen_floats("lrs", lrs), losses_T, **extras)

    @classmethod
    def seen(cls, lrs: FloatArray, losses: FloatArray, smoothed: FloatArray, **fields: Any) -> Self:
        """A curve whose smoothed losses (T,) somebody who computes them anyway has, by the same `beta`."""
        curve = cls(lrs, losses, **fields)
        # Not to be computed again, least of all at every look at a curve that grows: half a microsecond a point.
        object.__setattr__(curve, "_smoothed", frozen_floats("smoothed", smoothed))
        return curve

    def __len__(self) -> int:
        return len(self.lrs)

    @property
    def smoothed(self) -> FloatArray:
        """(T,) causal EMA of the losses as the sweep saw it, NaN where a loss is not finite. See `LossTracker`."""
        if self._smoothed is None:
            object.__setattr__(self, "_smoothed", smoothed_by(LossTracker(self.beta), self.losses))
        assert self._smoothed is not None
        return self._smoothed

    @property
    def note(self) -> str:
        """The ending in plain words; empty while the sweep runs."""
        if self.stop_reason is None:
            return ""
        at = f"at lr {format_lr(self.lrs[-1])}" if len(self) else "at the start"
        return ENDINGS[self.stop_reason].format(at=at, done=f"after {len(self)} of {self.num_steps} steps")

    @property
    def group_lrs(self) -> FloatArray:
        """(T, G) learning rate of every group at each point."""
        return self.lrs[:, None] * np.array(self.ratios, dtype=np.float64)

    def suggest(self) -> "Advice":
        """Every rule's suggestion, with its evidence, and the one recommended. See `lrwidget.engine.sweeps.suggest`."""
        from lrwidget.engine.sweeps.suggest import suggest

        return suggest(self)

    def decimated(self, max_points: int = 600) -> Trace:
        """At most `max_points` points that draw the same picture.

        Kept are the first and the last point, the lowest raw and the lowest smoothed one, and the lowest and highest
        raw loss of each of many equal stretches, so that no spike is lost.

        Args:
            max_points: At least 6. The default, 600, is a point for each pixel column or so of a notebook's chart, and
                10 kB.
        """
        if max_points < 6:
            raise InputError(
                f"Got max_points={max_points!r}; expected at least 6: the ends, the lowest two, one stretch."
            )
        steps = np.arange(len(self))
        smoothed = self.smoothed
        if len(self) > max_points:
            low, high, bottom = self.losses, self.losses, smoothed
            finite = np.isfinite(self.losses)
            if not finite.all():
                low, high = np.where(finite, low, np.inf), np.where(finite, high, -np.inf)
                bottom = np.where(np.isfinite(smoothed), smoothed, np.inf)
            # Stretches of equal width as rows of a matrix, the last one filled up with what no extreme is.
            width = math.ceil(len(self) / ((max_points - 4) // 2))
            start_R = np.arange(0, len(self), width)
            missing = (0, len(start_R) * width - len(self))
            low_RW = np.pad(low, missing, constant_values=np.inf).reshape(-1, width)
            high_RW = np.pad(high, missing, constant_values=-np.inf).reshape(-1, width)
            ends = [0, len(self) - 1, low.argmin(), bottom.argmin()]
            steps = np.unique(np.concatenate([ends, start_R + low_RW.argmin(1), start_R + high_RW.argmax(1)]))
        return Trace(steps, self.lrs[steps], self.losses[steps], smoothed[steps])

    def same_as(self, other: "LossCurve") -> bool:
        """Whether every field of `other` is equal, to the last bit; NaN equals NaN."""
        return all(
            np.array_equal(mine, theirs, equal_nan=True) if isinstance(mine, np.ndarray) else mine == theirs
            for mine, theirs in ((getattr(self, name), getattr(other, name)) for name in _told())
        )

    def plot(self) -> "Figure":
        """A matplotlib figure of the curve with its suggestions. Imports matplotlib."""
        from lrwidget.static import curve_figure

        return curve_figure(self, advice=self.suggest())

    def save(self, path: "str | os.PathLike[str]") -> Path:
        """Write the curve as JSON; `lrwidget.load` reads it back equal to the last bit."""
        return save(self, path)

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON can hold them: NaN and infinities as strings."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in _told()}
        plain["lrs"], plain["losses"] = pack_floats(self.lrs), pack_floats(self.losses)
        for name in ("ratios", "names", "gradient_shares"):
            plain[name] = list(plain[name])
        plain["stop_reason"] = None if self.stop_reason is None else self.stop_reason.value
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The curve that `to_dict` described, or `RecordError` when a field is missing, unknown or wrong."""
        known = set(_told())
        if plain.keys() != known:
            raise RecordError(
                f"Got a curve with the fields {', '.join(sorted(plain))}; expected exactly {', '.join(sorted(known))}."
            )
        try:
            arrays = {"lrs": unpack_floats(plain["lrs"]), "losses": unpack_floats(plain["losses"])}
            return cls(**{**plain, **arrays, "ratios": tuple(plain["ratios"]), "names": tuple(plain["names"])})
        except (TypeError, ValueError) as error:
            raise RecordError(f"Got a curve that cannot be: {error}") from error


def smoothed_by(tracker: LossTracker, losses_T: FloatArray) -> FloatArray:
    """(T,) the smoothed losses that a fresh tracker makes of the losses; read-only."""
    return frozen_floats("smoothed", [tracker.update(loss) for loss in losses_T.tolist()])


def _told() -> list[str]:
    """The fields of a curve that are not computed from others."""
    return [f.name for f in fields(LossCurve) if f.init]


def ending_of(losses: FloatArray, beta: float) -> StopReason:
    """How a sweep that measured `losses` ended, as far as they tell."""
    if len(losses) and not math.isfinite(losses[-1]):
        return StopReason.NOT_FINITE
    tracker = LossTracker(beta)
    for loss in losses.tolist():
        tracker.update(loss)
    return StopReason.DIVERGED if tracker.diverged else StopReason.FINISHED


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


def check_lrs(lrs: FloatArray) -> None:
    """Raise unless the learning rates are finite, positive and strictly increasing."""
    # At every look at a curve that grows: one comparison for each point, which also sees NaN, and two for the ends.
    if not len(lrs) or (lrs[0] > 0 and lrs[-1] < math.inf and bool((lrs[1:] > lrs[:-1]).all())):
        return
    bad = ~(np.isfinite(lrs) & (lrs > 0))
    if bad.any():
        i = int(bad.argmax())
        raise InputError(f"Got a learning rate of {lrs[i]} at point {i}; expected finite numbers above 0.")
    still = np.diff(lrs) <= 0
    if still.any():
        i = int(still.argmax())
        raise InputError(
            f"Got {lrs[i + 1]} after {lrs[i]} at point {i + 1}; expected learning rates that increase: sort the points."
        )


def check_beta(beta: float) -> None:
    """Raise unless `beta` is an EMA factor."""
    if not 0 <= beta < 1:
        raise InputError(f"Got beta={beta!r}; expected an EMA factor, 0 ≤ beta < 1. beta_for(num_steps) gives one.")


def check_ratios(ratios: Sequence[float], names: Sequence[str]) -> None:
    """Raise unless there is one ratio for each name, all within [0, 1], the largest 1."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputTypeError(f"Got names={names!r}; expected a sequence of strings, one for each group.")
    if len(ratios) != len(names):
        raise InputError(f"Got {len(ratios)} ratios and {len(names)} names; expected one of each for every group.")
    if not ratios or max(ratios) != 1 or not all(0 <= ratio <= 1 for ratio in ratios):
        raise InputError(
            f"Got ratios={tuple(ratios)}; expected each group's learning rate over the largest one, at most 1."
        )
