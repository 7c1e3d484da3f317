"""Learning rates read off a loss curve, each with its evidence. Needs numpy only.

Every rule reads the same picture of the curve (`read`): the raw losses, averaged into at most `MAX_BINS` bins, cut
where they have diverged, and smoothed symmetrically over the logarithm of the learning rate. The smoother is a local
straight-line fit with Gaussian weights, so that it neither lags, as the live average does, nor bends at the ends. The
level is smoothed over a standard deviation of `LEVEL_WIDTH` of the curve, the slope, which noise hurts more, over
`SLOPE_WIDTH`.

How stable an answer is, is measured: the residuals of the fit get random signs and are added back to it, and the rule
is asked again, `REPLICATES` times (a wild bootstrap: Wu 1986, Annals of Statistics 14, section 7). The band from `low`
to `high` holds nine tenths of the answers and is never narrower than the spacing of the bins; on simulated curves it
held the answer without noise about four times of five. The signs come from a generator of their own with a fixed seed:
the same curve gives the same advice.

Only differences of losses count, in units of the fall and of the noise: adding a constant to the losses, or scaling
them, changes no answer.

Shape suffixes: R rows, of which row 0 is the curve and the others are its replicates; M bins.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lrwidget.engine.plain import FloatArray
from lrwidget.engine.sweeps.curve import LossCurve, StopReason
from lrwidget.engine.sweeps.local_fits import (
    ROUNDING,
    SIGNIFICANT,
    binned,
    noise_of,
    running_median,
    smoothed,
    smoother,
)
from lrwidget.engine.sweeps.tracker import LossTracker, beta_for
from lrwidget.engine.words import format_lr

MIN_POINTS = 10
LEVEL_WIDTH = 0.02
SLOPE_WIDTH = 0.06
REPLICATES = 64
CREST = 0.7
"""Share of the steepest slope above which its neighbours weigh in, so that the answer does not jump between bins."""
EDGE = 0.15
"""Share of the curve that counts as its end, and share of the fall that may be missing there."""
EARLY = 0.25
"""Share of the planned sweep before which a rise means that the sweep started too high."""
UNSTABLE = 10.0
"""Ratio of the ends of a band beyond which the suggestion is called a guess."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rule's answer.

    Attributes:
        rule: Name of the rule.
        lr: Learning rate for the fastest group, or None when the curve cannot answer.
        low: Lower end of the stability band, None with `lr`.
        high: Upper end of the stability band, None with `lr`. Always `low ≤ lr ≤ high`.
        why: One sentence: what the rule saw, or why it saw nothing and what to do.
    """

    rule: str
    lr: float | None
    low: float | None
    high: float | None
    why: str


class Advice(Mapping[str, Suggestion]):
    """Every rule's suggestion by name, then the one under "recommended". Immutable; its `repr` is a table."""

    __slots__ = ("_suggestions",)

    def __init__(self, suggestions: Mapping[str, Suggestion]) -> None:
        self._suggestions = dict(suggestions)

    def __getitem__(self, name: str) -> Suggestion:
        return self._suggestions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._suggestions)

    def __len__(self) -> int:
        return len(self._suggestions)

    @property
    def recommended(self) -> Suggestion:
        """The suggestion to follow: its `rule` names where it came from, its `lr` is None when no rule could answer."""
        return self._suggestions["recommended"]

    def __repr__(self) -> str:
        rows = [("rule", "lr", "stable within", "why")]
        for name, s in self.items():
            band = "–" if s.lr is None else f"{short(s.low)} … {short(s.high)}"
            rows.append((name, short(s.lr), band, s.why))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What every rule needs to know about a curve.

    Attributes:
        x: (M,) natural logarithm of the learning rate, rising.
        level: (R, M) smoothed loss, in units of the fall of row 0 below its start: 0 at the start, −1 at the lowest
            point.
        slope: (R, M) its derivative with respect to `x`.
        lowest: (R,) bin of the lowest level.
        start: Loss before the fall.
        bottom: Lowest smoothed loss.
        rose: Whether the loss rose again after its lowest point.
    """

    x: FloatArray
    level: FloatArray
    slope: FloatArray
    lowest: npt.NDArray[np.intp]
    start: float
    bottom: float
    rose: bool

    @property
    def fell_by(self) -> FloatArray:
        """(R, M) share of each row's own fall that has been made."""
        fall: FloatArray = np.maximum(-self.level.min(axis=1, keepdims=True), ROUNDING)
        return -self.level / fall

    @property
    def descending(self) -> npt.NDArray[np.bool_]:
        """(R, M) whether a bin is not beyond its row's lowest."""
        return np.arange(len(self.x)) <= self.lowest[:, None]

    def told(self, loss: float) -> str:
        """`loss` for a sentence, with the digits that tell it from others of this curve."""
        parts = max(abs(self.start), abs(self.bottom)) / max(self.start / 2 - self.bottom / 2, sys.float_info.min) / 2
        return f"{loss:.{min(2 + math.ceil(math.log10(max(parts, 10))), 9)}g}"

    @property
    def still_falling(self) -> bool:
        """Whether the curve ends before its descent does."""
        last = round((1 - EDGE) * len(self.x))
        return not self.rose and bool(self.fell_by[0, :last].max() < 1 - EDGE)


