"""The table of groups: what it shows, and what it tells."""

from collections.abc import Callable

import ipywidgets

from lrwidget.engine.errors import InputError
from lrwidget.engine.groups import Group
from lrwidget.engine.sweep import SweepConfig
from lrwidget.state import LRState, RunOptions
from lrwidget.ui.group_table import GroupTable
from tests.ui.hands import INSTANCES, texts_of, type_into
from tests.ui.states import NAMES, a_state


class Table(GroupTable):
    def __init__(self, answer: Callable[[int, float], object] = lambda index, lr: None) -> None:
        self.told: list[tuple[int, float]] = []
        super().__init__(on_lr=lambda index, lr: (self.told.append((index, lr)), answer(index, lr)))


def test_a_row_tells_name_size_and_lr() -> None:
    table = Table()
    table.render(a_state())
    assert [field.view.value for field in table.fields] == ["3e-5", "0.0003", "0.003"]
    said = texts_of(table.view)
    assert all(name in said for name in NAMES)
    assert "9\u2009408" in said
    assert "title='stem.0'" in said


def test_an_entered_lr_is_told_exactly_and_with_its_group() -> None:
    table = Table()
    table.render(a_state())
    type_into(table.fields[1], " 3.14159e-4 ")
    assert table.told == [(1, 3.14159e-4)]


def test_what_was_not_edited_is_not_told() -> None:
    table = Table()
    table.render(a_state(lrs=(3.14159e-5, 3e-4, 3e-3)))
    type_into(table.fields[0], "3.1e-5")
    assert not table.told


def test_the_field_follows_the_pick_that_its_edit_caused() -> None:
    state = a_state()
    table = Table(lambda index, lr: (setattr(state, "lrs", (lr, 3e-4, 3e-3)), table.render(state)))
    table.render(state)
    type_into(table.fields[0], "0.000047")
    assert table.fields[0].view.value == "4.7e-5"


def test_a_refused_lr_is_answered_and_taken_back() -> None:
    def refuse(index: int, lr: float) -> None:
        raise InputError(f"Got {lr} <here>; expected less.")

    table = Table(refuse)
    table.render(a_state())
    type_into(table.fields[0], "5")
    assert table.fields[0].view.value == "3e-5"
    assert "&lt;here&gt;" in texts_of(table.view)


def test_the_fastest_group_is_marked_as_max_lr() -> None:
    table = Table()
    table.render(a_state())
    cells = [cell.value if isinstance(cell, ipywidgets.HTML) else "" for cell in table.view.children[0].children]
    assert cells.index("max_lr") == len(cells) - 1


def test_names_and_layers_are_escaped() -> None:
    group = Group(name="<b>bold</b>", n_params=1, layers=("a'><script>",), lr=1e-3)
    table = Table()
    table.render(LRState(groups=(group,), config=SweepConfig(), options=RunOptions(), lrs=(1e-3,)))
    said = texts_of(table.view)
    assert "&lt;b&gt;bold" in said
    assert "<script>" not in said and "a'>" not in said


def test_other_groups_get_other_rows_and_old_ones_are_closed() -> None:
    table = Table()
    table.render(a_state())
    old = table.fields[0].view
    table.render(a_state(names=("one",), lrs=(1e-2,)))
    assert [field.view.value for field in table.fields] == ["0.01"]
    assert old.comm is None


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    view = Table()
    view.render(a_state())
    view.close()
    assert set(INSTANCES) == before
