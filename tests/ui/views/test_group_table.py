"""The table of groups: what it shows, and what it tells."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets
import pytest

from lrwidget.engine.errors import InputError
from lrwidget.engine.loops.groups import Group
from lrwidget.engine.sweeps.sweep import SweepConfig
from lrwidget.state import LRState, Phase, RunOptions
from lrwidget.ui.views.group_table import STILL, GroupTable
from tests.ui.hands import INSTANCES, texts_of, type_into
from tests.ui.states import NAMES, a_curve, a_state


class Table(GroupTable):
    def __init__(self, answer: Callable[[int, Any], object] = lambda index, value: None) -> None:
        self.told: list[tuple[int, Any]] = []

        def tell(index: int, value: Any) -> None:
            self.told.append((index, value))
            answer(index, value)

        super().__init__(on_lr=tell, on_name=tell, on_freeze=tell)


def refuse(index: int, value: Any) -> None:
    raise InputError(f"Got {value} <here>; expected another.")


def tick(table: Table, index: int, ticked: bool = True) -> None:
    """What the browser sends when a box is clicked."""
    table.rows[index].freeze.set_state({"value": ticked})


def cells_of(table: Table) -> list[Any]:
    """What is in the grid."""
    grid = next(child for child in table.view.children if isinstance(child, ipywidgets.GridBox))
    return list(grid.children)


def shares_of(table: Table) -> list[str]:
    return [row.share.value for row in table.rows]


def test_a_row_tells_name_size_layers_and_lr() -> None:
    table = Table()
    table.render(a_state())
    assert [field.view.value for field in table.fields] == ["3e-5", "0.0003", "0.003"]
    assert [row.name.view.value for row in table.rows] == list(NAMES)
    said = texts_of(table.view)
    assert "9\u2009408<span class='lrw-wide'> in 1 layer<" in said
    assert all(f"<div>{name}.0</div>" in said for name in NAMES)


def test_every_control_says_what_it_is_and_of_which_group() -> None:
    table = Table()
    table.render(a_state())
    hints = [(row.name.view.tooltip, row.lr.view.tooltip, row.freeze.tooltip) for row in table.rows]
    assert hints[1] == ("Name of group 2", "Learning rate of body", "Freeze body: it does not train in a run")
    assert all("<summary title=" in cell for cell in texts_of(table.view).split("<details>")[1:])


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


@pytest.mark.parametrize(("text", "lr"), [("+5%", 3e-4 * 1.05), ("-50 %", 1.5e-4), ("x2", 6e-4), ("+0.1", 0.1)])
def test_an_lr_can_be_told_by_what_it_is_now(text: str, lr: float) -> None:
    table = Table()
    table.render(a_state())
    type_into(table.fields[1], text)
    assert table.told == [(1, pytest.approx(lr))]


def test_a_refused_lr_is_answered_and_taken_back() -> None:
    table = Table(refuse)
    table.render(a_state())
    type_into(table.fields[0], "5")
    assert table.fields[0].view.value == "3e-5"
    assert "&lt;here&gt;" in texts_of(table.view)


def test_the_fastest_group_is_marked_as_max_lr() -> None:
    table = Table()
    table.render(a_state())
    assert [row.mark.value for row in table.rows] == ["", "", "max_lr"]


def test_a_group_can_be_renamed_and_its_row_stays() -> None:
    state = a_state()

    def rename(index: int, name: str) -> None:
        state.groups = tuple(replace(g, name=name) if i == index else g for i, g in enumerate(state.groups))
        table.render(state)

    table = Table(rename)
    table.render(state)
    row = table.rows[1]
    type_into(row.name, "  trunk ")
    assert table.told == [(1, "trunk")]
    assert table.rows[1] is row and row.name.view.value == "trunk" and row.name.view.comm is not None
    assert row.lr.view.tooltip == "Learning rate of trunk"


@pytest.mark.parametrize("name", ["", "   "])
def test_a_group_has_to_have_a_name(name: str) -> None:
    table = Table()
    table.render(a_state())
    type_into(table.rows[0].name, name)
    assert not table.told and table.rows[0].name.view.value == "stem"
    assert "Got an empty name" in texts_of(table.view)


def test_a_refused_name_is_answered_and_taken_back() -> None:
    table = Table(refuse)
    table.render(a_state())
    type_into(table.rows[0].name, "head")
    assert table.rows[0].name.view.value == "stem"
    assert "Got head &lt;here&gt;" in texts_of(table.view)


def test_a_box_freezes_its_group_whose_lr_then_looks_inactive() -> None:
    state = a_state()

    def freeze(index: int, frozen: bool) -> None:
        state.frozen = tuple(frozen if i == index else still for i, still in enumerate(state.frozen or [False] * 3))
        table.render(state)

    table = Table(freeze)
    table.render(state)
    tick(table, 0)
    assert [row.freeze.value for row in table.rows] == [True, False, False]
    assert [STILL in field.view._dom_classes for field in table.fields] == [True, False, False]
    tick(table, 0, False)
    assert table.told == [(0, True), (0, False)]
    assert not any(STILL in field.view._dom_classes for field in table.fields)


def test_a_box_whose_group_cannot_be_frozen_is_empty_again() -> None:
    table = Table(refuse)
    table.render(a_state())
    tick(table, 2)
    assert not table.rows[2].freeze.value
    assert "Got True &lt;here&gt;" in texts_of(table.view)


@pytest.mark.parametrize(("phase", "changeable"), [(Phase.IDLE, True), (Phase.SWEEPING, True), (Phase.TRAINING, False)])
def test_groups_are_not_frozen_while_they_train(phase: Phase, changeable: bool) -> None:
    table = Table()
    table.render(a_state(phase=phase))
    assert {not row.freeze.disabled for row in table.rows} == {changeable}


def test_the_only_group_has_no_box() -> None:
    table = Table()
    table.render(a_state())
    boxes = [row.freeze for row in table.rows]
    assert set(boxes) < set(cells_of(table))
    table.render(a_state(names=("all layers",), lrs=(1e-3,)))
    assert not set(boxes) & set(cells_of(table))


def test_shares_of_the_gradient_are_told_in_percent_and_drawn() -> None:
    table = Table()
    table.render(a_state(curve=a_curve(gradient_shares=(0.004, 0.156, 0.84))))
    assert [re.search(r"[\d.]+(?=&#8239;%)", cell)[0] for cell in shares_of(table)] == ["0.4", "16", "84"]  # type: ignore[index]
    assert "width: 84%" in shares_of(table)[2]
    assert "squared gradient norm" in shares_of(table)[0]


def test_a_share_of_next_to_nothing_is_told_as_such() -> None:
    table = Table()
    table.render(a_state(curve=a_curve(gradient_shares=(5e-22, 0.0, 1.0))))
    assert ["&lt;0.1&#8239;%" in cell for cell in shares_of(table)] == [True, True, False]


@pytest.mark.parametrize("shares", [(), (0.5, 0.5)], ids=["unknown", "of other groups"])
def test_shares_that_are_not_there_are_not_told(shares: tuple[float, ...]) -> None:
    table = Table()
    table.render(a_state(curve=a_curve(gradient_shares=(0.1, 0.2, 0.7))))
    table.render(a_state(curve=a_curve(gradient_shares=shares)))
    assert shares_of(table) == ["", "", ""] and "gradient" not in texts_of(table.view)


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
    old = [cell for row in table.rows[1:] for cell in row.cells]
    table.render(a_state(names=("one",), lrs=(1e-2,)))
    assert [field.view.value for field in table.fields] == ["0.01"]
    assert table.rows[0].name.view.value == "one"
    assert all(cell.comm is None for cell in old) and not set(old) & set(cells_of(table))


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    view = Table()
    view.render(a_state())
    view.close()
    assert set(INSTANCES) == before
