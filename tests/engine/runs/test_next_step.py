import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrwidget.engine.errors import LossError
from lrwidget.engine.loops.batches import Batches
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.runs.next_step import NextStep
from tests.engine.zoo import adam, classification, loader, net


class Skipping:
    """A scaler whose scale falls, so that it skips, at the first steps."""

    def __init__(self, skips: int) -> None:
        self.skips, self.steps = skips, 0

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss

    def unscale_(self, optimizer: object) -> None: ...

    def step(self, optimizer: Any) -> None:
        self.steps += 1

    def update(self) -> None: ...

    def get_scale(self) -> float:
        return -float(min(self.steps, self.skips))


def a_step(scaler: Skipping) -> tuple[NextStep, Batches]:
    model = net()
    loop = Loop(model, adam(model), loader(), F.cross_entropy, amp="fp16", scaler=scaler)  # type: ignore[arg-type]
    return NextStep(loop), loop.batches()


def test_a_step_that_the_scaler_skipped_is_taken_again_until_one_counts() -> None:
    scaler = Skipping(3)
    take, batches = a_step(scaler)
    loss = take(batches, lambda: False)
    assert loss is not None and math.isfinite(loss) and scaler.steps == 4
    take(batches, lambda: False)
    assert scaler.steps == 5


def test_a_stop_is_heard_between_skipped_steps() -> None:
    scaler = Skipping(10**6)
    take, batches = a_step(scaler)
    assert take(batches, lambda: scaler.steps == 2) is None


def test_a_scaler_that_never_stops_skipping_is_an_error() -> None:
    take, batches = a_step(Skipping(10**6))
    with pytest.raises(LossError, match="steps in a row that the gradient scaler skipped"):
        take(batches, lambda: False)


def test_a_loss_that_is_no_number_leaves_the_running_statistics_alone() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    x, y = classification(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = Loop(model, optimizer, [(x, y), (x * math.nan, y)], F.cross_entropy)
    take, batches = NextStep(loop), loop.batches()
    take(batches, lambda: False)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    loss = take(batches, lambda: False)
    assert loss is not None and math.isnan(loss)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
