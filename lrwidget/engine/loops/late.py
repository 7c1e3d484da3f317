"""Losses on their way from a device: read a few steps late, so that nothing ever waits for it to catch up."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import torch

LAG = 4
"""Steps that a loss may come late: enough that it has arrived when it is asked for, few to be thrown away."""

T = TypeVar("T")


class Slot(NamedTuple):
    """Where the losses of a step arrive; used again when they have been read.

    Attributes:
        numbers: what they are copied into, page-locked if they come from a CUDA device.
        device: where they come from.
        event: behind their copy on that device; None if it is no CUDA device.
    """

    numbers: torch.Tensor
    device: torch.device
    event: torch.cuda.Event | None


class UnderWay(NamedTuple, Generic[T]):
    """A step whose losses have set out.

    Attributes:
        step: what to hand out with them.
        losses: kept as long as they may still be read from.
        slot: where they arrive.
    """

    step: T
    losses: torch.Tensor
    slot: Slot


class LateLosses(Generic[T]):
    """The losses of steps, in order, each handed out when it has arrived in the computer's own memory.

    On a CUDA device a loss travels by a copy into page-locked memory, in the stream of the steps, with an event behind
    it. Elsewhere it is there at once, and handed out as late all the same.

    Args:
        lag: steps that may be under way, 1 or more; with more of them the oldest is waited for.
        in_step: never hand out earlier than that: processes that train together must stop at the same step, and a
            loss may reach the one sooner than the other.
    """

    def __init__(self, lag: int, *, in_step: bool = False) -> None:
        self._lag = lag
        self._in_step = in_step
        self._under_way: deque[UnderWay[T]] = deque()
        self._free: list[Slot] = []

    def send(self, step: T, losses: Sequence[torch.Tensor]) -> None:
        """Let the losses of one step, those of its batches, set out.

        Args:
            step: what to hand out with them.
            losses: one number each, on any device.
        """
        together = _together(losses)
        slot = self._slot_for(together)
        slot.numbers.copy_(together, non_blocking=True)
        if slot.event is not None:
            slot.event.record(torch.cuda.current_stream(slot.device))
        self._under_way.append(UnderWay(step, together, slot))

    def arrived(self) -> Iterator[tuple[T, float]]:
        """Hand out what is there, and wait only for what is later than the lag."""
        while len(self._under_way) > self._lag or (self._under_way and self._is_there()):
            yield self._hand_out()

    def rest(self) -> Iterator[tuple[T, float]]:
        """Wait for all that is under way, and hand it out."""
        while self._under_way:
            yield self._hand_out()

    def _is_there(self) -> bool:
        event = self._under_way[0].slot.event
        return not self._in_step and event is not None and bool(event.query())  # type: ignore[no-untyped-call]

    def _hand_out(self) -> tuple[T, float]:
        step, _, slot = self._under_way.popleft()
        if slot.event is not None:
            slot.event.synchronize()
        self._free.append(slot)
        return step, mean_of(slot.numbers.reshape(-1).tolist())

    def _slot_for(self, losses: torch.Tensor) -> Slot:
        """One that is free; a new one if there is none, or if the losses are of another kind now."""
        if self._free:
            slot = self._free.pop()
            numbers = slot.numbers
            if (numbers.shape, numbers.dtype, slot.device) == (losses.shape, losses.dtype, losses.device):
                return slot
        # The device is said, because the user may have set another one as the default.
        numbers = torch.empty(losses.shape, dtype=losses.dtype, device="cpu", pin_memory=losses.is_cuda)
        return Slot(numbers, losses.device, torch.cuda.Event() if losses.is_cuda else None)  # type: ignore[no-untyped-call]


def _together(losses: Sequence[torch.Tensor]) -> torch.Tensor:
    """Losses as one tensor on their device, or on the CPU if they have none in common or are more than tensors."""
    if any(type(loss) is not torch.Tensor for loss in losses) or len({loss.device for loss in losses}) > 1:
        return torch.tensor([loss.item() for loss in losses], dtype=torch.float64, device="cpu")
    if len(losses) == 1:  # one kernel less is started than by a stack
        return losses[0].detach().resolve_neg()
    return torch.stack([loss.detach().reshape(()) for loss in losses])


def mean_of(losses: Sequence[float]) -> float:
    """The mean as a step that looks at every loss has it: the first that is not finite, if there is one."""
    total = 0.0
    for loss in losses:
        if not math.isfinite(loss):
            return loss
        total += loss
    return total / len(losses)
