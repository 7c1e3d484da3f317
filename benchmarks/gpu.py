# ruff: noqa: T201 - what is printed is what it is for
"""What only a GPU can tell: whether a sweep ever waits for it, and how fast large models are taken and given back.

`python -m benchmarks.gpu` measures, prints, and writes `RESULTS-GPU.md`; it needs a CUDA device, and no browser.
"""

import functools
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import finding, loops
from benchmarks.giving_back import n_bytes, tensors_of
from benchmarks.loops import Training
from benchmarks.measure import race
from benchmarks.report import Row, Section, machine, table, write
from lrwidget import preserved

HEAD = """# What lrwidget costs on a GPU

Written by `python -m benchmarks.gpu`; `README.md` beside this says how it is measured.

{machine}
"""


class Slices(Dataset[tuple[torch.Tensor, ...]]):
    """Batches cut from tensors that lie on the device."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, batch_size: int) -> None:
        self._parts = (inputs, targets)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._parts[0]) // self._batch_size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        start = index * self._batch_size
        return tuple(part[start : start + self._batch_size] for part in self._parts)


def small(device: torch.device, *, batches: int = 100) -> Training:
    """A model whose steps a GPU does as fast as Python can ask for them; its batches are there already."""
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
    count = 64 * batches
    data = Slices(torch.randn(count, 256, device=device), torch.randint(10, (count,), device=device), 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=loops.START_LR, fused=True)
    return Training(model, optimizer, DataLoader(data, batch_size=None))


def large(device: torch.device, *, layers: int = 15, width: int = 8192) -> Training:
    """67 million weights a layer, a billion for 15, with Adam's state for all of them."""
    with device:
        model = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
    optimizer = torch.optim.Adam(model.parameters(), lr=loops.START_LR, fused=True)
    data = Slices(torch.randn(8, width, device=device), torch.zeros(8, dtype=torch.long, device=device), 8)
    training = Training(model, optimizer, DataLoader(data, batch_size=None))
    training.run(1)
    optimizer.zero_grad()
    return training


def layers_that_fit(device: torch.device) -> int:
    """Of the large model: 15, a billion weights, where its state, plain copies and lrwidget's fit beside each other."""
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(15, int(0.9 * free / (9 * 4 * 8192 * 8193))))


def throughput(
    make: Callable[[], Training], finders: dict[str, finding.Finder], *, steps: int, rounds: int
) -> list[Row]:
    """A sweep's steps a second over those of the bare loop, which never waits for a loss."""
    ratios = finding.sweep_ratios(make, finders, rounds, steps)
    return [
        Row(
            f"a sweep of {steps} steps, steps a second over bare loop: {finder}",
            1 / ratio.best,
            0.97 if finder == "lrwidget" else None,
            at_least=True,
            detail=f"{ratio.seconds.told('.2f')} s",
        )
        for finder, ratio in ratios.items()
    ]


def copied(tensors: Iterable[torch.Tensor], to: str | torch.device | None) -> Callable[[], None]:
    """As many bytes as tensors have, there and back, between memory that was taken before: what the hardware does."""
    there = [
        (tensor, torch.empty_like(tensor, device=to, pin_memory=to == "cpu" and tensor.is_cuda)) for tensor in tensors
    ]

    def copy() -> None:
        with torch.no_grad():
            for tensor, other in there:
                other.copy_(tensor, non_blocking=True)
            for tensor, other in there:
                tensor.copy_(other, non_blocking=True)

    return copy


def giving_back(make: Callable[[], Training], *, rounds: int) -> list[Row]:
    """Taking and giving back over plain copies of as many bytes, on the device and to the computer's memory."""
    training = make()
    found = []
    for snapshot, limit, where in ((None, 0.8, "on the device"), ("cpu", 0.7, "in the computer's memory")):

        def borrow(snapshot: str | None = snapshot) -> None:
            with preserved(training.model, training.optimizer, snapshot=snapshot):
                pass

        ratio = race({"plain": copied(tensors_of(training), snapshot), "lrwidget": borrow}, rounds)["lrwidget"]
        size = f"{n_bytes(training) / 1e9:.1f} GB of weights and Adam's state"
        found.append(
            Row(
                f"{size} taken and given back, snapshot {where}, speed over the hardware's",
                1 / ratio.best,
                limit,
                "{:.0%}",
                at_least=True,
                detail=f"{ratio.seconds.told('.3f')} s",
            )
        )
    return found


def main() -> None:
    """Measure, print, write."""
    if not torch.cuda.is_available():
        sys.exit("Got no CUDA device; expected one: there is nothing to measure without.")
    device = torch.device("cuda")
    torch.set_num_threads(1)
    finders: dict[str, finding.Finder] = {}
    with suppress(ImportError):  # where one of them is missing
        from benchmarks.peers import FINDERS

        finders = dict(FINDERS)
    sections: list[Section] = []
    for title, words, measure in (
        (
            "Sweeps",
            "A small model with a fused AdamW. Batches lie on the device; lrwidget copies each before it is used, "
            "because a step may write into what would be the user's data.",
            lambda: throughput(functools.partial(small, device), finders, steps=500, rounds=20),
        ),
        (
            "Taking and giving back",
            "The hardware's speed is that of `copy_` between memory that has been taken, and locked, before.",
            lambda: giving_back(lambda: large(device, layers=layers_that_fit(device)), rounds=8),
        ),
    ):
        sections.append(Section(title, words, measure()))
        print(table(sections[-1].rows), flush=True)
        write(Path(__file__).parent / "RESULTS-GPU.md", sections, head=HEAD.format(machine=machine()))


if __name__ == "__main__":
    main()
