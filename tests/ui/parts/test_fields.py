"""Text fields: what they show, what they keep, and how they answer."""

import pytest

from lrwidget.engine.errors import InputError
from lrwidget.ui.parts.fields import (
    Field,
    LRField,
    read_epochs,
    read_freeze_epochs,
    read_lr,
    read_name,
    read_run_steps,
    read_steps,
    relative,
)
from lrwidget.ui.parts.note import Note
from tests.ui.hands import type_into


@pytest.fixture
def told() -> list[float]:
    return []


@pytest.fixture
def field(told: list[float]) -> LRField:
    field = LRField(told.append, Note(), label="lr", hint="what it is")
    field.show_lr(3.14159e-5)
    return field


def test_an_lr_is_shown_short_and_kept_exact(field: LRField) -> None:
    assert field.view.value == "3.1e-5"
    assert field.value == float(field.view.placeholder) == 3.14159e-5


def test_what_was_not_edited_is_not_told(field: LRField, told: list[float]) -> None:
    type_into(field, "3.1e-5")
    assert told == []


def test_the_shown_digits_told_with_all_six_are_an_edit(field: LRField, told: list[float]) -> None:
    type_into(field, "3.10000e-5")
    assert told == [3.1e-5]


@pytest.mark.parametrize(("text", "factor"), [("+5%", 1.05), ("-5 %", 0.95), ("x2", 2), ("*.5", 0.5), ("×3", 3)])
def test_an_lr_can_be_told_by_what_it_is_now(field: LRField, told: list[float], text: str, factor: float) -> None:
    type_into(field, text)
    assert told == [pytest.approx(3.14159e-5 * factor)]


@pytest.mark.parametrize("text", ["-100%", "-200%", "x0", "x", "%", "5%%", "+1e9%", "x1.2.3", "x-1"])
def test_a_change_that_makes_no_lr_is_answered(field: LRField, told: list[float], text: str) -> None:
    type_into(field, text)
    assert told == [] and field.view.value == "3.1e-5"
    assert "expected a number above 0" in field._note.view.value


def test_a_change_of_nothing_is_no_lr() -> None:
    assert relative("+5%", None) == "+5%"


def test_the_label_is_text_and_lends_its_hint() -> None:
    field = Field(read_lr, lambda lr: None, Note(), label="<b>", hint="a 'b'")
    assert field.view.description == '<span title="a &#x27;b&#x27;">&lt;b&gt;</span>'


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (read_lr, "1e-400", "a number above 0"),
        (read_steps, "1", "2 to 100000"),
        (read_epochs, "0", "1 to 10000"),
        (read_epochs, "1e9", "1 to 10000"),
        (read_freeze_epochs, "1e9", "0 to 10000"),
        (read_run_steps, "0", "1 to 10000000, or nothing"),
        (read_name, "", "tells this group from the others"),
    ],
)
def test_a_text_that_cannot_be_read_is_answered_with_what_was_expected(read: object, text: str, expected: str) -> None:
    assert callable(read)
    with pytest.raises(InputError, match=expected):
        read(text)
