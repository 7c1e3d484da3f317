"""Times of things that are to be compared, taken in turns, so that a busy machine slows all of them alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Spread:
    """Some measurements of one thing.

    Attributes:
        low: the smallest.
        median: the middle one.
        high: the largest.
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(min(values), statistics.median(values), max(values))

    def told(self, form: str = ".3f") -> str:
        """Such as "0.98 – 1.01 – 1.30"."""
        return " – ".join(format(value, form) for value in (self.low, self.median, self.high))


@dataclass(frozen=True)
class Ratio:
    """How many times as long one thing took as another.

    Attributes:
        best: the shortest time of the one over the shortest of the other: what is left when nobody else is at work on
            the machine, whose other work can only add to a time.
        rounds: the ratios of the rounds, in each of which both ran one after the other.
        seconds: the times of the one.
    """

    best: float
    rounds: Spread
    seconds: Spread


def race(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Ratio]:
    """All contestants once a round, in an order that turns by one place at each; each one's ratio to the first.

    A round before the first one, not timed, pays for whatever is made once.
    """
    names = list(contestants)
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(timed(contestants[name]))
    base = seconds[names[0]]
    return {
        name: Ratio(
            best=min(own) / min(base),
            rounds=Spread.of([a / b for a, b in zip(own, base, strict=True)]),
            seconds=Spread.of(own),
        )
        for name, own in seconds.items()
    }


def timed(run: Callable[[], object]) -> float:
    """Seconds that it takes; the garbage of whoever came before is collected first."""
    gc.collect()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
