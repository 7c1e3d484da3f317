"""Times of things that are to be compared, taken in turns, so that a busy machine slows all of them alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
        processor: the same for the time that the processor worked for this process, which others lengthen little.
        rounds: the ratios of the rounds, in each of which both ran one after the other.
        seconds: the times of the one.
    """

    best: float
    processor: float
    rounds: Spread
    seconds: Spread


class Times(NamedTuple):
    """Seconds by the clock, and those that the processor worked."""

    wall: float
    processor: float


def race(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Ratio]:
    """All contestants once a round, in an order that turns by one place at each; each one's ratio to the first.

    A round before the first one, not timed, pays for whatever is made once.
    """
    names = list(contestants)
    for run in contestants.values():
        run()
    times: dict[str, list[Times]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(timed(contestants[name]))
    return {name: compared(own, times[names[0]]) for name, own in times.items()}


def compared(own: Sequence[Times], base: Sequence[Times]) -> Ratio:
    """The times of one contestant over those of the other in the same rounds."""
    return Ratio(
        best=min(time.wall for time in own) / min(time.wall for time in base),
        processor=min(time.processor for time in own) / min(time.processor for time in base),
        rounds=Spread.of([a.wall / b.wall for a, b in zip(own, base, strict=True)]),
        seconds=Spread.of([time.wall for time in own]),
    )


def timed(run: Callable[[], object]) -> Times:
    """How long it takes; the garbage of whoever came before is collected first."""
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Times(time.perf_counter() - wall, time.process_time() - processor)
