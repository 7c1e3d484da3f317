# ruff: noqa: D102 - `Kept` documents what the methods of every record do.
"""Tensors as they were found: their values and everything else about them, put back into the same memory."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from lrwidget.engine.borrowing.kept import restore_dict, same_entries
from lrwidget.engine.borrowing.room import LockedRoom, Room, aligned, room_for

AS_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of as many bytes, to compare bits with."""

PIECE = 1 << 22
"""Elements summed at a time for a checksum: to sum is to convert to int64 first, which takes memory."""


class KeptTensor:
    """A tensor: its values, its place in memory, its gradient, whether it wants one, its hooks and attributes.

    Values are copied by `copy_to`, later than the rest, when it is known which tensors look at the same memory and
    which cannot change.
    """

    __slots__ = (
        "_alias",
        "_attributes",
        "_copy",
        "_grad",
        "_hooks",
        "_leaf",
        "_requires_grad",
        "_storage",
        "_storage_size",
        "path",
        "tensor",
        "version",
    )

    def __init__(self, path: str, tensor: torch.Tensor) -> None:
        self.path = path
        self.tensor = tensor
        # The same memory under another name, should the tensor itself be pointed elsewhere.
        self._alias = tensor.detach()
        self._copy: torch.Tensor | None = None
        self._storage = tensor.untyped_storage() if _place(tensor)[-1] is not None else None
        self._storage_size = 0 if self._storage is None else self._storage.nbytes()
        self._leaf = tensor.is_leaf
        self._requires_grad = tensor.requires_grad
        self._grad = tensor.grad if self._leaf else None
        self._hooks = _hooks(tensor)
        self._attributes = dict(vars(tensor))
        self.version = None if tensor.is_inference() else tensor._version
        """How often it had been written to; None when nobody counts."""

    def n_bytes(self) -> int:
        """How much memory the copy takes."""
        return 0 if self._copy is None else self._copy.numel() * self._copy.element_size()

    def span(self) -> tuple[str, int, int] | None:
        """Device, and the addresses of its first byte and behind its last, if it has all bytes between; else None."""
        tensor = self._alias
        if self._storage is None or not _is_dense(tensor):
            return None
        start = tensor.data_ptr()
        return str(tensor.device), start, start + tensor.numel() * tensor.element_size()

    def copy_to(self, device: torch.device | None, room: Room | None = None) -> None:
        """Copy the values, to `device` or beside the original; until then a change of values is not undone.

        Args:
            device: None for where the tensor is.
            room: memory on the CPU to put them into, which is what `device` means then.
        """
        if self._alias.is_meta:
            return
        source = _once(self._alias)
        if room is not None:
            self._copy = room.copy(source)
        elif device not in (None, source.device):
            self._copy = source.to(device, copy=True)
        else:
            self._copy = source.clone()

    def give_back(self) -> None:
        """Put everything about the tensor back; to be called under `torch.no_grad()`."""
        tensor = self.tensor
        if tensor.is_inference():
            with torch.inference_mode():  # in which alone it can be written to
                self._put_back_memory()
        else:
            self._put_back_memory()
        if tensor.is_leaf:
            if tensor.requires_grad != self._requires_grad:
                tensor.requires_grad_(self._requires_grad)
            if tensor.grad is not self._grad:
                tensor.grad = self._grad
        for name, hooks in self._hooks.items():
            if getattr(tensor, name) is not hooks:
                setattr(tensor, name, hooks)
        if not same_entries(vars(tensor), self._attributes):
            restore_dict(vars(tensor), self._attributes)

    def _put_back_memory(self) -> None:
        tensor = self.tensor
        if self._leaf and not tensor.is_leaf:
            tensor.detach_()
        if _place(tensor) != _place(self._alias):
            tensor.data = self._alias
        if self._storage is not None and self._storage.nbytes() < self._storage_size:
            self._storage.resize_(self._storage_size)
        if self._copy is not None:
            self._write(self._copy)

    def differs(self) -> bool:
        tensor = self.tensor
        return not (
            _place(tensor) == _place(self._alias)
            and (self._copy is None or same_bits(_once(tensor.detach()), self._copy))
            and tensor.is_leaf == self._leaf
            and tensor.requires_grad == self._requires_grad
            and (not self._leaf or tensor.grad is self._grad)
            and all(getattr(tensor, name) is hooks for name, hooks in self._hooks.items())
            and same_entries(vars(tensor), self._attributes)
        )

    def _write(self, copy: torch.Tensor) -> None:
        if self._alias.layout == torch.strided:
            _once(self._alias).copy_(copy)
        elif not same_bits(self.tensor.detach(), copy):
            if copy.layout == torch.sparse_coo:
                # Its parts are replaced as a whole by whatever changes it.
                self.tensor.data = copy
            else:
                for part, kept in zip(_parts_of(self.tensor.detach()), _parts_of(copy), strict=True):
                    part.copy_(kept)


class WatchedTensor(KeptTensor):
    """A tensor that no training step can reach: its values are not copied, but a change of them is noticed and said."""

    __slots__ = ("_checksum",)

    def __init__(self, path: str, tensor: torch.Tensor) -> None:
        super().__init__(path, tensor)
        self._checksum = _checksum(self._alias)

    def copy_to(self, device: torch.device | None, room: Room | None = None) -> None:
        """Copy nothing, yet."""

    def catch_up(self, device: torch.device | None) -> None:
        """Copy the values after all if the tensor has been unfrozen, before an optimizer first moves it."""
        if self._copy is None and (self.tensor.requires_grad or self.tensor.grad is not None):
            super().copy_to(device)

    def give_back(self) -> None:
        super().give_back()
        if _checksum(self._alias) != self._checksum:
            raise RuntimeError("frozen, so not copied, but written to")

    def differs(self) -> bool:
        return super().differs() or _checksum(self._alias) != self._checksum


