"""Batches from any loader, pass after pass, and on the model's device."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate

from lrwidget.engine.borrowing.kept import shut_down
from lrwidget.engine.errors import EmptyLoaderError, InputError, InputTypeError
from lrwidget.engine.loops.protocols import Batch, Loader
from lrwidget.engine.nested import map_tensors


class RanDryError(Exception):
    """A one-shot loader has no more batches and cannot start over. Ends a sweep or a run; never reaches the user."""


class Batches:
    """Draws windows of batches from a loader, starting it over (so it reshuffles as it does) when it ends.

    Args:
        loader: read from its beginning, with a fresh iterator.
        copied: hand out copies of the tensors that the loader would hand out again: a list of batches, or a dataset
            that returns its own tensors, must not learn of a model that writes into its input.
        before_pass: called right before each pass over the loader begins.
    """

    def __init__(
        self, loader: Loader, *, copied: bool = False, before_pass: Callable[[], object] = lambda: None
    ) -> None:
        check_loader(loader)
        self._loader = loader
        self._before_pass = before_pass
        self._copied = copied and not _makes_new_tensors(loader)
        self._iterator: Iterator[Batch] | None = None
        self._ahead: list[Batch] = []
        self._drawn = 0
        self._ever_drawn = False

    @property
    def drawn(self) -> int:
        """Batches handed out in the pass that is under way; 0 between two passes."""
        return self._drawn - len(self._ahead)

    def join(self, drawn: int) -> None:
        """Begin a pass with a loader that knows by itself that `drawn` batches have been handed out."""
        self._start()
        self._drawn, self._ever_drawn = drawn, True

    def skip(self, count: int) -> None:
        """Begin a pass and drop its first `count` batches.

        Raises:
            InputError: the pass has not that many.
        """
        self._start()
        dropped: list[Batch] = []
        for number in range(count):
            if self._iterator is not None:
                self._draw(dropped)
            if not dropped:
                raise InputError(
                    f"Got a {type(self._loader).__name__} with {number} batches; expected at least the {count} that "
                    "the run had seen of it. Make the loader of the same data and batch size as for that run."
                )
            dropped.clear()

    def window(self, size: int = 1) -> list[Batch]:
        """The next `size` batches; fewer, but at least one, when the pass over the loader ends before that.

        Raises:
            EmptyLoaderError: the loader yields no batch at all.
            RanDryError: it yielded batches in an earlier pass, and none in this one: a generator has ended.
        """
        window, self._ahead = self._ahead, []
        while len(window) < size:
            if self._iterator is None:
                if window:
                    break
                self._start()
            self._draw(window)
        return window

    def pass_ended(self) -> bool:
        """Whether the pass that is under way has come to its end; False when none is.

        Draws the next batch to find out, which is the moment when a plain `for batch in loader` would draw it.
        """
        if self._iterator is None:
            return self._drawn > 0
        if not self._ahead:
            self._draw(self._ahead)
        return not self._ahead

    def start_over(self) -> None:
        """Begin a new pass with the next window."""
        self._iterator, self._ahead, self._drawn = None, [], 0

    def close(self) -> None:
        """Let go of the loader; worker processes it started for this are shut down now, not some time later."""
        iterator, self._iterator = self._iterator, None
        if not getattr(self._loader, "persistent_workers", False):
            shut_down(iterator)

    def _draw(self, window: list[Batch]) -> None:
        """Add the next batch to the window; at the end of the pass let go of the iterator instead."""
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
            window.append(map_tensors(torch.Tensor.clone, batch) if self._copied else batch)
            self._drawn += 1
            self._ever_drawn = True
        except StopIteration:
            if self._drawn == 0:
                raise (RanDryError if self._ever_drawn else EmptyLoaderError(_empty(self._loader))) from None
            self._iterator = None

    def _start(self) -> None:
        self._before_pass()
        self._iterator = iter(self._loader)
        self._drawn = 0


def check_loader(loader: Loader, name: str = "train_dl") -> None:
    """Raise for what is no loader, and for one that is known to be empty; draws nothing from it."""
    if isinstance(loader, (type, str)) or not (hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")):
        raise InputTypeError(
            f"Got a {type(loader).__name__} as {name}; expected something to iterate over that yields batches: "
            "a DataLoader, a list of batches, a generator."
        )
    if length(loader) == 0:
        raise EmptyLoaderError(_empty(loader, name))


def length(loader: Loader) -> int | None:
    """Batches in one pass over the loader, or None when it does not say."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with every tensor in it on `device`; the nesting and its types are kept.

    Tensors, tuples, named tuples, lists, mappings, dataclasses and any object with a `.to(device)` are known, nested
    as deep as may be; what is none of these (strings, numbers, ids) is passed on as it is.
    """
    # Nearly every batch is a list of tensors, and is so at every step.
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if type(batch) is list:
        return [to_device(item, device) for item in batch]
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), batch, lambda thing: thing.to(device))


def describe_batch(batch: Any) -> str:
    """What a batch is, for a message: types, shapes and keys, no values."""
    if isinstance(batch, torch.Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} Tensor{tuple(batch.shape)}"
    if isinstance(batch, (tuple, list)):
        shown = ", ".join(describe_batch(item) for item in batch[:4]) + (", …" if len(batch) > 4 else "")
        return f"{type(batch).__name__}({shown})"
    if isinstance(batch, Mapping):
        return f"{type(batch).__name__}(" + ", ".join(f"{k}: {describe_batch(v)}" for k, v in batch.items()) + ")"
    return type(batch).__name__


def _makes_new_tensors(loader: Loader) -> bool:
    """Whether every batch it yields is made for the occasion: stacked from samples, or sent by a worker process."""
    return isinstance(loader, DataLoader) and (loader.num_workers > 0 or loader.collate_fn is default_collate)


def _empty(loader: Loader, name: str = "train_dl") -> str:
    kind = type(loader).__name__
    hint = ""
    if isinstance(loader, DataLoader) and loader.drop_last:
        hint = " It has drop_last=True: a dataset smaller than one batch then yields nothing; lower batch_size."
    return f"Got a {kind} as {name} that yields no batch; expected at least one. Look at the dataset behind it.{hint}"
