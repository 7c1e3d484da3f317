"""What a `set_lrs` writes an LR into is given back after a sweep, wherever it is, and the proof knows of it."""

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrwidget.engine.borrowing.preserve import preserved
from lrwidget.engine.borrowing.written import Binding, written_by
from lrwidget.engine.errors import GiveBackError, InputError
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.fit import fit, resume
from lrwidget.engine.sweeps.sweep import range_test
from tests.engine.zoo import loader

RATE = 0.1
RATES = [0.1]

Read = Callable[[], float]
Write = Callable[[tuple[float, ...]], object]


class Config:
    rate = 0.1
    rates: ClassVar = [0.1]


class Setter:
    def __init__(self) -> None:
        self.rate = 0.1

    def write(self, lrs: tuple[float, ...]) -> None:
        self._write(lrs[0])

    def _write(self, lr: float) -> None:
        self.rate = lr

    __call__ = write


class OfTheModule(Setter):
    def _write(self, lr: float) -> None:
        global RATE
        RATE = lr


def in_a_list() -> tuple[Read, Write]:
    rate = [0.1]
    return lambda: rate[0], lambda lrs: rate.__setitem__(0, lrs[0])


def in_an_argument_of_a_partial() -> tuple[Read, Write]:
    rate: dict[str, float] = {"lr": 0.1}
    return lambda: rate["lr"], functools.partial(lambda held, lrs: held.update(lr=lrs[0]), rate)


def in_a_builtin_method() -> tuple[Read, Write]:
    rate: list[Any] = [0.1]
    return lambda: rate[-1][0] if isinstance(rate[-1], tuple) else rate[-1], rate.append


def in_a_dict_deep_down() -> tuple[Read, Write]:
    config = {"optimizer": [{"lr": 0.1}]}

    def write(lrs: tuple[float, ...]) -> None:
        config["optimizer"][0]["lr"] = lrs[0]

    return lambda: config["optimizer"][0]["lr"], write


def in_an_array() -> tuple[Read, Write]:
    rate = np.array([0.1])
    return lambda: float(rate[0]), lambda lrs: rate.fill(lrs[0])


def in_a_tensor() -> tuple[Read, Write]:
    rate = torch.tensor(0.1, dtype=torch.float64)
    return rate.item, lambda lrs: rate.fill_(lrs[0])


def in_a_default() -> tuple[Read, Write]:
    held = [0.1]

    def write(lrs: tuple[float, ...], rate: list[float] = held) -> None:
        rate[0] = lrs[0]

    return lambda: held[0], write


def in_a_name_outside() -> tuple[Read, Write]:
    rate = 0.1

    def write(lrs: tuple[float, ...]) -> None:
        nonlocal rate
        (rate,) = lrs

    return lambda: rate, write


def in_a_global() -> tuple[Read, Write]:
    def write(lrs: tuple[float, ...]) -> None:
        global RATE
        (RATE,) = lrs

    return lambda: RATE, write


def in_a_list_of_the_module() -> tuple[Read, Write]:
    return lambda: RATES[0], lambda lrs: RATES.__setitem__(0, lrs[0])


def by_another_function() -> tuple[Read, Write]:
    read, write = in_a_global()
    return read, lambda lrs: write(lrs)


def in_a_class() -> tuple[Read, Write]:
    def write(lrs: tuple[float, ...]) -> None:
        Config.rate = Config.rates[0] = lrs[0]

    return lambda: max(Config.rate, Config.rates[0]), write


def in_an_object() -> tuple[Read, Write]:
    setter = Setter()
    return lambda: setter.rate, setter.write


def by_an_object_that_is_called() -> tuple[Read, Write]:
    setter = Setter()
    return lambda: setter.rate, setter


def by_a_method_that_is_called() -> tuple[Read, Write]:
    setter = OfTheModule()
    return lambda: RATE, lambda lrs: setter.write(lrs)


PLACES = [
    in_a_list,
    in_an_argument_of_a_partial,
    in_a_builtin_method,
    in_a_dict_deep_down,
    in_an_array,
    in_a_tensor,
    in_a_default,
    in_a_name_outside,
    in_a_global,
    in_a_list_of_the_module,
    by_another_function,
    in_a_class,
    in_an_object,
    by_an_object_that_is_called,
    by_a_method_that_is_called,
]


@pytest.mark.parametrize("place", PLACES)
def test_an_lr_is_given_back_wherever_set_lrs_writes_it(place: Callable[[], tuple[Read, Write]]) -> None:
    read, write = place()
    weight = torch.zeros(6, 3, requires_grad=True)
    used: list[float] = []

    def train_step(batch: Any) -> torch.Tensor:
        used.append(read())
        loss = F.cross_entropy(batch[0] @ weight, batch[1])
        (gradient,) = torch.autograd.grad(loss, weight)
        weight.data -= read() * gradient
        return loss

    assert read() == 0.1
    model = types.SimpleNamespace(weight=weight)
    curve = range_test(model, None, loader(), train_step=train_step, set_lrs=write, num_steps=5, verify=True)
    assert used == pytest.approx(curve.lrs.tolist())
    assert read() == 0.1
    assert curve.given_back


