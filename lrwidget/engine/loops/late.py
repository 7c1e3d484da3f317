"""Losses on their way from a device: read a few steps late, so that nothing ever waits for it to catch up."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import torch

LAG = 4
"""Steps that a loss may come late: enough that it has arrived when it is asked for, few to be thrown away."""

T = TypeVar("T")


class LateLosses(Generic[T]):
    """The losses of steps, in order, each handed out when it has arrived in the computer's own memory.

    On a CUDA device a loss travels by a copy into page-locked memory, in the stream of the steps, with an event behind
    it. Elsewhere it is there at once, and handed out as late all the same.

    Args:
        lag: steps that may be under way, 1 or more; with more of them the oldest is waited for.
    """

    def __init__(self, lag: int) -> None:
        self._lag = lag
        self._under_way: deque[tuple[T, torch.Tensor, torch.cuda.Event | None]] = deque()

    def send(self, step: T, losses: Sequence[torch.Tensor]) -> None:
        """Let the losses of one step, those of its batches, set out.

        Args:
            step: what to hand out with them.
            losses: one number each, on any device.
        """
        together = torch.stack([loss.detach().reshape(()) for loss in losses])
        if not together.is_cuda:
            self._under_way.append((step, together.cpu(), None))
            return
        arriving = torch.empty(together.shape, dtype=together.dtype, pin_memory=True)
        arriving.copy_(together, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(together.device))
        self._under_way.append((step, arriving, event))

    def arrived(self) -> Iterator[tuple[T, float]]:
        """Hand out what is there, and wait only for what is later than the lag."""
        while len(self._under_way) > self._lag or (self._under_way and self._is_there()):
            yield self._hand_out()

    def rest(self) -> Iterator[tuple[T, float]]:
        """Wait for all that is under way, and hand it out."""
        while self._under_way:
            yield self._hand_out()

    def _is_there(self) -> bool:
        event = self._under_way[0][2]
        return event is not None and bool(event.query())  # type: ignore[no-untyped-call]

    def _hand_out(self) -> tuple[T, float]:
        step, losses, event = self._under_way.popleft()
        if event is not None:
            event.synchronize()
        return step, mean_of(losses.tolist())


def mean_of(losses: Sequence[float]) -> float:
    """The mean as a step that looks at every loss has it: the first that is not finite, if there is one."""
    total = 0.0
    for loss in losses:
        if not math.isfinite(loss):
            return loss
        total += loss
    return total / len(losses)
