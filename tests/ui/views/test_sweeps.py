"""The list of kept sweeps: which is chosen, what they are called, how they went."""

from itertools import pairwise
from typing import Any

import ipywidgets
import pytest

from lrwidget.engine.errors import InputError
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.look.colors import GROUP_COLORS
from lrwidget.ui.chart.sweep_lines import COLORS, line_look
from lrwidget.ui.views.sweeps import ENDED, SweepList
from tests.ui.hands import INSTANCES, press, texts_of, type_into
from tests.ui.kept_sweeps import kept
from tests.ui.states import a_state


class Listener:
    """A list, and what it told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.refuses = False
        self.list = SweepList(
            on_choose=lambda index: self.told.append(("choose", index)),
            on_rename=self.rename,
            on_remove=lambda index: self.told.append(("remove", index)),
        )

    def rename(self, index: int, name: str) -> None:
        if self.refuses:
            raise InputError("Got a name that is <taken>; expected another.")
        self.told.append(("rename", index, name))

    def show(self, *names: str, chosen: int | None = 0, **traits: Any) -> None:
        self.list.render(a_state(sweeps=kept(*names), chosen=chosen, **traits))

    def choose(self, index: int) -> None:
        """What the browser sends when a radio button is clicked."""
        self.list.choice.set_state({"index": index})

    @property
    def rows(self) -> list[str]:
        return [texts_of(row) for row in self.list._rows.children]


@pytest.fixture
def screen() -> Listener:
    return Listener()


# What it shows ---------------------------------------------------------------------------------------------------


def test_before_there_is_a_sweep_its_place_is_kept_and_says_what_will_be_there(screen: Listener) -> None:
    screen.show(chosen=None)
    assert "Sweeps are kept here" in seen_in(screen.list.view)
    screen.show("sweep 1")
    assert "Sweeps are kept here" not in seen_in(screen.list.view) and "100 steps" in seen_in(screen.list.view)
    screen.show(chosen=None)
    assert "100 steps" not in seen_in(screen.list.view)


def test_a_row_tells_name_range_steps_and_how_it_ended(screen: Listener) -> None:
    sweeps = kept("first", "second", stop_reason=StopReason.DIVERGED)
    screen.list.render(a_state(sweeps=sweeps, chosen=1))
    assert [field.view.value for field in screen.list.names] == ["first", "second"]
    assert all("1e-7 – 10 · 100 steps · diverged" in row for row in screen.rows)
    assert f"title='{sweeps[0].curve.note}'" in screen.rows[0]


@pytest.mark.parametrize("reason", StopReason)
def test_every_ending_has_a_short_name(reason: StopReason) -> None:
    assert ENDED[reason]


def test_the_chosen_one_is_marked_and_none_while_a_sweep_runs(screen: Listener) -> None:
    screen.show("a", "b", chosen=1)
    assert screen.list.choice.index == 1
    screen.show("a", "b", chosen=None, phase="sweeping")
    assert screen.list.choice.index is None
    screen.show("a", "b", "c", chosen=2)
    assert screen.list.choice.index == 2
    assert not screen.told


def test_each_option_names_its_sweep_to_who_hears_it_and_no_two_are_alike(screen: Listener) -> None:
    screen.show("same", "same", chosen=1)
    options = screen.list.choice.options
    assert all("same" in option for option in options) and len({*options}) == 2
    assert screen.list.choice.index == 1


def test_what_can_be_pressed_or_typed_into_says_what_it_is(screen: Listener) -> None:
    screen.show("a", "b")
    assert [button.description for button in screen.list.removers] == ["Remove a", "Remove b"]
    assert all(f"kept sweep {n}" in field.view.description for n, field in enumerate(screen.list.names, start=1))
    assert all(field.view.tooltip for field in screen.list.names)


def test_a_row_shows_the_line_that_the_chart_draws(screen: Listener) -> None:
    screen.show("a", "b", "c", chosen=0)
    assert all(line_look(index).color in screen.rows[index] for index in (1, 2))
    assert line_look(0).color not in screen.rows[0]
    assert not {*COLORS} & {*GROUP_COLORS}


def test_lines_differ_by_dashes_as_well_as_by_colour() -> None:
    looks = [line_look(index) for index in range(15)]
    assert len({*looks}) == 15
    assert all(one.color != other.color and one.style != other.style for one, other in pairwise(looks))


def test_names_are_text(screen: Listener) -> None:
    screen.show("<b>bold</b>")
    assert "<b>" not in "".join(screen.rows)
    assert screen.list.names[0].view.value == "<b>bold</b>"


def test_rows_come_and_go_with_the_sweeps_and_old_ones_are_closed(screen: Listener) -> None:
    screen.show("a", "b", "c")
    gone = screen.list.removers[-1]
    screen.show("a", "c")
    assert [field.view.value for field in screen.list.names] == ["a", "c"]
    assert gone.comm is None and len(screen.rows) == len(screen.list.removers) == 2


def test_nothing_can_be_changed_while_a_sweep_runs(screen: Listener) -> None:
    screen.show("a", "b", chosen=None, phase="sweeping")
    parts = [screen.list.choice, *screen.list.removers, *(field.view for field in screen.list.names)]
    assert all(part.disabled for part in parts)
    screen.show("a", "b", phase="training")
    assert not any(part.disabled for part in parts)


def test_the_same_state_is_sent_once(screen: Listener) -> None:
    state = a_state(sweeps=kept("a", "b"), chosen=0)
    screen.list.render(state)
    changes: list[Any] = []
    for widget in below(screen.list.view):
        widget.observe(changes.append)
    screen.list.render(state)
    assert not changes


# What it tells ---------------------------------------------------------------------------------------------------


def test_a_choice_is_told_once(screen: Listener) -> None:
    screen.show("a", "b", chosen=0)
    screen.choose(1)
    assert screen.told == [("choose", 1)]
    screen.show("a", "b", chosen=1)
    assert screen.told == [("choose", 1)] and screen.list.choice.index == 1


def test_a_choice_that_is_refused_is_taken_back(screen: Listener) -> None:
    screen.show("a", "b", chosen=0)
    screen.choose(1)  # and the state stays as it is
    assert screen.list.choice.index == 0
    screen.choose(1)
    assert screen.told == [("choose", 1)] * 2


def test_a_new_name_is_told_and_an_empty_one_is_answered(screen: Listener) -> None:
    screen.show("a", "b")
    type_into(screen.list.names[1], " better ")
    assert screen.told == [("rename", 1, "better")]
    type_into(screen.list.names[1], "  ")
    assert screen.list.names[1].view.value == "b"
    assert "Got an empty name" in texts_of(screen.list.view) and len(screen.told) == 1


def test_a_name_that_is_refused_is_answered_as_text(screen: Listener) -> None:
    screen.show("a")
    screen.refuses = True
    type_into(screen.list.names[0], "b")
    assert "&lt;taken&gt;" in texts_of(screen.list.view)
    assert screen.list.names[0].view.value == "a"


def test_remove_tells_which(screen: Listener) -> None:
    screen.show("a", "b", "c")
    press(screen.list.removers[1])
    assert screen.told == [("remove", 1)]


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    screen = Listener()
    screen.show("a", "b")
    screen.show("a")
    screen.list.close()
    assert set(INSTANCES) == before


def seen_in(widget: ipywidgets.Widget) -> str:
    """The HTML that is displayed."""
    if widget.layout.display == "none":
        return ""
    return texts_of(widget) if not hasattr(widget, "children") else "".join(map(seen_in, widget.children))


def below(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """A widget and all below it."""
    return [widget, *(found for child in getattr(widget, "children", ()) for found in below(child))]
