"""What is trained, the range of the sweep, its buttons and its progress."""

import html
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets

from lrwidget.engine.errors import InputError, LRWidgetError, in_one_line
from lrwidget.engine.words import format_lr
from lrwidget.look.numbers import format_loss, format_seconds
from lrwidget.ui.parts.fields import Field, LRField, read_steps
from lrwidget.ui.parts.keys import JOB_CLASS, START_CLASS, page_help
from lrwidget.ui.parts.note import Note
from lrwidget.ui.parts.palette import BRAND, button, close_all, hidden, hinted, meter, put, wrapped
from lrwidget.ui.parts.view import CALM_S, View

if TYPE_CHECKING:
    from lrwidget.engine.sweeps.sweep import SweepConfig
    from lrwidget.state import LRState, Progress

START, END, STEPS = "Learning rate at the first step", "Learning rate at the last step", "Optimizer steps of the sweep"
MODE = "How learning rates grow: log, by equal ratios, gives every decade as many steps; linear, by equal differences"
MODES = (("log", "exp"), ("linear", "linear"))
"""What is read, and what the sweep calls it."""
PAUSE, RESUME = "Wait after the current step; the model stays with the job", "Go on from where it waits"
STOP = "End after the current step: a sweep gives the model back, a run validates what it has"
STYLE = """<style>
.lrw-place .widget-html-content [role=alert] {
  display: block !important; margin: 0 !important; font-size: 12px; line-height: 14px !important;
}
</style>"""
RANGE_WIDTH = "115px"
PLACE_WIDTH = "400px"


