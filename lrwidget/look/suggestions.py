"""Suggestions over a curve: one tick for rules that agree, rows that do not overlap, and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lrwidget.engine.sweeps.suggest import Advice


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