Answer = tuple[FloatArray, str]
"""(R,) natural logarithms of learning rates, and what was seen. A rule that cannot answer gives the reason alone."""


def suggest(curve: LossCurve) -> Advice:
    """Every rule's suggestion for `curve`, and the one recommended. Never raises for any curve.

    Recommended is the middle one of the answers, or the smaller of two, because a learning rate that is too small costs
    time and one that is too large costs the run; guesses count only where
    there is nothing better, and then the narrowest band decides. The middle is more
    stable than the rule with the narrowest band, since noise decides which band is the narrowest: over ten seeds of
    small networks the middle spread over a factor of 2, the choice by band over 3 to 6.
    """
    reading = read(curve)
    suggestions = {name: ask(name, reading) for name in RULES}
    return Advice({**suggestions, "recommended": recommend(suggestions)})


def valley(curve: LossCurve) -> Suggestion:
    """The middle of the descent, where the loss makes the middle half of its fall.

    With the level `a` at the start and `b` at the lowest point, take every level between a quarter and three quarters
    of the way down from `a` to `b`, and the mean of `ln lr` over the places where the curve passes them. As an
    integral::

        ln lr = x_0 + ∫ clip((y(x) − y_75) / (y_25 − y_75), 0, 1) dx       from the first point x_0 to the lowest

    with `y_25 = a − (a − b)/4` and `y_75 = a − 3(a − b)/4`. A flat start and a flat bottom enter as ones and zeros
    however long and noisy they are, no single point decides, and a bump on the way down counts for its width. The rule
    of this name elsewhere takes the middle of the longest decreasing subsequence, which moves tenfold when a smooth
    curve gets a little noise.
    """
    return ask("valley", read(curve))


def steepest(curve: LossCurve) -> Suggestion:
    """The middle of the stretch, within the middle 80 % of the fall, where `d loss / d ln lr` is at its lowest."""
    return ask("steepest", read(curve))


def minimum_tenth(curve: LossCurve) -> Suggestion:
    """A tenth of the learning rate at the middle of the bottom, where at least 95 % of the fall has been made."""
    return ask("minimum/10", read(curve))


def find_valley(reading: Reading) -> Answer | str:
    """`valley` on every row."""
    if reading.still_falling:
        return (
            f"The loss is still falling at {lr_at(reading, -1)}, so the middle of its descent is unknown: raise the "
            "end (end_lr)."
        )
    height = np.where(reading.descending, np.clip((0.75 - reading.fell_by) / 0.5, 0, 1), 0.0)
    answers = reading.x[0] + (0.5 * (height[:, 1:] + height[:, :-1]) * np.diff(reading.x)).sum(axis=1)
    start, bottom = reading.told(reading.start), reading.told(reading.bottom)
    return answers, f"The middle of the descent from {start} to {bottom}, whose lowest point is at {lr_at(reading)}"


