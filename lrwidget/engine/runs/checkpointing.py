"""When the checkpoints of a run are written: by steps or by the clock, and none twice for the same step."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from lrwidget.engine.runs.checkpoint import CheckpointFolder

CHECKPOINT_EVERY_S = 600.0
"""Seconds between two checkpoints inside an epoch, unless steps are asked for: what a kill may cost at most."""


class Checkpointing:
    """Writes a run's checkpoints when they are due.

    Args:
        folder: where to; None: nothing is ever written.
        every: optimizer steps between two of them inside an epoch; None: ten minutes.
        clock: seconds, monotonic.
    """

    def __init__(
        self, folder: CheckpointFolder | None, every: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self.every = every
        self._clock = clock
        self._written: tuple[int, int] | None = None
        self._written_at = 0.0

    def due(self, step: int) -> bool:
        """Whether the time has come inside an epoch, after so many steps."""
        if self.folder is None:
            return False
        if self.every is not None:
            return step % self.every == 0
        return self._clock() - self._written_at > CHECKPOINT_EVERY_S

    def lacks(self, step: int, epochs: int) -> bool:
        """Whether nothing has been written yet for so many steps and epochs."""
        return self.folder is not None and (step, epochs) != self._written

    def write(self, step: int, epochs: int, state: Mapping[str, Any]) -> None:
        """Write where the run stands after so many steps and epochs."""
        assert self.folder is not None
        self.folder.write(state)
        self.has(step, epochs)

    def has(self, step: int, epochs: int) -> None:
        """A checkpoint for so many steps and epochs is there now."""
        self._written, self._written_at = (step, epochs), self._clock()
