"""Memory for the copies of large models, all of it there at once.

An operating system hands out fresh memory page by page, each when it is first written to. To stop for every page takes
several times as long as to fill it; Linux can be asked for all of them together. And a GPU reads and writes memory at
the full speed of its link only where the pages are locked.
"""

import mmap
import sys
from contextlib import suppress

import torch

LARGE = 1 << 25
"""Bytes from which on `malloc` asks the system for fresh memory each time; below it mostly has some at hand."""
ALIGNMENT = 64
"""Where a tensor may begin, in bytes: as torch's own do."""


LOCKED_BLOCK = 1 << 30
"""Bytes of page-locked memory asked for at a time: torch rounds up to a power of two."""


def aligned(n_bytes: int) -> int:
    """The next place behind so many bytes where a tensor may begin."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


class Room:
    """Memory on the CPU into which tensors are copied, one behind the other; it is freed with the last of the copies.

    Args:
        n_bytes: how much; what does not fit finds its own place.
    """

    def __init__(self, n_bytes: int) -> None:
        self._bytes = self._fresh(n_bytes)
        self._taken = 0

    def copy(self, source: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor without gaps, as `clone()` makes one; to be read after `wait`."""
        start = aligned(self._taken)
        end = start + source.numel() * source.element_size()
        # What is to be conjugated or negated when it is read would be so before a copy under way has arrived.
        plain = type(source) is torch.Tensor and not (source.is_quantized or source.is_conj() or source.is_neg())
        if not plain or end > len(self._bytes):
            return source.to("cpu", copy=True)
        self._taken = end
        place = self._bytes[start:end].view(source.dtype).as_strided(source.shape, source.stride())
        return place.copy_(source, non_blocking=True)

    def wait(self) -> None:
        """Until all copies have arrived."""

    @staticmethod
    def _fresh(n_bytes: int) -> torch.Tensor:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        return torch.frombuffer(mmap.mmap(-1, n_bytes, flags=flags), dtype=torch.uint8)


class LockedRoom(Room):
    """Room in page-locked memory, for copies of what is on CUDA devices; torch keeps it at hand for the next time.

    Args:
        n_bytes: how much, each tensor's `aligned`; it is taken block by block.
    """

    def __init__(self, n_bytes: int) -> None:
        self._left = n_bytes
        self._devices: set[torch.device] = set()
        super().__init__(0)

    def copy(self, source: torch.Tensor) -> torch.Tensor:
        """A copy on its way from a device; to be read after `wait`."""
        size = source.numel() * source.element_size()
        if aligned(self._taken) + size > len(self._bytes):
            with suppress(RuntimeError):  # where no more pages can be locked, the rest finds its own place
                self._bytes, self._taken = self._fresh(max(size, min(self._left, LOCKED_BLOCK))), 0
        self._left -= aligned(size)
        self._devices.add(source.device)
        return super().copy(source)

    def wait(self) -> None:
        """Until the devices that were copied from have done so; no other one is woken up."""
        for device in self._devices:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()

    @staticmethod
    def _fresh(n_bytes: int) -> torch.Tensor:
        # The device is said, because the user may have set another one as the default.
        return torch.empty(n_bytes, dtype=torch.uint8, device="cpu", pin_memory=n_bytes > 0)


def room_for(n_bytes: int, n_tensors: int) -> Room | None:
    """Room for so many bytes of so many tensors; None when they are few, or the system gives no such memory."""
    if sys.platform != "linux" or n_bytes < LARGE:
        return None
    try:
        return Room(n_bytes + n_tensors * ALIGNMENT)
    except (OSError, ValueError, OverflowError):
        return None
