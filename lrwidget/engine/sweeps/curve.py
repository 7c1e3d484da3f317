"""The loss curve of a sweep: what was measured, and how it ended. Needs numpy only.

Shape suffixes: T points, G param groups, M points left for the screen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from lrwidget.engine.errors import InputError, InputTypeError, RecordError
from lrwidget.engine.plain import FloatArray, frozen_floats
from lrwidget.engine.record import pack_floats, save, unpack_floats
from lrwidget.engine.sweeps.centred import centred_losses
from lrwidget.engine.sweeps.thinning import thin
from lrwidget.engine.sweeps.tracker import LossTracker, beta_for, check_beta, smoothed_by
from lrwidget.engine.words import format_lr

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

    from lrwidget.engine.sweeps.suggest import Advice


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
    StopReason.FAILED: "An exception ended the sweep {at}, {done}.",
}


@dataclass(frozen=True, slots=True)
class Trace:
    """The points of a curve that a screen needs, in order.

    Attributes:
        steps: (M,) index of each point in the curve.
        lrs: (M,) learning rate of the fastest group.
        losses: (M,) raw losses.
        smoothed: (M,) smoothed losses to draw, made of all points of the curve and not only of these:
            `LossCurve.smoothed` of a sweep that runs, `LossCurve.centred` of one that has ended.
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
    _centred: FloatArray | None = field(default=None, init=False, repr=False)

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
        """A curve as its sweep has it: read-only arrays (T,), smoothed by the same `beta`, and fields of their types.

        Nothing is copied, computed or checked: a curve that grows is looked at ten times a second.
        """
        curve = object.__new__(cls)
        for name, value in {**UNSAID, **fields, "lrs": lrs, "losses": losses, "_smoothed": smoothed}.items():
            object.__setattr__(curve, name, value)
        return curve

    def __len__(self) -> int:
        return len(self.lrs)

    @property
    def smoothed(self) -> FloatArray:
        """(T,) causal EMA of the losses as the sweep saw it, NaN where a loss is not finite. See `LossTracker`.

        It lags: on the default sweep it falls at about 4 times the learning rate at which the losses do. To read or to
        draw a curve that has ended, take `centred`.
        """
        if self._smoothed is None:
            object.__setattr__(self, "_smoothed", smoothed_by(LossTracker(self.beta), self.losses))
        assert self._smoothed is not None
        return self._smoothed

    @property
    def centred(self) -> FloatArray:
        """(T,) the losses smoothed to both sides, so that nothing lags, as much as `smoothed` is; read-only.

        NaN where a loss is not finite; `smoothed` itself where nothing can be fitted, as to fewer than 5 points. See
        `centred_losses`.
        """
        if self._centred is None:
            line = centred_losses(self.lrs, self.losses, self.beta)
            object.__setattr__(self, "_centred", self.smoothed if line is None else line)
        assert self._centred is not None
        return self._centred

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
        smoothed = self.smoothed if self.stop_reason is None else self.centred
        if len(self) <= max_points:
            return Trace(np.arange(len(self)), self.lrs, self.losses, smoothed)
        bottom = int(np.where(np.isfinite(smoothed), smoothed, np.inf).argmin())
        steps = thin(self.losses, max_points - 1)
        if bottom not in steps:
            steps = np.insert(steps, np.searchsorted(steps, bottom), bottom)
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


UNSAID = {f.name: f.default for f in fields(LossCurve) if f.default is not MISSING}
"""What the fields of a curve are that nobody gives."""


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