def copy_all(tensors: Iterable[KeptTensor], device: torch.device | None) -> None:
    """Copy the values of all tensors; memory that several of them look at is copied once."""
    spans = []
    for tensor in tensors:
        span = None if isinstance(tensor, WatchedTensor) else tensor.span()
        if span is None:
            tensor.copy_to(device)
        else:
            spans.append((span, tensor))
    # By device and start, the longest first: what lies inside another comes after it.
    where, reached = "", 0
    alone: list[tuple[str, int, KeptTensor]] = []
    for (device_name, start, end), tensor in sorted(spans, key=lambda pair: (pair[0][0], pair[0][1], -pair[0][2])):
        if device_name != where or end > reached:
            alone.append((device_name, end - start, tensor))
            where, reached = device_name, end
    sizes = {kind: [n for where, n, _ in alone if where.partition(":")[0] == kind] for kind in ("cpu", "cuda")}
    rooms: dict[str, Room | None] = {}
    if device is None or device.type == "cpu":
        rooms["cpu"] = room_for(sum(sizes["cpu"]), len(sizes["cpu"]))
    if device is not None and device.type == "cpu" and sizes["cuda"]:
        rooms["cuda"] = LockedRoom(sum(map(aligned, sizes["cuda"])))
    for where, _, kept in alone:
        kept.copy_to(device, rooms.get(where.partition(":")[0]))
    for room in rooms.values():
        if room is not None:
            room.wait()


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors hold the same bits: NaN equals the same NaN, 0.0 does not equal -0.0."""
    if a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
        return False
    if a.layout != torch.strided:
        return all(same_bits(x, y) for x, y in zip(_parts_of(a), _parts_of(b), strict=True))
    a = a.to(b.device)
    if a.is_quantized:
        return torch.equal(a.int_repr(), b.int_repr())
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    if a.is_floating_point():
        as_integer = AS_INTEGER[a.element_size()]
        a, b = a.view(as_integer), b.view(as_integer)
    return torch.equal(a, b)


def _parts_of(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The strided tensors that a sparse one is made of: where its values are, and the values."""
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def _hooks(tensor: torch.Tensor) -> dict[str, Any]:
    if not tensor.is_leaf:
        return {}
    names = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return {name: getattr(tensor, name) for name in names if hasattr(tensor, name)}


def restore_versions(tensors: Iterable[KeptTensor]) -> None:
    """Make autograd forget that the tensors were written to: they hold the values of their old version again.

    So a graph that was built before they were borrowed can still run backward. Called when all of them are back, since
    tensors that look at the same memory share one count.
    """
    counted = [(kept.tensor, kept.version) for kept in tensors if kept.version is not None]
    moved = [(tensor, version) for tensor, version in counted if tensor._version != version]
    if not moved:
        return
    counter = _unsafe_preserve_version_counter(moved[0][0])
    # It takes one number before torch 2.6, and tuples after: then one call will do for all.
    if hasattr(counter, "prev_versions"):
        counter.tensors, counter.prev_versions = zip(*moved, strict=True)
        counter.__exit__()
        return
    for tensor, version in moved:
        counter = _unsafe_preserve_version_counter(tensor)
        counter.prev_version = version  # type: ignore[attr-defined]
        counter.__exit__()


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Where and how a tensor looks at memory; equal for two that do so alike. The address, which is last, or None."""
    if tensor.layout != torch.strided:
        return tensor.layout, tensor.dtype, tensor.shape, tensor.device, None
    # A DTensor and its like have no memory of their own, but only wrap other tensors.
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    wraps = not torch._C._has_storage(tensor) or (not plain and is_traceable_wrapper_subclass(tensor))
    address = None if wraps or tensor.is_meta else tensor.data_ptr()
    return tensor.stride(), tensor.dtype, tensor.shape, tensor.device, address


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether its elements fill their memory without gaps and overlaps, in whatever order."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for size, stride in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda pair: pair[1]):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _once(tensor: torch.Tensor) -> torch.Tensor:
    """Each element once: `expand`ed dimensions look at the same memory again and again, and cannot be written to."""
    if tensor.layout == torch.strided and 0 in tensor.stride():
        for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            if stride == 0 and size > 1:
                tensor = tensor.narrow(dim, 0, 1)
    return tensor


def _checksum(tensor: torch.Tensor) -> int:
    """The sum of a tensor's bits, read as integers, modulo 2**64; 0 where they cannot be read."""
    if _place(tensor)[-1] is None or tensor.is_quantized:
        return 0
    with torch.inference_mode():
        numbers = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        if _is_dense(numbers):
            numbers = numbers.as_strided((numbers.numel(),), (1,))
        numbers = numbers.reshape(-1)
        if numbers.dtype == torch.bool or numbers.is_floating_point():
            numbers = numbers.view(AS_INTEGER[numbers.element_size()])
        # In pieces: to sum is to convert to int64 first.
        pieces = torch.split(numbers, PIECE)
        return sum((int(piece.sum()) for piece in pieces), start=0)
