import math

import pytest
import torch
from torch import nn

from lrwidget.engine.runs.finite import FiniteWeights
from tests.engine.runs.looks import Looks


def begun(model: object) -> FiniteWeights:
    finite = FiniteWeights(model)
    finite.begin()
    return finite


def test_weights_are_looked_at_once_for_as_long_as_nobody_writes_to_them() -> None:
    finite = begun(nn.Linear(2, 2))
    with Looks() as looks:
        assert finite.unharmed() and finite.unharmed() and finite.unharmed()
    assert looks.count == 2  # weight and bias


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_written_after_a_look_is_seen(number: float) -> None:
    model = nn.Linear(2, 2)
    finite = begun(model)
    assert finite.unharmed()
    with torch.no_grad():
        model.bias[1] = number
    assert not finite.unharmed()
    with torch.no_grad():
        model.bias[1] = 0.0
    assert finite.unharmed()


def test_what_no_version_counter_counts_is_seen_after_a_step() -> None:
    model = nn.Linear(2, 2)
    finite = begun(model)
    assert finite.unharmed()
    model.weight.data.fill_(math.nan)
    finite.forget()
    assert not finite.unharmed()


def test_infinities_that_were_there_are_meant_and_a_nan_beside_them_is_not() -> None:
    model = nn.Module()
    model.mask = nn.Parameter(torch.tensor([0.0, -math.inf]))
    finite = begun(model)
    assert finite.unharmed()
    with torch.no_grad():
        model.mask[0] = math.nan
    assert not finite.unharmed()


def test_weights_that_do_not_train_do_not_count_until_they_do() -> None:
    model = nn.Linear(2, 2)
    finite = begun(model)
    model.weight.requires_grad_(False).fill_(math.nan)
    assert finite.unharmed()
    model.weight.requires_grad_(True)
    assert not finite.unharmed()


def test_what_is_no_module_has_no_weights_that_could_break() -> None:
    assert begun(object()).unharmed()