def test_a_name_that_was_not_there_is_gone_again() -> None:
    space: dict[str, Any] = {"__name__": "notebook"}
    exec("def write(lrs):\n    global rate\n    rate = lrs[0]", space)
    with preserved(whole=written_by(space["write"]), verify=True):
        space["write"]((3.0,))
        assert space["rate"] == 3.0
    assert "rate" not in space


def test_a_name_that_cannot_be_put_back_is_told() -> None:
    binding = Binding("rate", iter(range(9)).__next__, lambda value: None)
    with pytest.raises(GiveBackError, match="Got rate after giving back"), preserved(whole=[binding], verify=True):
        pass


def test_what_a_step_writes_down_for_its_user_stays() -> None:
    rate, seen = [0.1], []
    weight = torch.zeros(6, 3, requires_grad=True)

    def train_step(batch: Any) -> torch.Tensor:
        seen.append(rate[0])
        return F.cross_entropy(batch[0] @ weight, batch[1])

    range_test(
        weight, None, loader(), train_step=train_step, set_lrs=lambda lrs: rate.__setitem__(0, lrs[0]), num_steps=4
    )
    assert len(seen) == 4
    assert rate == [0.1]


# Without an optimizer -------------------------------------------------------------------------------------------------


class Classifier:
    """A model that trains itself, with an LR for its weight and one for its bias."""

    def __init__(self) -> None:
        self.weight = torch.zeros(6, 3, requires_grad=True)
        self.bias = torch.zeros(3, requires_grad=True)
        self.rates = (0.1, 0.1)

    def step(self, batch: Any) -> torch.Tensor:
        tensors = (self.weight, self.bias)
        loss = F.cross_entropy(batch[0] @ self.weight + self.bias, batch[1])
        for tensor, rate, gradient in zip(tensors, self.rates, torch.autograd.grad(loss, tensors), strict=True):
            tensor.data -= rate * gradient
        return loss

    def set_lrs(self, lrs: tuple[float, ...]) -> None:
        self.rates = lrs


def test_a_model_that_has_no_optimizer_is_trained_by_its_own_step() -> None:
    model, plan = Classifier(), one_cycle([0.1, 0.5], 12, ["weight", "bias"])
    seen: list[tuple[float, ...]] = []
    history = fit(
        model,
        None,
        loader(),
        None,
        plan,
        train_step=model.step,
        set_lrs=model.set_lrs,
        on_step=lambda point: seen.append(model.rates),
    )
    assert np.array_equal(seen, plan.lr_at(range(12)))
    assert history.losses[-1] < history.losses[0]
    assert model.rates == tuple(plan.lr_at(11))


def test_groups_that_nothing_tells_the_parameters_of_cannot_be_frozen() -> None:
    model, plan = Classifier(), one_cycle(0.1, 12, 2, freeze_steps=4)
    with pytest.raises(InputError, match=r"(?s)in which 1 of 2 groups do not train, and set_lrs.*freeze_steps=0"):
        fit(model, None, loader(), None, plan, train_step=model.step, set_lrs=model.set_lrs)
    assert not model.weight.any()


def test_nothing_that_would_move_the_weights_is_told() -> None:
    with pytest.raises(InputError, match=r"(?s)^Got set_lrs without train_step.*expected\s+train_step=lambda batch"):
        range_test(nn.Linear(6, 3), None, loader(), F.cross_entropy, set_lrs=lambda lrs: None)


class Layered(nn.Module):
    """The same, as a module whose weights a checkpoint can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(6, 3)), nn.Parameter(torch.zeros(3))
        self.rates: tuple[float, ...] = (0.1, 0.1)

    step = Classifier.step
    set_lrs = Classifier.set_lrs


def test_a_run_without_an_optimizer_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    batches, plan = list(loader()), one_cycle([0.1, 0.5], 12, 2)
    whole, cut, rest = Layered(), Layered(), Layered()
    fit(whole, None, batches, None, plan, train_step=whole.step, set_lrs=whole.set_lrs)
    asked: list[None] = []
    fit(
        cut,
        None,
        batches,
        None,
        plan,
        train_step=cut.step,
        set_lrs=cut.set_lrs,
        checkpoint_dir=tmp_path,
        checkpoint_every=2,
        should_stop=lambda: asked.append(None) or len(asked) > 6,  # type: ignore[func-returns-value]
    )
    history = resume(tmp_path, rest, None, batches, train_step=rest.step, set_lrs=rest.set_lrs)
    assert len(history) == 12
    assert torch.equal(rest.weight, whole.weight)
