"""What is trained, the range of the sweep, its buttons and its progress."""

import html
from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets

from lrwidget.look import format_loss, format_lr, format_seconds
from lrwidget.ui.fields import (
    Field,
    read_lr,
    read_steps,
    warning,
)
from lrwidget.ui.palette import button, close_all, put, wrapped

if TYPE_CHECKING:
    from lrwidget.state import LRState, Progress

START, END, STEPS = "Learning rate at the first step", "Learning rate at the last step", "Optimizer steps of the sweep"
RANGE_WIDTH = "115px"


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
