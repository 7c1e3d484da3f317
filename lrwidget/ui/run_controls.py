"""How a pick becomes a run, and the buttons that run it or tell it as code."""

import html
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets
from traitlets import TraitError

from lrwidget.engine.errors import LRWidgetError
from lrwidget.engine.plan import PRESETS
from lrwidget.ui.fields import (
    Field,
    read_epochs,
    read_factor,
    read_freeze_epochs,
    read_share,
    warning,
)
from lrwidget.ui.palette import button, close_all, put, wrapped

if TYPE_CHECKING:
    from lrwidget.engine.plan import Plan
    from lrwidget.state import LRState, RunOptions

PROGRAM = (
    "max-height: 24em; overflow: auto; user-select: all; padding: 8px; background: var(--jp-layout-color2, #f0f0f0)"
)


class RunControls:
    """How a pick becomes a run, and the buttons that run it or tell it as code.

    Empty fields take the preset's value, which they show in grey. Another preset empties them.

    Args:
        on_fine_tune: called when Fine-tune is pressed.
        on_options: called with the new options when a field or the preset was changed; may refuse them.
        on_copy_code: called when Show code is pressed; the code it returns, if any, is shown and follows the plan,
            until the button is pressed again.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
    """

    watches = ("options", "phase", "plan", "groups")

    def __init__(
        self,
        *,
        on_fine_tune: Callable[[], object],
        on_options: "Callable[[RunOptions], object]",
        on_copy_code: Callable[[], str | None],
    ) -> None:
        self._on_options, self._on_code = on_options, on_copy_code
        self._options: RunOptions | None = None
        self._plan: Plan | None = None
        self._note = ipywidgets.HTML()
        self.epochs = self._option("epochs", read_epochs, "Passes over the training data", "95px")
        self.freeze_epochs = self._option(
            "freeze_epochs",
            read_freeze_epochs,
            "Passes before those with only the last group training",
            "95px",
            "frozen",
        )
        self.pct_start = self._option(
            "pct_start", read_share, "Share of the steps that warm up, 0 to 1", "120px", "warm-up"
        )
        self.div = self._option("div", read_factor, "The run starts at the learning rate divided by this", "90px")
        self.div_final = self._option(
            "div_final", read_factor, "How far the run anneals, by the preset's formula", "120px", "final"
        )
        self.preset = ipywidgets.Dropdown(
            description="preset",
            options=list(PRESETS),
            layout=ipywidgets.Layout(width="155px"),
            style={"description_width": "initial"},
        )
        self.fine_tune = button("Fine-tune", "play", "Train with the schedule on the screen", "primary")
        self.code = button("Show code", "code", "This run as plain PyTorch, to be copied", "")
        self._code = ipywidgets.HTML()
        self.preset.observe(self._another_preset, "value")
        self.fine_tune.on_click(lambda _button: on_fine_tune())
        self.code.on_click(lambda _button: self._ask_for_code())
        fields = (self.epochs, self.freeze_epochs, self.pct_start, self.div, self.div_final)
        self.view = ipywidgets.VBox(
            [
                wrapped([*(field.view for field in fields), self.preset]),
                wrapped([self.fine_tune, self.code]),
                self._note,
                self._code,
            ]
        )

    def render(self, state: "LRState") -> None:
        """Show the state."""
        put(self.fine_tune, disabled=state.phase != "idle")
        put(self.freeze_epochs.view.layout, display="none" if len(state.groups) < 2 else "")
        if state.options != self._options and state.options is not None:
            self._show(state.options)
        if state.plan is not self._plan:
            self._plan = state.plan
            if self._code.value:
                # The plan's own words: asking back for them from here could wait for who assigned the plan.
                self.show_code("" if state.plan is None else state.plan.code())

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)

    def show_code(self, code: str) -> None:
        """Show a program, ready to be copied; an empty one takes it off the screen."""
        put(self._code, value=code_block(code) if code else "")
        put(self.code, description="Hide code" if code else "Show code")

    def _show(self, options: "RunOptions") -> None:
        self._options = options
        shape = PRESETS.get(options.preset)
        self.epochs.show(options.epochs, str(options.epochs))
        self.freeze_epochs.show(options.freeze_epochs, str(options.freeze_epochs))
        for field, name in ((self.pct_start, "pct_start"), (self.div, "div"), (self.div_final, "div_final")):
            value = getattr(options, name)
            put(field.view, placeholder="" if shape is None else f"{getattr(shape, name):g}")
            field.show(value, "" if value is None else f"{value:g}")
        if options.preset in self.preset.options:
            put(self.preset, value=options.preset)

    def _another_preset(self, change: Any) -> None:
        if self._options is None or change["new"] == self._options.preset:
            return
        asked = replace(self._options, preset=change["new"], pct_start=None, div=None, div_final=None)
        try:
            self._on_options(asked)
        except (LRWidgetError, TraitError) as error:
            put(self._note, value=warning(str(error)))
        else:
            put(self._note, value="")
        put(self.preset, value=self._options.preset)

    def _option(
        self, name: str, read: Callable[[str], Any], hint: str, width: str, label: str | None = None
    ) -> "Field[Any]":
        def told(value: Any) -> None:
            if self._options is not None:
                self._on_options(replace(self._options, **{name: value}))

        return Field(read, told, self._note, label=label or name, hint=hint, width=width)

    def _ask_for_code(self) -> None:
        if self._code.value:
            self.show_code("")
            return
        code = self._on_code()
        if code is not None:
            self.show_code(code)


def code_block(code: str) -> str:
    """A program with a button that copies it.

    The button runs in the page: only there is a clipboard, and only at a press of a button. Where a page forbids that,
    a click into the program selects all of it.
    """
    copy = (
        "navigator.clipboard.writeText(this.parentNode.querySelector('pre').textContent); this.textContent = 'Copied'"
    )
    return (
        f'<div><button class="jupyter-button" onclick="{copy}">Copy</button>'
        f'<pre tabindex="0" style="{PROGRAM}">{html.escape(code)}</pre></div>'
    )
