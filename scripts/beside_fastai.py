"""Print what fastai does at every step of four small trainings: the tables that tests/engine/runs/test_parity.py holds.

Needs fastai 2.8 beside torch, in an environment of its own; lrwidget is not imported. Columns: LR of each of the three
groups, momentum, training loss. Then the weights and biases of the head after the last step.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner
from fastai.data.core import DataLoaders
from fastai.optimizer import OptimWrapper
from torch import nn
from torch.nn import functional as F


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Five batches of eight samples that are the same on every machine."""
    x = torch.sin(torch.arange(240.0) * 0.7).reshape(40, 6)
    y = torch.arange(40) % 3
    return list(zip(x.split(8), y.split(8), strict=True))


def net() -> nn.Sequential:
    """Three layer groups with two kinds of norm layers, and weights that are the same on every machine."""
    stem = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
    body = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU())
    model = nn.Sequential(stem, body, nn.Linear(8, 3))
    with torch.no_grad():
        for number, layer in enumerate((stem[0], body[0], model[2])):
            for parameter in (layer.weight, layer.bias):
                parameter.copy_(torch.cos(torch.arange(parameter.numel()) * 1.3 + number).reshape(parameter.shape) / 2)
    return model


class Batches:
    """As little of a DataLoader as fastai asks for."""

    def __init__(self, held: list[Any]) -> None:
        self.held, self.n, self.bs, self.device = held, len(held), 8, torch.device("cpu")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def to(self, _device: torch.device) -> "Batches":
        """Stay where it is."""
        return self


class Watch(Callback):
    """Prints what the optimizer is about to step with."""

    order = 100

    def before_step(self) -> None:
        """Print one row."""
        lrs = ", ".join(repr(float(h["lr"])) for h in self.opt.hypers)
        print(f"    ({lrs}, {float(self.opt.hypers[-1]['mom'])!r}, {float(self.learn.loss.detach())!r}),")


def train(
    name: str,
    kind: type,
    how: Callable[[Learner], object],
    moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
    **options: Any,
) -> None:
    """One training, printed."""
    learner = Learner(
        DataLoaders(Batches(batches()), Batches([])),
        net(),
        loss_func=F.cross_entropy,
        opt_func=partial(OptimWrapper, opt=kind, **options),
        splitter=lambda model: [list(part.parameters()) for part in model],
        cbs=[Watch()],
        moms=moms,
    )
    print(f"{name} = [")
    with learner.no_bar(), learner.no_logging():
        how(learner)
    print("]")
    head = learner.model[2]
    print(f"{name}_HEAD = {[*head.weight.flatten().tolist(), *head.bias.tolist()]}")


if __name__ == "__main__":
    logging.disable()
    torch.set_num_threads(1)
    AdamW, SGD = torch.optim.AdamW, torch.optim.SGD
    train("ONE_CYCLE_ADAM", AdamW, lambda learner: learner.fit_one_cycle(2, slice(1e-4, 1e-2)))
    train("ONE_CYCLE_SGD", SGD, lambda learner: learner.fit_one_cycle(2, slice(1e-2)), momentum=0.9)
    # fastai cycles a momentum of 0 as well, unless it is told not to; it forgets momenta when it unfreezes.
    train("FINE_TUNE", SGD, lambda learner: learner.fine_tune(2, base_lr=2e-2), moms=(0.0, 0.0, 0.0))
    train("FINE_TUNE_MOMENTUM", SGD, lambda learner: learner.fine_tune(1, base_lr=2e-2), momentum=0.9)
