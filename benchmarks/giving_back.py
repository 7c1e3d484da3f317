"""Taking 100 million weights with Adam's state, and giving them back, against plain `clone` and `copy_`."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch

from benchmarks.loops import Training, wide
from benchmarks.measure import Ratio, race
from benchmarks.report import Row
from lrwidget import preserved


def tensors_of(training: Training) -> list[torch.Tensor]:
    """All that a step changes."""
    state = [value for values in training.optimizer.state.values() for value in values.values()]
    return [*training.model.state_dict().values(), *(value for value in state if isinstance(value, torch.Tensor))]


def n_bytes(training: Training) -> int:
    """How much that is."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(training))


@contextmanager
def plain(training: Training) -> Iterator[None]:
    """The least that has to be done."""
    tensors = tensors_of(training)
    with torch.no_grad():
        copies = [tensor.clone() for tensor in tensors]
        yield
        for tensor, copy in zip(tensors, copies, strict=True):
            tensor.copy_(copy)


def ours(training: Training) -> AbstractContextManager[object]:
    """lrwidget's, which a sweep uses."""
    return preserved(training.model, training.optimizer, loaders=(training.loader,))


Borrowing = Callable[[Training], AbstractContextManager[object]]


def ratios(others: Mapping[str, Borrowing], *, layers: int, rounds: int) -> dict[str, Ratio]:
    """Each one's time over that of the plain copies."""
    training = wide(layers)

    def borrow(borrowing: Borrowing) -> None:
        with borrowing(training):
            pass

    contestants = {"clone and copy_": plain, "lrwidget": ours, **others}
    return race({name: functools.partial(borrow, way) for name, way in contestants.items()}, rounds)


def rows(others: Mapping[str, Borrowing], *, quick: bool) -> list[Row]:
    """For the report."""
    found = ratios(others, layers=2 if quick else 12, rounds=2 if quick else 6)
    size = "17 M" if quick else "100 M"
    shares = {name: 1 / ratio.best for name, ratio in found.items()}
    measured = [
        Row(
            f"{size} weights and Adam's state taken and given back, speed over clone and copy_: {name}",
            share,
            0.6 if name == "lrwidget" else None,
            "{:.0%}",
            at_least=True,
            detail=f"{found[name].seconds.told('.2f')} s",
        )
        for name, share in shares.items()
    ]
    best_peer = max((shares[name] for name in others), default=0.0)
    if others:
        lead = shares["lrwidget"] / best_peer
        measured.append(Row("the same: lrwidget over the best of the others", lead, 1.0, "{:.1f}", at_least=True))
    return measured
