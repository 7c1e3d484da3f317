"""How a pick becomes a run, and the buttons that run it or tell it as code."""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import ipywidgets

from lrwidget.engine.errors import InputError, LRWidgetError, in_one_line
from lrwidget.engine.plans.cycle import Anneal
from lrwidget.engine.plans.plan import PRESETS, Shape
from lrwidget.ui.parts.fields import (
    Field,
    read_epochs,
    read_factor,
    read_freeze_epochs,
    read_run_steps,
    read_share,
)
from lrwidget.ui.parts.keys import START_CLASS
from lrwidget.ui.parts.note import Note
from lrwidget.ui.parts.once import once
from lrwidget.ui.parts.palette import button, close_all, hinted, put, wrapped
from lrwidget.ui.parts.view import View

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan
    from lrwidget.state import LRState, RunOptions

PRESETS_OWN: dict[str, Any] = {
    "pct_start": None,
    "div": None,
    "div_final": None,
    "momentum": "preset",
    "anneal": None,
    "phases": None,
}
"""The options that are the preset's own unless the user has changed them."""

OWN = ""
"""The choice of none of the others; to a dropdown None would be no choice at all."""

HINTS = {
    "steps": "Optimizer steps, in place of epochs: what the loader does not tell cannot be counted.",
    "epochs": "Passes over the training data: steps = epochs · steps of an epoch.",
    "freeze_epochs": "Passes before those in which only the last group trains, and the norm layers: "
    "frozen steps = frozen · steps of an epoch. Learning rates rise for 99 % of them.",
    "pct_start": "Share of the steps, 0 to 1, in which learning rates rise to max_lr: "
    "rising steps = warm-up · epochs · steps of an epoch. With three phases at most 0.5.",
    "div": "How far below its maximum the run starts: first lr = max_lr / div.",
    "momentum": "Two numbers as 0.85–0.95, or off to leave the optimizer's own alone. The higher one at both ends, the "
    "lower one where the learning rate is highest: high → low → high, along the same curve as the learning rate.",
    "anneal": "The curve of a phase, p being the share of it that is done. "
    "cos: end + (start − end)/2 · (1 + cos(π·p)). linear: start + (end − start)·p. "
    "linear-cos: a linear warm-up, then cosines.",
    "phases": "2: max_lr/div → max_lr → last lr. 3, as Smith has it: max_lr/div → max_lr → max_lr/div → last lr.",
    "preset": "Where the numbers come from that no field changes; choosing one empties the fields. torch: OneCycleLR. "
    "fastai: fit_one_cycle; fine_tune: the unfrozen part of fine_tune; fastai_v1: fit_one_cycle of version 1. "
    "smith: up, down, annihilation. linear, cosine: a short warm-up, then down, close to what Transformers does.",
}
"""What each field does, and by which formula."""

DIV_FINAL_HINTS = {
    "initial": "How far the run anneals: last lr = max_lr / div / final div, with this preset.",
    "max": "How far the run anneals: last lr = max_lr / final div, with this preset.",
}

MOMENTUM = re.compile(r"(?P<one>[\d.]+)\s*(?:-|–|to|,|\s)\s*(?P<other>[\d.]+)")

PROGRAM = (
    "max-height: 24em; overflow: auto; user-select: all; padding: 8px; margin: 4px 0; line-height: 1.4; "
    "white-space: pre; overflow-wrap: normal; width: 0; min-width: 100%; box-sizing: border-box; "
    "background: var(--jp-layout-color2, #f0f0f0)"
)

COPY = """(async () => {
    const program = this.closest('.lrw-program').querySelector('pre');
    try {
        await navigator.clipboard.writeText(program.textContent);
    } catch {
        getSelection().selectAllChildren(program);
        if (!document.execCommand('copy')) { this.textContent = 'Selected: press Ctrl+C'; return; }
    }
    this.textContent = 'Copied';
})()"""
"""What the button of a program does; `execCommand` is the way of pages that are not on https."""