def find_steepest(reading: Reading) -> Answer | str:
    """`steepest` on every row."""
    middle = reading.descending & (reading.fell_by > 0.1) & (reading.fell_by < 0.9)
    middle |= ~middle.any(axis=1, keepdims=True)  # a fall from one bin to the next has no middle
    slope = np.where(middle, reading.slope, np.inf)
    at = slope.argmin(axis=1)
    if not reading.rose and at[0] >= (1 - SLOPE_WIDTH) * len(reading.x) - 1:
        edge = lr_at(reading, -1)
        return f"The loss falls fastest at the edge of the range, {edge}: raise the end (end_lr) to see beyond."
    per_decade = abs(float(slope[0, at[0]])) * (reading.start - reading.bottom) * math.log(10)
    near = np.abs(np.arange(len(reading.x)) - at[:, None]) <= 2 * SLOPE_WIDTH * len(reading.x)
    share = np.where(middle & near, reading.slope, 0.0) / np.minimum(slope.min(axis=1, keepdims=True), -ROUNDING)
    weight = np.maximum(share - CREST, 0.0) * np.gradient(reading.x)
    weight[np.arange(len(weight)), at] += ROUNDING  # never all zero
    return (weight * reading.x).sum(axis=1) / weight.sum(
        axis=1
    ), f"The loss falls fastest here, by {per_decade:.2g} per decade of learning rate"


def find_minimum_tenth(reading: Reading) -> Answer | str:
    """`minimum_tenth` on every row."""
    bottom = reading.told(reading.bottom)
    if not reading.rose:
        return (
            f"The lowest loss, {bottom} at {lr_at(reading)}, lies at the edge of the range: the loss never rose again "
            "and the true minimum may lie beyond: raise the end (end_lr)."
        )
    weight = np.where(reading.fell_by >= 0.95, np.gradient(reading.x), 0.0)
    weight[np.arange(len(weight)), reading.lowest] += ROUNDING  # never all zero
    middle = (weight * reading.x).sum(axis=1) / weight.sum(axis=1)
    below = ", though below the range that was tried" if middle[0] - math.log(10) < reading.x[0] else ""
    at = short(math.exp(middle[0]))
    return middle - math.log(10), f"A tenth of {at}, the middle of the bottom where the loss is {bottom}{below}"


RULES: Mapping[str, Callable[[Reading], Answer | str]] = {
    "valley": find_valley,
    "steepest": find_steepest,
    "minimum/10": find_minimum_tenth,
}


def ask(name: str, reading: Reading | str) -> Suggestion:
    """The suggestion of the rule `name`, with its band."""
    answer = reading if isinstance(reading, str) else RULES[name](reading)
    if isinstance(answer, str) or isinstance(reading, str):
        return Suggestion(name, None, None, None, str(answer))
    answers, seen = answer
    spacing = (reading.x[-1] - reading.x[0]) / (2 * len(reading.x))
    low, high = np.quantile(answers, [0.05, 0.95])
    low, high = min(low, answers[0] - spacing), max(high, answers[0] + spacing)
    lr, low, high = np.exp(np.clip([answers[0], low, high], -700, 700)).tolist()
    trust = f"stable within a factor of {high / low:.2g}."
    if high > UNSTABLE * low:
        trust = f"but noise moves it by a factor of {high / low:.0f}: a guess; sweep with more steps or larger batches."
    return Suggestion(name, lr, low, high, f"{seen}; {trust}")