class Toolbar(View):
    """What is trained, the range of the sweep, its buttons and its progress.

    Args:
        on_sweep: called with start LR, end LR, number of steps and mode when Sweep is pressed; may refuse it.
        on_stop: called when Stop is pressed.
        on_pause: called with True when Pause is pressed, with False when Resume is.
        clock: seconds from any start; replaced in tests.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
        refresh_s: seconds between two redraws while a job streams.
    """

    watches = ("title", "config", "phase", "stopping", "paused", "validating", "progress")
    refresh_s = CALM_S

    def __init__(
        self,
        *,
        on_sweep: Callable[[float, float, int, str], object],
        on_stop: Callable[[], object],
        on_pause: Callable[[bool], object] = lambda pause: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_sweep, self._on_pause = on_sweep, on_pause
        self._config: SweepConfig | None = None
        self._paused = False
        self._phase: object = None
        self._title = ipywidgets.HTML()
        self._note = Note(clock)
        self.sweep = button(
            "Sweep", "play", "Measure the loss over a range of learning rates; nothing is changed", "primary"
        )
        self.pause = button("Pause", "pause", PAUSE, "")
        self.stop = button("Stop", "stop", STOP, "")
        for made, role in ((self.sweep, START_CLASS), (self.pause, JOB_CLASS), (self.stop, JOB_CLASS)):
            made.add_class(role)
        self.sweep.layout.min_width = self.stop.layout.min_width = "80px"
        # What is entered stays in the field until Sweep is pressed.
        self.start_lr = LRField(
            lambda lr: self.start_lr.show_lr(lr), self._note, label="from", hint=START, width=RANGE_WIDTH
        )
        self.end_lr = LRField(lambda lr: self.end_lr.show_lr(lr), self._note, label="to", hint=END, width="99px")
        self.steps: Field[int] = Field(
            read_steps,
            lambda steps: self.steps.show(steps, str(steps)),
            self._note,
            label="steps",
            hint=STEPS,
            width=RANGE_WIDTH,
        )
        self.mode = ipywidgets.Dropdown(
            **hinted("mode", MODE),
            options=MODES,
            layout=ipywidgets.Layout(width="112px"),
            style={"description_width": "initial"},
        )
        # It has its place when it is not seen: a chart must not move under the hand when a job starts or ends. What is
        # wrong with an entered range stands there as well.
        self._progress = ipywidgets.HTML(layout=ipywidgets.Layout(width="100%", height="28px"))
        self._note.view.layout.width, self._note.view.layout.display = "100%", "none"
        self._note.view.observe(self._answered, "value")
        place = ipywidgets.VBox(
            [self._progress, self._note.view],
            layout=ipywidgets.Layout(width=PLACE_WIDTH, max_width="100%", height="32px", overflow="hidden"),
        )
        place.add_class("lrw-place")
        self.sweep.on_click(self._sweep)
        self.pause.on_click(lambda _button: self._on_pause(not self._paused))
        self.stop.on_click(lambda _button: on_stop())
        head = wrapped([self._title, place])
        head.layout.justify_content = "space-between"
        fields = (self.start_lr.view, self.end_lr.view, self.steps.view, self.mode)
        row = wrapped([self.sweep, self.pause, self.stop, *fields])
        row.layout.grid_gap = "2px 0"  # so that all of it has room in one line of most pages
        self.view = ipywidgets.VBox([hidden(STYLE), head, row, page_help()])

    @property
    def entered(self) -> dict[str, Any]:
        """The sweep that the fields say, as fields of `SweepConfig`; empty before the first `render`."""
        if self._config is None:
            return {}
        return {
            "start_lr": self.start_lr.value,
            "end_lr": self.end_lr.value,
            "num_steps": self.steps.value,
            "mode": self.mode.value,
        }

    def render(self, state: "LRState") -> None:
        """Show the state."""
        put(self._title, value=f"<b>{html.escape(state.title)}</b>")
        if state.config is not self._config:
            self._config = state.config
            self._show_range(state.config)
        if state.phase != self._phase:
            self._phase = state.phase
            self._note.answer("")  # progress has its place again
        idle, self._paused = state.phase == "idle", state.paused
        buttons: list[tuple[ipywidgets.Button, dict[str, Any]]] = [
            (self.sweep, {"disabled": not idle}),
            (
                self.pause,
                {
                    "disabled": idle or state.stopping,
                    "description": "Resume" if state.paused else "Pause",
                    "icon": "play" if state.paused else "pause",
                    "tooltip": RESUME if state.paused else PAUSE,
                },
            ),
            (
                self.stop,
                {
                    "disabled": idle or state.stopping,
                    "description": "Stopping …" if state.stopping else "Stop",
                },
            ),
        ]
        # Each travels by itself. Those that can be pressed go first: the focus then leaves the pressed one, which is
        # disabled, for a row that is as it will be.
        for pressed, traits in sorted(buttons, key=lambda each: bool(each[1]["disabled"])):
            put(pressed, **traits)
        self.stream(state)

    def stream(self, state: "LRState") -> None:
        """Show the progress."""
        waits = "validating" if state.validating else "paused" if state.paused else ""
        put(self._progress, value=progress_line(state.progress, waits) if state.progress else "")

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)

    def _show_range(self, config: "SweepConfig") -> None:
        self.start_lr.show_lr(config.start_lr)
        self.end_lr.show_lr(config.end_lr)
        self.steps.show(config.num_steps, str(config.num_steps))
        put(self.mode, value=config.mode)

    def _answered(self, change: Any) -> None:
        put(self._note.view.layout, display=None if change["new"] else "none")
        put(self._progress.layout, display="none" if change["new"] else None)

    def _sweep(self, _button: Any) -> None:
        if self._note.just_refused or self._config is None:
            return
        self._note.answer("")
        entered = self.entered
        start, end = entered["start_lr"], entered["end_lr"]
        try:
            if not start < end:
                raise InputError(
                    f"Got from {format_lr(start)} to {format_lr(end)}; expected to go upwards. "
                    + ("Exchange them." if end < start else "Enter a higher end.")
                )
            replace(self._config, **entered)
            self._on_sweep(start, end, entered["num_steps"], entered["mode"])
        except LRWidgetError as error:
            self._note.answer(in_one_line(error))


def progress_line(progress: "Progress", waits: str) -> str:
    """How far a job is, how fast it goes and what it sees, over a bar; and why it takes no step just now, if so."""
    parts = [f"{progress.step}/{progress.total}", f"loss {format_loss(progress.loss)}"]
    if math.isfinite(progress.lr):
        parts.append(f"lr {format_lr(progress.lr)}")
    if progress.steps_per_second is not None:
        parts.append(format_pace(progress.steps_per_second))
    if waits:
        parts.append(waits)
    elif progress.seconds_left is not None:
        parts.append(f"{format_seconds(progress.seconds_left)} left")
    total = max(1, progress.total)
    role = f"role='progressbar' aria-label='Progress' aria-valuemin='0' aria-valuemax='{total}'"
    bar = meter(
        min(1.0, progress.step / total), BRAND, f"{role} aria-valuenow='{min(progress.step, total)}'", "height: 4px"
    )
    words = " &nbsp; ".join(parts)
    return f"<div style='white-space: nowrap; line-height: 20px; font-variant-numeric: tabular-nums'>{words}</div>{bar}"


def format_pace(steps_per_second: float) -> str:
    """Steps in a second, at two digits or more.

    >>> format_pace(12.3), format_pace(0.456)
    ('12 steps/s', '0.46 steps/s')
    """
    return f"{steps_per_second:.0f} steps/s" if steps_per_second >= 10 else f"{steps_per_second:.2g} steps/s"