class RunControls(View):
    """How a pick becomes a run, and the buttons that run it or tell it as code.

    Empty fields take the preset's value, which they show in grey. Another preset empties them; while one is not empty
    the preset is called changed.

    Args:
        on_fine_tune: called when Fine-tune is pressed; may refuse it.
        on_options: called with the new options when a field or the preset was changed; may refuse them.
        on_copy_code: called when Copy code is pressed; the code it returns, if any, goes to the clipboard. It is shown
            as well and follows the plan, until the button is pressed again.
        code_of: the code of a plan; asked when it changes while code is shown.

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
        code_of: "Callable[[Plan], str]" = lambda plan: plan.code(),
    ) -> None:
        self._on_fine_tune, self._on_options = on_fine_tune, on_options
        self._on_code, self._code_of = on_copy_code, code_of
        self._options: RunOptions | None = None
        self._plan: Plan | None = None
        self._note = Note()
        self.epochs = self._field("epochs", read_epochs, "epochs", "95px")
        self.steps = self._field("steps", read_run_steps, "run steps", "145px")
        self.freeze_epochs = self._field("freeze_epochs", read_freeze_epochs, "frozen", "95px")
        self.pct_start = self._field("pct_start", read_share, "warm-up", "115px")
        self.div = self._field("div", read_factor, "div", "85px")
        self.div_final = self._field("div_final", read_factor, "final div", "135px")
        self.momentum = self._field("momentum", read_momentum, "momentum", "165px")
        self.anneal = self._choice("anneal", "annealing", "255px")
        self.phases = self._choice("phases", "phases", "195px")
        self.preset = Choice(self._another_preset, self._note, "preset", HINTS["preset"], "220px")
        self.fine_tune = button("Fine-tune", "play", "Train with the schedule on the screen", "primary")
        self.fine_tune.add_class(START_CLASS)
        self.code = button("Copy code", "code", "This run as plain PyTorch, to the clipboard and on the screen", "")
        self._code = ipywidgets.HTML()
        self.fine_tune.on_click(lambda _button: self._train())
        self.code.on_click(lambda _button: self._ask_for_code())
        fields = (
            self.epochs,
            self.steps,
            self.freeze_epochs,
            self.preset,
            self.pct_start,
            self.div,
            self.div_final,
            self.momentum,
            self.anneal,
            self.phases,
        )
        self.view = ipywidgets.VBox(
            [
                wrapped([*(field.view for field in fields)]),
                wrapped([self.fine_tune, self.code]),
                self._note.view,
                self._code,
            ]
        )

    def render(self, state: "LRState") -> None:
        """Show the state."""
        put(self.fine_tune, disabled=state.phase != "idle")
        # Without steps there is a plan unless the loader has no length, and then its epochs have none.
        by_steps = state.plan is None or (state.options is not None and state.options.steps is not None)
        show_if(by_steps, self.steps)
        show_if(not by_steps, self.epochs)
        show_if(not by_steps and len(state.groups) > 1, self.freeze_epochs)
        if state.options != self._options and state.options is not None:
            self._show(state.options)
        if state.plan is not self._plan:
            self._plan = state.plan
            if self._code.value:
                # Of the plan that is shown: one that is resolved anew from here could wait for who assigned this one.
                self._show_code("" if state.plan is None else code_block(self._code_of(state.plan)))

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)

    def _show(self, options: "RunOptions") -> None:
        self._options = options
        self.epochs.show(options.epochs, str(options.epochs))
        self.steps.show(options.steps, "" if options.steps is None else str(options.steps))
        self.freeze_epochs.show(options.freeze_epochs, str(options.freeze_epochs))
        shape = PRESETS[options.preset]
        for field, name in ((self.pct_start, "pct_start"), (self.div, "div"), (self.div_final, "div_final")):
            value = getattr(options, name)
            put(field.view, placeholder=f"{getattr(shape, name):g}")
            field.show(value, "" if value is None else f"{value:g}")
        put(self.div_final.view, **hinted("final div", DIV_FINAL_HINTS[shape.div_final_of]))
        put(self.momentum.view, placeholder=momentum_text(shape.momentum))
        self.momentum.show(options.momentum, "" if options.momentum == "preset" else momentum_text(options.momentum))
        self._show_choices(options, shape)

    def _show_choices(self, options: "RunOptions", shape: Shape) -> None:
        own = f"{shape.anneal} (preset's)", f"{shape.phases} (preset's)"
        self.anneal.show(options.anneal or OWN, [(own[0], OWN), *((name, name) for name in get_args(Anneal))])
        self.phases.show(options.phases or OWN, [(own[1], OWN), ("2", 2), ("3", 3)])
        presets = [(name, name) for name in PRESETS]
        if is_changed(options):
            # A choice of its own, so that the preset itself can be chosen, which empties the fields.
            self.preset.show(OWN, [(f"{options.preset}, changed", OWN), *presets])
        else:
            self.preset.show(options.preset, presets)

    def _another_preset(self, preset: str) -> None:
        self._tell(preset=preset, **PRESETS_OWN)

    def _tell(self, **changes: Any) -> None:
        if self._options is not None:
            self._on_options(replace(self._options, **changes))

    def _field(self, name: str, read: Callable[[str], Any], label: str, width: str) -> "Field[Any]":
        def told(value: Any) -> None:
            self._tell(**{name: value})

        field: Field[Any] = Field(read, told, self._note, width=width)
        put(field.view, **hinted(label, HINTS.get(name, "")))
        return field

    def _choice(self, name: str, label: str, width: str) -> "Choice":
        return Choice(lambda value: self._tell(**{name: value or None}), self._note, label, HINTS[name], width)

    def _train(self) -> None:
        if self._note.just_refused:
            return
        self._note.answer("")
        try:
            self._on_fine_tune()
        except LRWidgetError as error:
            self._note.answer(in_one_line(error))

    def _ask_for_code(self) -> None:
        if self._code.value:
            self._show_code("")
            return
        code = self._on_code()
        if code is not None:
            self._show_code(code_block(code, copied=True))

    def _show_code(self, block: str) -> None:
        put(self._code, value=block)
        put(self.code, description="Hide code" if block else "Copy code")


class Choice:
    """A dropdown that tells what the user has chosen, and nothing else.

    Args:
        told: called with the value when the user has chosen another; may refuse it.
        note: where to answer, shared by fields that stand together.
        label: short text before it.
        hint: shown when the pointer rests on the label.
        width: of dropdown and label together, in CSS units.

    Attributes:
        view: the dropdown.
    """

    def __init__(self, told: Callable[[Any], object], note: Note, label: str, hint: str, width: str) -> None:
        self._told, self._note = told, note
        self._value: Any = None
        self._showing = False
        self.view = ipywidgets.Dropdown(
            layout=ipywidgets.Layout(width=width),
            style={"description_width": "initial"},
            **hinted(label, hint),
        )
        self.view.observe(self._chosen, "value")

    def show(self, value: Any, choices: Sequence[tuple[str, Any]]) -> None:
        """Show these choices, as (text, value), and the value among them."""
        self._value = value
        # Other choices make the dropdown choose the first of them, and say so.
        self._showing = True
        try:
            with self.view.hold_sync():
                put(self.view, options=tuple(choices))
                put(self.view, value=value)
        finally:
            self._showing = False

    def _chosen(self, change: Any) -> None:
        if not self._showing and change["new"] != self._value:
            self._note.ask(lambda: self._told(change["new"]), lambda: put(self.view, value=self._value))


def show_if(needed: bool, field: "Field[Any]") -> None:
    """Let a field take its room only where it says something."""
    put(field.view.layout, display="" if needed else "none")


def is_changed(options: "RunOptions") -> bool:
    """Whether a field says something else than the preset."""
    return any(getattr(options, name) != own for name, own in PRESETS_OWN.items())


def read_momentum(text: str) -> tuple[float, float] | Literal["preset"] | None:
    """Two momenta, the lower one first; None: the optimizer's own; nothing: the preset's.

    >>> read_momentum("0.95-0.85"), read_momentum("off"), read_momentum("")
    ((0.85, 0.95), None, 'preset')
    """
    if not text:
        return "preset"
    if text.lower() == "off":
        return None
    found = MOMENTUM.fullmatch(text)
    try:
        low, high = sorted(map(float, found.groups())) if found else (1.0, 1.0)
    except ValueError:
        low, high = 1.0, 1.0
    if not 0 <= low <= high < 1:
        raise InputError(
            f"Got {text!r}; expected two momenta from 0 to below 1, such as 0.85–0.95, off to leave the optimizer's "
            "own alone, or nothing for the preset's. The field has its last value again."
        )
    return low, high


def momentum_text(momentum: tuple[float, float] | None) -> str:
    """Two momenta, or none, as `read_momentum` reads them."""
    return "off" if momentum is None else f"{momentum[0]:g}–{momentum[1]:g}"


def code_block(code: str, *, copied: bool = False) -> str:
    """A program with a button that copies it; where a page forbids that, it selects all of the program.

    Args:
        code: the program.
        copied: whether it is copied at once, as if the button had been pressed.
    """
    at_once = once("this.closest('.lrw-program').querySelector('button').click()") if copied else ""
    return (
        f'<div class="lrw-program"><button class="jupyter-button" aria-live="polite" onclick="{COPY}">Copy</button>'
        f'<pre tabindex="0" style="{PROGRAM}">{html.escape(code)}</pre>{at_once}</div>'
    )
