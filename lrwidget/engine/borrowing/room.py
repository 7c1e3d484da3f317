"""Memory for the copies of large models, all of it there at once.

An operating system hands out fresh memory page by page, each when it is first written to. To stop for every page takes
several times as long as to fill it; Linux can be asked for all of them together.
"""

import mmap
import sys

import torch

LARGE = 1 << 25
"""Bytes from which on `malloc` asks the system for fresh memory each time; below it mostly has some at hand."""
ALIGNMENT = 64
"""Where a tensor may begin, in bytes: as torch's own do."""


class Room:
    """Memory on the CPU into which tensors are copied, one behind the other; it is freed with the last of the copies.

    Args:
        n_bytes: how much; what does not fit finds its own place.
    """

    def __init__(self, n_bytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        self._bytes = torch.frombuffer(mmap.mmap(-1, n_bytes, flags=flags), dtype=torch.uint8)
        self._taken = 0

    def copy(self, source: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor without gaps, as `clone()` makes one."""
        start = -(-self._taken // ALIGNMENT) * ALIGNMENT
        end = start + source.numel() * source.element_size()
        if type(source) is not torch.Tensor or source.is_quantized or end > len(self._bytes):
            return source.clone()
        self._taken = end
        return self._bytes[start:end].view(source.dtype).as_strided(source.shape, source.stride()).copy_(source)


def room_for(n_bytes: int, n_tensors: int) -> Room | None:
    """Room for so many bytes of so many tensors; None when they are few, or the system gives no such memory."""
    if sys.platform != "linux" or n_bytes < LARGE:
        return None
    try:
        return Room(n_bytes + n_tensors * ALIGNMENT)
    except (OSError, ValueError, OverflowError):
        return None