def recommend(suggestions: Mapping[str, Suggestion]) -> Suggestion:
    """The suggestion to follow, with the reason for choosing it, or the reason why there is none."""
    answers = [(s.high / s.low, s) for s in suggestions.values() if s.lr is not None and s.low and s.high]
    if not answers:
        return Suggestion("recommended", None, None, None, next(iter(suggestions.values())).why)
    steady = sorted((s for band, s in answers if band <= UNSTABLE), key=lambda s: s.lr or 0.0)
    if steady:
        chosen = steady[(len(steady) - 1) // 2]
        reason = ("the only steady answer", "the smaller of two steady answers", "the middle of three answers")[
            len(steady) - 1
        ]
    else:
        chosen, reason = min(answers, key=lambda answer: answer[0])[1], "the least uncertain answer"
    others = ", ".join(f"{s.rule} {short(s.lr)}" for _, s in answers if s is not chosen)
    return replace(chosen, why=f"From {chosen.rule}, {reason}{f' (others: {others})' if others else ''}. {chosen.why}")


def read(curve: LossCurve) -> Reading | str:
    """What the rules need to know about `curve`, or, when no rule can answer, why and what to do."""
    points = usable(curve)
    if isinstance(points, str):
        return points
    x, y, ended = points
    scale = float(np.abs(y).max()) or 1.0
    y = y / scale
    level_of, slope_of = smoother(len(y), LEVEL_WIDTH)[0], smoother(len(y), SLOPE_WIDTH)[1]

    first = max(3, len(y) // 10)
    start = float(np.median(y[:first]))
    noise = noise_of(y)
    # A symmetric smoother carries a blow-up back into the descent, so losses count only up to a little above the start.
    capped = np.minimum(y, start + max(start - running_median(y).min(), SIGNIFICANT * noise, 2 * ROUNDING))
    fit = smoothed(level_of, capped)
    residual = (capped - fit) / math.sqrt(1 - np.trace(level_of) / len(y))

    lowest = int(fit.argmin())
    fall = start - float(fit[lowest])
    rise = float(fit[lowest:].max() - fit[lowest])
    noise = max(noise, float(np.sqrt(np.mean(residual[: lowest + 1] ** 2))))
    noise_of_fit = noise * float(np.sqrt((level_of**2).sum(axis=1).mean()))
    least = max(SIGNIFICANT * noise_of_fit, ROUNDING * abs(start))
    if not fall > least:
        above = np.flatnonzero(fit > start + least)
        rose_at = math.exp(x[above[0] if len(above) else -1]) if ended or len(above) else None
        return no_fall(curve, start * scale, noise * scale, rose_at)

    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(REPLICATES, len(y)))
    rows = np.vstack([capped, fit + residual * signs])
    level = smoothed(level_of, rows)
    level = (level - np.median(level[:, :first], axis=1, keepdims=True)) / fall
    slope = smoothed(slope_of, rows) / smoothed(slope_of, x) / fall
    rose = ended or rise > max(least, 0.25 * fall)
    return Reading(x, level, slope, level.argmin(axis=1), start * scale, (start - fall) * scale, rose)


def usable(curve: LossCurve) -> tuple[FloatArray, FloatArray, bool] | str:
    """The binned `ln lr` and losses before divergence, and whether divergence or NaN ended them; or what is missing."""
    if not len(curve):
        return "The curve has no points: run the sweep first."
    finite = np.isfinite(curve.losses)
    if not finite.any():
        return "No loss was finite, not even the first, before any step: check loss and data on one batch."
    x, y = binned(np.log(curve.lrs[finite]), curve.losses[finite])
    x, y, diverged = until_diverged(x, y)
    ended = diverged or curve.stop_reason is StopReason.DIVERGED or not finite[-1]
    if len(y) < MIN_POINTS:
        remedy = "lower the start (start_lr) or take more steps" if ended else "take more steps"
        if not finite[-1]:
            remedy += "; if it is not finite at low learning rates either, check loss and data on the batches"
        return f"The curve has {len(y)} points to read; expected at least {MIN_POINTS}: {remedy}."
    return x, y, bool(ended)


def no_fall(curve: LossCurve, start: float, noise: float, rose_at: float | None) -> str:
    """Why a curve that never fell beyond its noise has no answer, and what to do."""
    beyond = f" beyond its noise of {noise:.2g}" if noise > ROUNDING * abs(start) else ""
    if rose_at is None:
        return (
            f"The loss stayed at {start:.3g} up to {short(float(curve.lrs[-1]))} and never fell{beyond}: raise the end "
            "(end_lr), or take more steps or larger batches; if it stays flat, check that the optimizer holds the "
            "weights."
        )
    if np.searchsorted(curve.lrs, rose_at) < EARLY * curve.num_steps:
        return f"The loss never fell before it rose, already at {short(rose_at)}: lower the start (start_lr)."
    return (
        f"The loss never fell{beyond} before it rose at {short(rose_at)}, as on a model that is trained already: to "
        f"train it further, stay at {short(rose_at / 10)} or below; to see more, take more steps or larger batches."
    )


def until_diverged(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
    """`x` and `y` up to and with the point at which `y` has diverged, and whether it has."""
    tracker = LossTracker(beta_for(len(y)))
    for i, loss in enumerate(y.tolist()):
        tracker.update(loss)
        if tracker.diverged:
            return x[: i + 1], y[: i + 1], True
    return x, y, False


def lr_at(reading: Reading, at: int | None = None) -> str:
    """The learning rate of bin `at` of the curve, for a sentence; of its lowest bin by default."""
    return short(math.exp(reading.x[reading.lowest[0] if at is None else at]))


def short(lr: float | None) -> str:
    """A learning rate with two digits."""
    return "–" if lr is None else format_lr(lr)
