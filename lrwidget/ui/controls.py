"""Buttons, number fields, the table of groups, and what is said: everything that is not a chart.

What can be dragged in the charts can be typed here. Whatever comes from the user's code (names, messages,
tracebacks) is escaped.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets
from traitlets import TraitError

from lrwidget.engine.errors import LRWidgetError
from lrwidget.engine.plan import PRESETS
from lrwidget.look import fastest, format_count, format_loss, format_lr, format_seconds, group_color
from lrwidget.ui.fields import (
    WARNING,
    Field,
    read_epochs,
    read_factor,
    read_freeze_epochs,
    read_lr,
    read_share,
    read_steps,
    warning,
)
from lrwidget.ui.palette import close_all, put

if TYPE_CHECKING:
    from lrwidget.engine.groups import Group
    from lrwidget.engine.plan import Plan
    from lrwidget.state import LRState, Progress, RunOptions

START, END, STEPS = "Learning rate at the first step", "Learning rate at the last step", "Optimizer steps of the sweep"
RANGE_WIDTH = "115px"
CHIP = "display: inline-block; width: 11px; height: 11px; margin-right: 7px"
NOTES = "color: var(--jp-content-font-color1, #333333); white-space: pre-wrap"
UNSEEN = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap"
"""Out of sight, and still there for screen readers."""
POINTED = "style='cursor: pointer'"
TRACEBACK = "max-height: 18em; overflow: auto; white-space: pre-wrap; border-left: 3px solid; padding-left: 8px"
PROGRAM = (
    "max-height: 24em; overflow: auto; user-select: all; padding: 8px; background: var(--jp-layout-color2, #f0f0f0)"
)


class Toolbar:
    """What is trained, the range of the sweep, its buttons and its progress.

    Args:
        on_sweep: called with start LR, end LR and number of steps when Sweep is pressed.
        on_stop: called when Stop is pressed.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
    """

    watches = ("title", "config", "phase", "stopping", "progress")

    def __init__(self, *, on_sweep: Callable[[float, float, int], object], on_stop: Callable[[], object]) -> None:
        self._on_sweep = on_sweep
        self._config: object = None
        self._title = ipywidgets.HTML()
        self._note = ipywidgets.HTML()
        self.sweep = button(
            "Sweep", "play", "Measure the loss over a range of learning rates; nothing is changed", "primary"
        )
        self.stop = button("Stop", "stop", "End the sweep or the run after the current step", "")
        # What is entered stays in the field until Sweep is pressed.
        self.start_lr: Field[float] = Field(
            read_lr,
            lambda lr: self.start_lr.show(lr, format_lr(lr)),
            self._note,
            label="from",
            hint=START,
            width=RANGE_WIDTH,
        )
        self.end_lr: Field[float] = Field(
            read_lr, lambda lr: self.end_lr.show(lr, format_lr(lr)), self._note, label="to", hint=END, width=RANGE_WIDTH
        )
        self.steps: Field[int] = Field(
            read_steps,
            lambda steps: self.steps.show(steps, str(steps)),
            self._note,
            label="steps",
            hint=STEPS,
            width=RANGE_WIDTH,
        )
        self._bar = ipywidgets.IntProgress(value=0, max=1, layout=ipywidgets.Layout(width="90px"))
        self._numbers = ipywidgets.HTML()
        # As wide when it is not seen: a chart must not move under the hand when a job starts or ends.
        self._progress = ipywidgets.HBox(
            [self._bar, self._numbers], layout=ipywidgets.Layout(width="310px", overflow="visible")
        )
        self.sweep.on_click(self._sweep)
        self.stop.on_click(lambda _button: on_stop())
        row = [
            self.sweep,
            self.stop,
            *(field.view for field in (self.start_lr, self.end_lr, self.steps)),
            self._progress,
        ]
        self.view = ipywidgets.VBox([self._title, wrapped(row), self._note])

    def render(self, state: "LRState") -> None:
        """Show the state."""
        put(self._title, value=f"<b>{html.escape(state.title)}</b>")
        if state.config is not self._config:
            self._config = state.config
            self.start_lr.show(state.config.start_lr, format_lr(state.config.start_lr))
            self.end_lr.show(state.config.end_lr, format_lr(state.config.end_lr))
            self.steps.show(state.config.num_steps, str(state.config.num_steps))
        idle = state.phase == "idle"
        put(self.sweep, disabled=not idle)
        put(self.stop, disabled=idle or state.stopping, description="Stopping …" if state.stopping else "Stop")
        self._show_progress(state.progress)

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)

    def _show_progress(self, progress: "Progress | None") -> None:
        if progress is None:
            put(self._bar, value=0)
            put(self._progress.layout, visibility="hidden")
            put(self._numbers, value="")
            return
        put(self._bar, max=max(1, progress.total), value=min(progress.step, progress.total))
        put(self._progress.layout, visibility="visible")
        parts = [f"{progress.step}/{progress.total}", f"loss {format_loss(progress.loss)}"]
        if progress.seconds_left is not None:
            parts.append(f"{format_seconds(progress.seconds_left)} left")
        put(self._numbers, value=f"<span style='white-space: nowrap'>{' &nbsp; '.join(parts)}</span>")

    def _sweep(self, _button: object) -> None:
        start, end, steps = self.start_lr.value, self.end_lr.value, self.steps.value
        if start is None or end is None or steps is None:
            return
        if not start < end:
            put(
                self._note,
                value=warning(
                    f"Got from {format_lr(start)} to {format_lr(end)}; expected to go upwards. Exchange them."
                ),
            )
            return
        put(self._note, value="")
        self._on_sweep(start, end, steps)


class GroupTable:
    """A row for every group: its colour in the charts, name, size and LR.

    Args:
        on_lr: called with a group's index and the LR that was entered for it.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
        fields: the LR fields, in optimizer order.
    """

    watches = ("groups", "lrs")

    def __init__(self, *, on_lr: Callable[[int, float], object]) -> None:
        self._on_lr = on_lr
        self._groups: tuple[Group, ...] | None = None
        self._note = ipywidgets.HTML()
        self._marks: list[ipywidgets.HTML] = []
        self.fields: list[Field[float]] = []
        self._grid = ipywidgets.GridBox(
            layout=ipywidgets.Layout(
                grid_template_columns="minmax(90px, max-content) minmax(76px, 100px) 116px minmax(64px, max-content)",
                align_items="center",
            )
        )
        self.view = ipywidgets.VBox([self._grid, self._note])

    def render(self, state: "LRState") -> None:
        """Show the state."""
        if state.groups != self._groups:
            self._groups = state.groups
            self._build(state.groups)
        lrs = tuple(state.lrs)
        for index, (lr, field, mark) in enumerate(zip(lrs, self.fields, self._marks, strict=False)):
            field.show(lr, format_lr(lr))
            put(mark, value="max_lr" if index == fastest(lrs) else "")

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)

    def _build(self, groups: "Sequence[Group]") -> None:
        self.fields = [
            Field(
                read_lr,
                lambda lr, index=index: self._on_lr(index, lr),  # type: ignore[misc]
                self._note,
                hint=f"Learning rate of {group.name}",
            )
            for index, group in enumerate(groups)
        ]
        self._marks = [ipywidgets.HTML() for _ in groups]
        cells = [ipywidgets.HTML(f"<b>{head}</b>") for head in ("group", "parameters", "lr", "")]
        for index, (group, field, mark) in enumerate(zip(groups, self.fields, self._marks, strict=True)):
            size = ipywidgets.HTML(f"<span title='{group.n_params}'>{format_count(group.n_params)}</span>")
            cells += [ipywidgets.HTML(group_cell(group, group_color(index))), size, field.view, mark]
        old = self._grid.children
        self._grid.children = cells
        for widget in old:
            widget.close()


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


class StatusLine:
    """What happened last and what to do next; and the user's own traceback, when their code raised.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
    """

    watches = ("message", "failed", "error", "sweep_message", "run_message")

    def __init__(self) -> None:
        self.view = ipywidgets.HTML()

    def render(self, state: "LRState") -> None:
        """Show the state. Screen readers say the message when they are free, an error at once.

        What stands below a chart already is only for them.
        """
        wrong = state.failed or bool(state.error)
        headline, _, notes = state.message.partition("\n")
        said = f"<b>{html.escape(headline)}</b>" if wrong else html.escape(headline)
        if notes:
            said += f"<div style='{NOTES}'>{html.escape(notes)}</div>"
        if wrong:
            said = f"<div role='alert' style='{WARNING}'>{said}</div>"
        else:
            seen_elsewhere = state.message in (state.sweep_message, state.run_message)
            said = f"<div role='status' aria-live='polite' style='{UNSEEN if seen_elsewhere else ''}'>{said}</div>"
        put(self.view, value=said + traceback_block(state.error))

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)


def traceback_block(text: str) -> str:
    """A traceback to unfold, because its last line stands above; what is only a line is shown."""
    if "\n" not in text.strip():
        return f"<div>{html.escape(text)}</div>" if text else ""
    return (
        f"<details><summary {POINTED}>Traceback</summary><pre style='{TRACEBACK}'>{html.escape(text)}</pre></details>"
    )


def group_cell(group: "Group", color: str) -> str:
    """A group's colour and name; its layers show when the pointer rests on it."""
    layers = html.escape(", ".join(group.layers), quote=True)
    chip = f"<span style='{CHIP}; background: {color}'></span>"
    return f"<span title='{layers}' style='white-space: nowrap'>{chip}{html.escape(group.name)}</span>"


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


def button(label: str, icon: str, hint: str, style: str) -> ipywidgets.Button:
    """A button as wide as its label needs."""
    return ipywidgets.Button(
        description=label,
        icon=icon,
        tooltip=hint,
        button_style=style,
        layout=ipywidgets.Layout(width="auto", min_width="90px"),
    )


def wrapped(children: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """A row that goes on in the next line where the page is narrow."""
    layout = ipywidgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="2px 10px")
    return ipywidgets.HBox(children, layout=layout)
