"""The pick and the fields, resolved into a plan without a session."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lrwidget.engine.errors import InputError, InputTypeError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.session.planning import preview, program, resolve, taken_over
from lrwidget.state import RunOptions
from tests.engine.zoo import Stream, adam, loader, net

LRS = (3e-4, 3e-3)


def a_loop(**options: Any) -> Loop:
    model = net()
    options.setdefault("train_dl", loader())
    return Loop(model, adam(model), options.pop("train_dl"), F.cross_entropy, **options)


def without_length() -> Loop:
    return a_loop(train_dl=torch.utils.data.DataLoader(Stream(), batch_size=8))


def test_what_a_call_asks_for_goes_before_what_the_fields_say() -> None:
    loop, shown = a_loop(), RunOptions(epochs=4, preset="fastai", div=3.0, freeze_epochs=1)
    names = [group.name for group in loop.groups]
    by_fields = one_cycle(LRS, 30, names, preset="fastai", div=3.0, freeze_steps=6)
    assert resolve(loop, LRS, (), shown) == by_fields == preview(loop, LRS, (), shown)
    asked = resolve(loop, LRS, (), shown, epochs=2, div=5.0, freeze_epochs=0)
    assert asked == one_cycle(LRS, 12, names, preset="fastai", div=5.0)


def test_groups_that_stand_still_on_the_screen_train_when_a_call_says_so() -> None:
    loop, shown = a_loop(), RunOptions()
    assert resolve(loop, LRS, (True, False), shown).cycles[0].frozen == (True, False)
    asked = resolve(loop, LRS, (True, False), shown, frozen=(False, False))
    assert not any(asked.cycles[0].frozen or ())


@pytest.mark.parametrize("name", ["lrs", "loop", "shown", "max_lr", "epoch"])
def test_an_option_that_no_plan_has_is_named(name: str) -> None:
    with pytest.raises(InputTypeError, match=rf"Got the option '{name}'; a plan takes"):
        resolve(a_loop(), LRS, (), RunOptions(), **{name: 1})


def test_without_the_length_of_an_epoch_there_is_a_plan_as_soon_as_there_are_steps() -> None:
    loop = without_length()
    assert preview(loop, LRS, (), RunOptions()) is None
    with pytest.raises(InputError, match="without a length"):
        resolve(loop, LRS, (), RunOptions())
    plan = preview(loop, LRS, (), RunOptions(steps=40))
    assert plan is not None and plan.total_steps == 40


def test_what_was_asked_for_stays_in_the_fields() -> None:
    shown = RunOptions(epochs=3, steps=40)
    asked = taken_over(a_loop(), shown, 2, None, {"preset": "fastai", "frozen": (True, False)})
    assert asked == RunOptions(epochs=2, steps=None, preset="fastai")
    assert taken_over(a_loop(), shown, None, 7, {}) == shown, "a field of steps is for loaders without a length"
    assert taken_over(without_length(), shown, None, 7, {}).steps == 7


def test_a_program_takes_the_steps_of_its_loop() -> None:
    plan = one_cycle(LRS, 12, 2)
    text = program(plan, a_loop(accumulate=4, clip_grad_norm=0.5))
    assert text == plan.code(step="loss_fn", accumulate=4, clip_grad_norm=0.5)
    assert "train_step(" in program(plan, a_loop(train_step=lambda batch: 0.0))
