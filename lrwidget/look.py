"""How curves and numbers look: colours, number formats, the range of a loss axis. Shared by widget and pictures.

Needs numpy only. Shape suffixes: M points on the screen.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.words import format_lr as format_lr

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan
    from lrwidget.engine.sweeps.curve import LossCurve, Trace
    from lrwidget.engine.sweeps.suggest import Advice

GROUP_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B2A100")
"""Okabe and Ito's palette, which people with any colour vision tell apart; its yellow darkened to be seen on white."""

GRADED = ("#6A5ACD", "#3F7FD0", "#2492AE", "#2F9B84", "#64A14E", "#9C9E2E", "#C89524", "#DE7F2A")
"""For more groups than those: blue to orange by way of green, read on white and on black; who sees no green sees it
go from blue to yellow."""
NAME_LETTERS, LEAST_LETTERS = 28, 10
"""Letters of a group's name beside its marker: at most, and as long as there is any room."""
MARKER_GAP = 2.0
"""Room between a marker and its label, in letters."""

Floats = npt.NDArray[np.float64]

THIN_SPACE = "\u2009"


def group_color(index: int, count: int = 0) -> str:
    """The colour of a param group, in optimizer order.

    Args:
        index: which group.
        count: how many there are; more than the palette has are graded from the first to the last.

    >>> group_color(0), group_color(0, 30), group_color(29, 30)
    ('#0072B2', '#6A5ACD', '#DE7F2A')
    """
    if count <= len(GROUP_COLORS):
        return GROUP_COLORS[index % len(GROUP_COLORS)]
    where = index / (count - 1) * (len(GRADED) - 1)
    first = min(int(where), len(GRADED) - 2)
    ends = (bytes.fromhex(color[1:]) for color in GRADED[first : first + 2])
    mixed = (round(a + (b - a) * (where - first)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{part:02X}" for part in mixed)


def fastest(lrs: tuple[float, ...]) -> int:
    """Index of the group with the highest LR, whose marker is `max_lr`; the last of equals, which is the head."""
    return max(range(len(lrs)), key=lambda index: (lrs[index], index))


def lr_label(n_groups: int) -> str:
    """What an axis of LRs is of: with one group there is no other that could be faster."""
    return "learning rate" if n_groups < 2 else "learning rate of the fastest group"


def marker_text(names: Sequence[str], lrs: tuple[float, ...], index: int) -> str:
    """What stands beside a group's marker: its name and LR, and whether it is `max_lr`.

    >>> marker_text(["body", "head"], (1e-4, 1e-3), 1), marker_text(["all layers"], (1e-3,), 0)
    ('head  0.001 · max_lr', 'max_lr  0.001')
    """
    if len(names) < 2:
        return f"max_lr  {format_lr(lrs[index])}"
    return f"{names[index]}  {format_lr(lrs[index])}{' · max_lr' if index == fastest(lrs) else ''}"


def shortened(name: str, at_most: int) -> str:
    """A name in so many letters or fewer, with an ellipsis in the middle.

    >>> shortened("head", 9), shortened("encoder.layers.2", 9)
    ('head', 'enco…rs.2')
    """
    if len(name) <= at_most:
        return name
    tail = (at_most - 1) // 2
    return f"{name[: at_most - 1 - tail]}…{name[len(name) - tail :]}"


def short_names(names: Sequence[str], at_most: int) -> list[str]:
    """Names in so many letters or fewer, which still tell them apart: where their ends are alike, by the middle.

    >>> short_names(["encoder.layers.1.norm.weight", "encoder.layers.2.norm.weight"], 9)
    ['…rs.1.no…', '…rs.2.no…']
    """
    short = [shortened(name, at_most) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    alike = next((k for k, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    start = max(0, alike - (at_most - 2) // 2)
    middle = [f"…{name[start : start + at_most - 2].strip('._')}…" for name in names]
    return [name if len(name) <= at_most else cut for name, cut in zip(names, middle, strict=True)]


def hangs_left(lr: float, others: Sequence[float], ends: tuple[float, float]) -> bool:
    """Whether the label of a marker at `lr` has clearly more room to its left, up to a marker or the end of the axis.

    >>> hangs_left(1e-2, [], (1e-7, 10.0)), hangs_left(1e-2, [3e-3], (1e-7, 10.0))
    (True, False)
    """
    before = lr / max((other for other in (*others, ends[0]) if other < lr), default=lr)
    behind = min((other for other in (*others, ends[1]) if other > lr), default=lr) / lr
    # By a tenth of the axis: a label that is read while it moves should not change sides for less.
    return bool(before > behind * (ends[1] / ends[0]) ** 0.1)


class MarkerLabel(NamedTuple):
    """What stands beside a marker.

    Attributes:
        text: name and LR of its group.
        left: whether it stands on the left.
    """

    text: str
    left: bool


def marker_label(
    names: Sequence[str],
    lrs: tuple[float, ...],
    index: int,
    ends: tuple[float, float],
    letters: float,
    more: str = "",
) -> MarkerLabel:
    """The label of a group's marker, inside of the chart: of what is too long for its room, the name is shortened.

    Args:
        names: of all groups.
        lrs: theirs.
        index: which group.
        ends: of the axis.
        letters: how many fit beside each other into the width of the plot.
        more: what stands behind it.

    >>> marker_label(["body", "head"], (1e-4, 1e-3), 1, (1e-7, 10.0), 40)
    MarkerLabel(text='head  0.001 · max_lr', left=False)
    >>> marker_label(["body", "head.layers.projection"], (1e-4, 1e-1), 1, (1e-7, 10.0), 40).text
    'head.l…ection  0.1 · max_lr'
    """
    lr = lrs[index]
    left = hangs_left(lr, [*lrs[:index], *lrs[index + 1 :]], ends)
    before = min(max(math.log(lr / ends[0]) / math.log(ends[1] / ends[0]), 0.0), 1.0) * letters
    rooms = {True: before - MARKER_GAP, False: letters - before - MARKER_GAP}
    text = marker_text(names, lrs, index) + more
    if len(text) > rooms[left]:
        left = rooms[True] > rooms[False]
    fits = int(rooms[left]) - (len(text) - len(names[index]))
    short = short_names(names, min(max(fits, LEAST_LETTERS), NAME_LETTERS))
    text = marker_text(short, lrs, index) + more
    if len(text) > rooms[left] and len(names[index]) > LEAST_LETTERS:
        text = text.replace(" · max_lr", "")  # its line is the thick one
    return MarkerLabel(text, left)


def format_count(count: int) -> str:
    """A number of parameters, at three digits or so.

    >>> [format_count(n) for n in (640, 9408, 123456, 11_200_000, 7_000_000_000)]
    ['640', '9\u2009408', '123\u2009k', '11.2\u2009M', '7\u2009B']
    """
    if count < 1000:
        return str(count)
    if count < 10_000:
        return f"{count // 1000}{THIN_SPACE}{count % 1000:03d}"
    size, letter = next((size, letter) for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if count >= size)
    share = count / size
    return f"{share:.0f}{THIN_SPACE}{letter}" if share >= 100 else f"{share:.3g}{THIN_SPACE}{letter}"


def format_loss(loss: float) -> str:
    """A loss at four digits; an en dash where there is none yet.

    >>> format_loss(1.82654), format_loss(math.nan)
    ('1.827', '–')
    """
    return f"{loss:.4g}" if math.isfinite(loss) else "–"


def format_seconds(seconds: float) -> str:
    """Minutes and seconds.

    >>> format_seconds(4.2), format_seconds(3725)
    ('0:04', '1:02:05')
    """
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def powers_between(low: float, high: float, at_most: int = 12) -> list[float]:
    """The powers of ten in `[low, high]`, thinned evenly to `at_most`; for a short range 2 and 5 times them as well.

    >>> powers_between(3e-4, 2.0), powers_between(1e-3, 8e-3)
    ([0.001, 0.01, 0.1, 1.0], [0.001, 0.002, 0.005])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [power for exponent in range(first, last + 1) if low <= (power := float(f"1e{exponent}")) <= high]
    if len(ticks) < 3:
        mantissas = (f"{m}e{exponent}" for exponent in range(first, last + 1) for m in (1, 2, 5))
        return [tick for text in mantissas if low <= (tick := float(text)) <= high]
    return ticks[:: math.ceil(len(ticks) / at_most)]


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in `[low, high]`, about so many.

    >>> round_ticks(0.13, 2.4)
    [0.5, 1.0, 1.5, 2.0]
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return []
    unit = float(f"1e{math.floor(math.log10(span / about))}")
    step = next(unit * m for m in (1, 2, 5, 10) if span / (unit * m) <= about)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def with_peak(ticks: Sequence[float], peak: float, apart: Callable[[float, float], float]) -> list[float]:
    """Ticks with the peak among them, in place of those too near to it.

    Args:
        ticks: rising values.
        peak: the value that must have a tick.
        apart: the distance of two values as a share of the axis.
    """
    return sorted([*(tick for tick in ticks if abs(apart(tick, peak)) > 0.12), peak])


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
    """The range that shows a run: all of the smoothed and the validation loss, and 96 % of the raw losses."""
    shown = [values[np.isfinite(values)] for values in (smoothed, valid)]
    raw = losses[np.isfinite(losses)]
    ends = np.concatenate([*shown, [quantile(raw, share) for share in (0.02, 0.98)] if len(raw) else raw])
    if not len(ends):
        return 0.0, 1.0
    low, high = float(ends.min()), float(ends.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def thin(values: Floats, at_most: int) -> npt.NDArray[np.intp]:
    """Indices (M <= at_most) that draw the same line: both ends, and the lowest and highest of equal stretches.

    >>> thin(np.array([0.0, 1, 9, 1, 0, 1, -9, 1]), 6).tolist()
    [0, 2, 5, 6, 7]
    """
    if len(values) <= at_most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), max(1, at_most // 2 - 1) + 1).astype(int)
    low, high = (np.where(np.isfinite(values), values, sign * np.inf) for sign in (1, -1))
    kept = {0, len(values) - 1}
    for first, end in itertools.pairwise(edges.tolist()):
        kept.update((first + int(low[first:end].argmin()), first + int(high[first:end].argmax())))
    return np.array(sorted(kept))


def plan_steps(plan: "Plan", at_most: int) -> npt.NDArray[np.int64]:
    """(S,) steps of a plan to draw: even ones, and those on both sides of every boundary, where the peaks are.

    Two for a plan of one step, which holds its LR: a line needs two points.
    """
    last = max(1, plan.total_steps - 1)
    corners = [int(step) + near for step, _ in plan.boundaries() for near in (-1, 0, 1)]
    even = np.linspace(0, last, max(2, min(at_most, last + 1) - len(corners)))
    return np.unique(np.clip(np.concatenate([even, corners]), 0, last).astype(np.int64))


def wants_log(plan: "Plan") -> bool:
    """Whether the LRs of a plan need a log axis: when groups are more than a factor of 5 apart.

    On a linear one a one-cycle looks as everyone knows it, but slow groups look like zero.
    """
    return max(plan.max_lrs) > 5 * min(plan.max_lrs)


def trained_lrs(plan: "Plan", step_S: npt.NDArray[np.int64], frozen: Sequence[bool] = ()) -> Floats:
    """(S, G) LR of every group; NaN while a group is frozen, where its LR does nothing.

    Args:
        plan: whose LRs.
        step_S: at which steps.
        frozen: groups that do not train whatever the plan says, one flag per group; empty for none.
    """
    lr_SG = plan.lr_at(step_S)
    for first, cycle in plan.starts():
        here_S = (first <= step_S) & (step_S < first + cycle.steps)
        if any(cycle.frozen):
            lr_SG[np.ix_(here_S, np.array(cycle.frozen))] = np.nan
    if any(frozen):
        lr_SG[:, np.array(frozen)] = np.nan
    return lr_SG


def lr_range(lr_SG: Floats, log: bool) -> tuple[float, float]:
    """The LRs to show: from 0, or on a log axis from the lowest of them.

    Where a schedule ends is part of it: a floor above the ends would make groups end alike that do not. Six decades
    below the slowest group's peak is a floor for the schedules that end at 0, which no log axis has. LRs may be NaN;
    when all are, any range will do.
    """
    peaks = [float(lr_S[trains].max()) for lr_S in lr_SG.T if (trains := np.isfinite(lr_S)).any()]
    if not peaks:
        return (1e-7 if log else 0.0), 1.0
    return (max(float(np.nanmin(lr_SG)), min(peaks) / 1e6) if log else 0.0), max(peaks)


def phase_names(plan: "Plan", letter: float = 0.008) -> list[tuple[float, str]]:
    """(first step, name) of the phases with room for their name or its first word.

    Args:
        plan: whose phases.
        letter: width of a letter as a share of the chart's; the default is that of small print on 800 px.
    """
    starts = [*plan.boundaries(), (float(plan.total_steps), "")]
    found = []
    for (step, name), (end, _) in itertools.pairwise(starts):
        room = (end - step) / plan.total_steps
        fitting = [text for text in (name, name.partition(":")[0]) if letter * len(text) < room]
        found += [(step, text) for text in fitting[:1]]
    return found


class Tick(NamedTuple):
    """A suggestion as it is shown.

    Attributes:
        lr: the LR of the fastest group.
        text: the rules that gave it.
        best: whether it is the recommended one.
        low: lower end of what it can be trusted to, at most `lr`.
        high: upper end, at least `lr`.
    """

    lr: float
    text: str
    best: bool
    low: float
    high: float


def suggested_ticks(advice: "Advice | None") -> list[Tick]:
    """Every suggestion with an LR, by rising LR; rules that agree share one."""
    if advice is None:
        return []
    best = advice["recommended"].lr
    rules: dict[float, list[str]] = {}
    bands: dict[float, tuple[float, float]] = {}
    for rule, found in advice.items():
        if found.lr is not None:
            rules.setdefault(found.lr, [])
            bands.setdefault(found.lr, (found.low or found.lr, found.high or found.lr))
            if rule != "recommended":
                rules[found.lr].append(rule)
    return [Tick(lr, " = ".join(rules[lr]) or "recommended", lr == best, *bands[lr]) for lr in sorted(rules)]


def rows_of(spans: Sequence[tuple[float, float]]) -> list[int]:
    """A row for each of some spans, 0 on top, such that those in a row do not overlap.

    >>> rows_of([(1, 3), (2, 4), (3.5, 5)])
    [0, 1, 0]
    """
    free: list[float] = []
    rows = []
    for start, end in spans:
        row = next((row for row, taken in enumerate(free) if start >= taken), len(free))
        free[row : row + 1] = [end]
        rows.append(row)
    return rows


def reasons(advice: "Advice") -> list[tuple[str, float | None, str]]:
    """(Rules, LR, why) of every answer; rules that say the same are told once."""
    told: dict[tuple[float | None, str], list[str]] = {}
    for rule, found in advice.items():
        if rule != "recommended":
            told.setdefault((found.lr, found.why), []).append(rule)
    return [(", ".join(rules), lr, why) for (lr, why), rules in told.items()]
