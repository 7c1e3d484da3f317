"""Undo, redo, reset, and moving all markers together."""

from typing import Any

import pytest

from lrwidget.ui.views.pick_bar import PickBar
from tests.ui.hands import INSTANCES, press
from tests.ui.states import a_curve, a_state, an_advice


class Listener:
    """A bar, and what it told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.bar = PickBar(
            on_undo=lambda: self.told.append("undo"),
            on_redo=lambda: self.told.append("redo"),
            on_reset=lambda: self.told.append("reset"),
            on_together=lambda together: self.told.append(("together", together)),
        )


@pytest.fixture
def screen() -> Listener:
    screen = Listener()
    screen.bar.render(a_state())
    return screen


def test_every_button_tells_what_was_pressed(screen: Listener) -> None:
    screen.bar.render(a_state(can_undo=True, can_redo=True))
    for button in (screen.bar.undo, screen.bar.redo, screen.bar.reset):
        press(button)
    assert screen.told == ["undo", "redo", "reset"]


@pytest.mark.parametrize(("can_undo", "can_redo"), [(False, False), (True, False), (False, True), (True, True)])
def test_what_cannot_be_undone_or_redone_cannot_be_pressed(screen: Listener, can_undo: bool, can_redo: bool) -> None:
    screen.bar.render(a_state(can_undo=can_undo, can_redo=can_redo))
    assert (screen.bar.undo.disabled, screen.bar.redo.disabled) == (not can_undo, not can_redo)
    assert not screen.bar.reset.disabled
    for button in (screen.bar.undo, screen.bar.redo):
        press(button)
    assert screen.told == ["undo"] * can_undo + ["redo"] * can_redo


def test_ticking_the_box_is_told_and_showing_the_state_is_not(screen: Listener) -> None:
    screen.bar.together.set_state({"value": True})
    assert screen.told == [("together", True)]
    screen.bar.render(a_state(together=True))
    screen.bar.render(a_state(together=False))
    assert not screen.bar.together.value
    assert screen.told == [("together", True)]
    screen.bar.together.set_state({"value": True})
    assert screen.told == [("together", True)] * 2


def test_one_group_has_no_others_to_take_along(screen: Listener) -> None:
    assert screen.bar.together.layout.display is None
    screen.bar.render(a_state(names=("all layers",), lrs=(1e-3,)))
    assert screen.bar.together.layout.display == "none"


def test_everything_says_what_it_is_and_does(screen: Listener) -> None:
    parts = (screen.bar.undo, screen.bar.redo, screen.bar.reset, screen.bar.together)
    assert all(part.description and part.tooltip for part in parts)


def test_reset_says_where_to(screen: Listener) -> None:
    assert "optimizer's own" in screen.bar.reset.tooltip
    screen.bar.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3)))
    assert "recommendation" in screen.bar.reset.tooltip
    screen.bar.render(a_state(curve=a_curve(), advice=an_advice(valley=None)))
    assert "optimizer's own" in screen.bar.reset.tooltip


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    screen = Listener()
    screen.bar.render(a_state())
    screen.bar.close()
    assert set(INSTANCES) == before
