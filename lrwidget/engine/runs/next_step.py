"""The next step of a run that counts, and no trace of one whose loss is no number."""

import math
from collections.abc import Callable

from lrwidget.engine.borrowing.buffers import MovingBuffers
from lrwidget.engine.errors import LossError
from lrwidget.engine.loops.batches import Batches
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.sweeps.sweep import MAX_SKIPPED, OVERFLOW


class NextStep:
    """Takes a loop's steps: again where the scaler skipped one, and back where a forward pass has spoilt buffers.

    Args:
        loop: whose steps they are.
    """

    def __init__(self, loop: Loop) -> None:
        self._take = loop.stepper()
        self._buffers = MovingBuffers(loop.model)

    def __call__(self, batches: Batches, should_stop: Callable[[], bool]) -> float | None:
        """The loss of the next step that the optimizer really took, or of one that is not finite; None to stop.

        Raises:
            LossError: the scaler skips one step after the other.
        """
        self._buffers.remember()
        for attempt in range(MAX_SKIPPED):
            if attempt and should_stop():
                return None
            loss, advanced = self._take(batches)
            if not math.isfinite(loss):
                self._buffers.put_back()
            if advanced or not math.isfinite(loss):
                return loss
        raise LossError(OVERFLOW.format(steps=MAX_SKIPPED))
