"""What is answered to what a user has entered: why it is refused, or nothing."""

import html
import math
import time
from collections.abc import Callable

import ipywidgets
from traitlets import TraitError

from lrwidget.engine.errors import LRWidgetError
from lrwidget.ui.parts.palette import put

WARNING = "color: var(--jp-error-color1, #b00020); line-height: 1.4"
AT_ONCE_S = 0.5
"""Seconds between the refusal of a text and the press that brought it about: longer than both take to arrive."""


class Note:
    """The place for answers of fields that stand together.

    Args:
        clock: seconds from any start; replaced in tests.

    Attributes:
        view: the place; empty when nothing is wrong.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused_at = -math.inf
        self.view = ipywidgets.HTML()

    @property
    def just_refused(self) -> bool:
        """Whether a text was refused a moment ago.

        A press that takes the focus from a field enters its text. Where that is refused, the press is of no account:
        what it starts would go by what the field had before.
        """
        return self._clock() - self._refused_at < AT_ONCE_S

    def ask(self, tell: Callable[[], object], put_back: Callable[[], object]) -> None:
        """Tell what was entered, and answer.

        Args:
            tell: takes it, or refuses it by an `LRWidgetError` or a `TraitError`.
            put_back: shows in the field what holds then.
        """
        wrong = ""
        try:
            tell()
        except (LRWidgetError, TraitError) as error:
            wrong = str(error)
        # The field first: beside an answer stands what holds, and the next step of a key begins there.
        put_back()
        self.answer(wrong)

    def answer(self, wrong: str) -> None:
        """Say what is wrong, as text; nothing: what was wrong is past."""
        self._refused_at = self._clock() if wrong else -math.inf
        put(self.view, value=warning(wrong) if wrong else "")


def warning(text: str) -> str:
    """A text that something is wrong, as HTML."""
    return f"<span role='alert' style='display: inline-block; margin: 4px 0; {WARNING}'>{html.escape(text)}</span>"
