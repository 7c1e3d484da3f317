import math

import pytest
import torch
from torch import nn

from lrwidget.engine.runs.best import BestWeights
from lrwidget.engine.runs.history import EpochPoint


def epoch(number: int, valid_loss: float | None) -> EpochPoint:
    return EpochPoint(epoch=number, step=number, train_loss=1.0, valid_loss=valid_loss, metrics={})


def test_what_was_kept_comes_back_buffers_too() -> None:
    model = nn.BatchNorm1d(3)
    best = BestWeights(model)
    best.keep(epoch(1, 0.5))
    kept = [t.clone() for t in model.state_dict().values()]
    with torch.no_grad():
        model.weight.zero_(), model.running_mean.fill_(9.0)
    best.put_back()
    assert all(map(torch.equal, model.state_dict().values(), kept))
    assert best.epoch is not None and best.epoch.epoch == 1


@pytest.mark.parametrize(
    ("kept", "valid_loss", "beaten"),
    [
        (None, 9.0, True),
        (0.5, 0.4, True),
        (0.5, 0.5, False),
        (0.5, 0.6, False),
        (0.5, math.nan, False),
        (None, math.nan, False),
        (None, None, True),
        (0.5, None, True),
    ],
)
def test_the_lower_validation_loss_wins_and_without_one_the_later_epoch(
    kept: float | None, valid_loss: float | None, beaten: bool
) -> None:
    best = BestWeights(nn.Linear(1, 1))
    best.keep(epoch(0, kept))
    assert best.is_beaten_by(epoch(1, valid_loss)) is beaten


def test_another_object_goes_on_with_what_was_kept() -> None:
    model = nn.Linear(2, 2)
    first, second = BestWeights(model), BestWeights(model)
    first.keep(epoch(3, 0.25))
    weight = model.weight.detach().clone()
    second.go_on(first.state(), torch.device("cpu"))
    with torch.no_grad():
        model.weight.zero_()
    second.put_back()
    assert torch.equal(model.weight, weight) and second.epoch == first.epoch


def test_a_buffer_that_has_grown_is_copied_anew() -> None:
    model = nn.Module()
    model.register_buffer("seen", torch.zeros(2))
    best = BestWeights(model)
    best.keep(epoch(1, 0.5))
    model.seen = torch.ones(5)
    best.keep(epoch(2, 0.4))
    model.seen.zero_()
    best.put_back()
    assert model.seen.tolist() == [1.0] * 5
