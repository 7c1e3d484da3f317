"""The trainings that are timed: two small models on random data, and the loop that everybody writes by hand."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, TensorDataset

START_LR, END_LR = 1e-7, 1e-4
"""A range in which nothing diverges, so that every finder does all of its steps."""

loss_fn = nn.CrossEntropyLoss()


@dataclass
class Training:
    """A model with its optimizer and its data."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: "DataLoader[tuple[torch.Tensor, ...]]"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def run(self, steps: int, scheduler: LRScheduler | None = None) -> None:
        """The bare loop. It never asks for the value of a loss, for which a GPU would have to be waited for."""
        model, optimizer, device = self.model, self.optimizer, self.device
        model.train()
        batches = itertools.chain.from_iterable(itertools.repeat(self.loader))
        for inputs, target in itertools.islice(batches, steps):
            inputs, target = inputs.to(device), target.to(device)
            optimizer.zero_grad()
            loss_fn(model(inputs), target).backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()


def mlp() -> Training:
    """A step of about 0.8 ms on one thread: what a finder adds to a step shows."""
    model = nn.Sequential(nn.Linear(128, 192), nn.ReLU(), nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, 10))
    return _training(model, (128,), batch_size=32)


def cnn() -> Training:
    """A step of about 7 ms, as of a small network on pictures."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 256, 10),
    )
    return _training(model, (3, 32, 32), batch_size=16)


TRAININGS: dict[str, Callable[[], Training]] = {"0.8 ms MLP": mlp, "7 ms CNN": cnn}


def _training(model: nn.Module, shape: tuple[int, ...], batch_size: int) -> Training:
    """With a loader whose pass is 100 steps long and whose batches are stacked from samples, as they mostly are."""
    generator = torch.Generator().manual_seed(0)
    count = 100 * batch_size
    data = TensorDataset(
        torch.randn(count, *shape, generator=generator), torch.randint(10, (count,), generator=generator)
    )
    return Training(
        model, torch.optim.Adam(model.parameters(), lr=START_LR), DataLoader(data, batch_size, shuffle=True)
    )


def wide(layers: int = 12) -> Training:
    """8.4 million weights a layer, 100 million for 12, with Adam's state for all of them."""
    sides = [(4096, 2048) if n % 2 == 0 else (2048, 4096) for n in range(layers)]
    model = nn.Sequential(*(nn.Linear(*side) for side in sides), nn.Linear(sides[-1][1], 10))
    training = _training(model, (4096,), batch_size=4)
    training.run(1)
    training.optimizer.zero_grad()
    return training
