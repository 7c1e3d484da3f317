"""When to look at a running job, by the clock, and how fast it goes."""

from collections.abc import Callable
from typing import Any

from lrwidget.session.jobs import Job
from lrwidget.state import Progress

REFRESH_S = 0.1
"""Seconds from one look at a running job to the next: ten a second, by the clock and not by the step."""

SCREEN_SHARE, SLOWEST_REFRESH_S = 0.015, 0.5
"""How much of a job's time may go into showing it, unless the screen would stand still for half a second."""


class Pace:
    """When to look at a running job, by the clock, and how long it will still take.

    Args:
        total: steps planned.
        clock: seconds, monotonic.
        job: whose pauses do not count.
    """

    def __init__(self, total: int, clock: Callable[[], float], job: Job[Any]) -> None:
        self._total = total
        self._clock = clock
        self._job = job
        self._started = self._next = self._beat = self._looked = clock()

    def due(self) -> bool:
        """Whether it is time to look again: on a beat that what a look and a step take does not make slower."""
        now = self._clock()
        if now < self._next:
            return False
        # Beats that a pause or a slow step has let pass are not made up for.
        self._beat = self._next if now < self._next + REFRESH_S else now
        self._next = self._beat + REFRESH_S
        self._looked = now
        return True

    def shown(self) -> None:
        """What was due has been shown: the longer that took, the later the next, so that its share stays small."""
        took = self._clock() - self._looked
        self._next = self._beat + max(REFRESH_S, min(took / SCREEN_SHARE, took + SLOWEST_REFRESH_S))

    def progress(self, step: int, loss: float, lr: float) -> Progress:
        """How far it is after `step` steps."""
        spent = self._clock() - self._started - self._job.seconds_paused
        speed = step / spent if step and spent > 0 else None
        left = None if speed is None else (self._total - step) / speed
        return Progress(step=step, total=self._total, loss=loss, lr=lr, steps_per_second=speed, seconds_left=left)
