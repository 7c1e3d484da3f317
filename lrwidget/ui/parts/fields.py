"""Text fields for numbers, and what a text can say.

Fields show a number short and keep it exact: a text that was not edited changes nothing.
"""

import math
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import ipywidgets

from lrwidget.engine.errors import InputError
from lrwidget.engine.words import format_lr
from lrwidget.ui.parts.keys import LR_CLASS
from lrwidget.ui.parts.note import Note
from lrwidget.ui.parts.palette import hinted, put, put_together

T = TypeVar("T")

MOST_STEPS = 100_000
"""Of a sweep: a hundred suffice, and the browser would stand still long before a million."""
MOST_EPOCHS, MOST_RUN_STEPS = 10_000, 10_000_000
"""Of a run: more is a slip of the finger."""
HIGHEST_LR = 1e3
"""Above it is a slip of the finger: no optimizer learns at it, and the axis would be mostly empty."""


class Field(Generic[T]):
    """A text field for a value: shows it short, keeps it exact, and answers a text it cannot read.

    Args:
        read: the value that a text says; raises `InputError` when it says none.
        told: called with the value when the user has entered another; may refuse it by an `InputError` or `TraitError`.
        note: where to answer, shared by fields that stand together.
        label: short text before the field; shown as text, not as HTML.
        hint: what to enter, shown when the pointer rests on it.
        width: of the field and its label together, in CSS units.

    Attributes:
        view: the text field.
        value: the exact value, None before the first `show`.
    """

    def __init__(
        self,
        read: Callable[[str], T],
        told: Callable[[T], object],
        note: Note,
        *,
        label: str = "",
        hint: str = "",
        width: str = "110px",
    ) -> None:
        self._read, self._told, self._note = read, told, note
        self._shown = ""
        self.value: T | None = None
        self.view = ipywidgets.Text(
            **hinted(label, hint),
            tooltip=hint,
            continuous_update=False,
            layout=ipywidgets.Layout(width=width),
            style={"description_width": "initial"},
        )
        self.view.observe(self._edited, "value")

    def show(self, value: T, text: str) -> None:
        """Show a value as a text."""
        self.value, self._shown = value, text
        put(self.view, value=text)

    def _edited(self, change: Any) -> None:
        # What `show` writes comes by here too, and is no edit.
        if change["new"] != self._shown:
            self._note.ask(
                lambda: self._told(self._read(change["new"].strip())), lambda: put(self.view, value=self._shown)
            )


class LRField(Field[float]):
    """A field for an LR: two digits are shown, all are kept, and the arrow keys step it where `keys.page_help` is.

    It takes `+5%`, `-5%` and `x2` as well: what they make of the LR that it has. The exact LR is the placeholder. The
    keys step from that one, and a user who clears the field sees it.
    """

    def __init__(self, told: Callable[[float], object], note: Note, **looks: Any) -> None:
        super().__init__(lambda text: read_lr(relative(text, self.value)), told, note, **looks)
        self.view.add_class(LR_CLASS)

    def show_lr(self, lr: float) -> None:
        """Show an LR."""
        # In one message: what stands in the field and what it stands for must not part.
        self.value, self._shown = lr, format_lr(lr)
        put_together(self.view, value=self._shown, placeholder=repr(lr))


def relative(text: str, lr: float | None) -> str:
    """What `+5%`, `-5%` and `x2` make of an LR; any other text as it is.

    >>> relative("+50%", 0.5), relative("x2", 0.5), relative("3e-4", 0.5)
    ('0.75', '1.0', '3e-4')
    """
    number = r"(\d+\.?\d*|\.\d+)"
    asked = re.fullmatch(rf"([+-]){number} ?%|[x×*] ?{number}", text)
    if asked is None or lr is None:
        return text
    sign, percent, factor = asked.groups()
    return repr(lr * (float(factor) if factor else 1 + float(sign + percent) / 100))


def read_name(text: str) -> str:
    """A group's name."""
    if not text:
        raise InputError("Got an empty name; expected one that tells this group from the others.")
    return text


def read_lr(text: str) -> float:
    """A learning rate.

    >>> read_lr("3e-4")
    0.0003
    """
    return _read(text, lambda value: 0 < value <= HIGHEST_LR, "a number above 0, such as 3e-4, and at most 1000")


def read_steps(text: str) -> int:
    """A number of optimizer steps for a sweep."""
    return _whole(text, 2, f"a whole number of steps, 2 to {MOST_STEPS}", MOST_STEPS)


def read_epochs(text: str) -> int:
    """A number of epochs."""
    return _whole(text, 1, f"a whole number of epochs, 1 to {MOST_EPOCHS}", MOST_EPOCHS)


def read_freeze_epochs(text: str) -> int:
    """A number of epochs, or none."""
    return _whole(text, 0, f"a whole number of epochs, 0 to {MOST_EPOCHS}", MOST_EPOCHS)


def read_run_steps(text: str) -> int | None:
    """A number of optimizer steps for a run; nothing: epochs are told instead."""
    expected = f"a whole number of steps, 1 to {MOST_RUN_STEPS}, or nothing"
    return _whole(text, 1, expected, MOST_RUN_STEPS) if text else None


def read_share(text: str) -> float | None:
    """A share of the steps; nothing: the preset's."""
    return (
        _read(text, lambda value: 0 <= value <= 1, "a share of the steps, 0 to 1, or nothing for the preset's")
        if text
        else None
    )


def read_factor(text: str) -> float | None:
    """What an LR is divided by; nothing: the preset's."""
    return _read(text, lambda value: value > 0, "a number above 0, or nothing for the preset's") if text else None


def _read(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and fits(value)):
        raise InputError(f"Got {text!r}; expected {expected}. The field has its last value again.")
    return value


def _whole(text: str, least: int, expected: str, most: float = math.inf) -> int:
    return int(_read(text, lambda value: least <= value <= most and value == int(value), expected))
