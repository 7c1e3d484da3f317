"""The list of kept sweeps: which one is chosen, what they are called, how they went.

It has its room from the start, and scrolls when there are more than fit: what is below it never moves.
"""

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets

from lrwidget.engine.errors import InputError
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.words import format_lr
from lrwidget.ui.chart.sweep_lines import CHOSEN_WIDTH, DASHES, KEPT_WIDTH, line_look
from lrwidget.ui.parts.fields import Field
from lrwidget.ui.parts.note import Note
from lrwidget.ui.parts.palette import FAINT, TEXT, Button, close_all, hidden, put
from lrwidget.ui.parts.view import View

if TYPE_CHECKING:
    from lrwidget.engine.sweeps.curve import LossCurve
    from lrwidget.state import KeptSweep, LRState

ROW = 32
"""Height of a row in px, which the radio buttons beside the rows have as well."""
ROWS = 2
"""Rows that are seen at once, each with as many sweeps as the page is wide; one scrolls to the others."""
COLUMNS = "repeat(auto-fill, minmax(min(100%, 452px), 1fr))"
"""Of rows and of radio buttons alike: a sweep is this wide at least, where the page is."""
RADIO = 24
"""Width of a radio button in px."""
PAGE, SHADOW = "var(--jp-layout-color0, white)", "rgba(128, 128, 128, 0.5)"
NONE_YET = "Sweeps are kept here: choose one to go back to it, and see the others beside it."

ENDED = {
    StopReason.FINISHED: "to the end",
    StopReason.DIVERGED: "diverged",
    StopReason.NOT_FINITE: "not finite",
    StopReason.STOPPED: "stopped",
    StopReason.INTERRUPTED: "interrupted",
    StopReason.RAN_DRY: "ran dry",
    StopReason.FAILED: "failed",
}
"""How a sweep ended, in short."""

NAME, REMOVE = "What to call it", "Keep it no longer"

# Radio buttons, fields and buttons say which sweep they are of to those who hear it. Others see it by the row.
# The radio buttons are one widget: they lie in a grid of their own below that of the rows, which leave room for them.
# A reversed column is scrolled to its end, where the latest sweep is, and stays there while it grows; a part that does
# not fill it is pushed to the top by its margin. Shadows at its edges tell that there is more; at the end of what there
# is they are covered by the page's colour, which moves along.
STYLE = f"""<style>
.lrw-sweeps .lrw-kept {{
  display: flex; flex-direction: column-reverse; height: {ROWS * ROW}px; overflow: hidden auto; scrollbar-width: thin;
  background:
    linear-gradient({PAGE} 30%, transparent) top / 100% 20px no-repeat local,
    linear-gradient(transparent, {PAGE} 70%) bottom / 100% 20px no-repeat local,
    linear-gradient({SHADOW}, transparent) top / 100% 6px no-repeat scroll,
    linear-gradient(transparent, {SHADOW}) bottom / 100% 6px no-repeat scroll;
}}
.lrw-sweeps .lrw-kept > * {{ flex: none; margin: 0 0 auto 0; width: 100%; }}
.lrw-sweeps .lrw-kept-grid > * {{ grid-area: 1 / 1; margin: 0; width: 100%; }}
.lrw-sweeps .lrw-kept-rows {{ pointer-events: none; }}
.lrw-sweeps .lrw-kept-rows > * > * {{ pointer-events: auto; }}
.lrw-sweeps .widget-radio-box {{
  margin: 0 !important; display: grid; grid-template-columns: {COLUMNS}; grid-auto-rows: {ROW}px; gap: 0 16px;
}}
.lrw-sweeps .widget-radio-box label {{
  width: {RADIO}px;
  display: flex; align-items: center; height: {ROW}px; font-size: 0; cursor: pointer;
}}
.lrw-sweeps .widget-radio-box input {{ margin: 0 4px; cursor: pointer; }}
.lrw-sweeps .widget-text .widget-label {{
  position: absolute; min-width: 0; width: 1px !important; height: 1px; overflow: hidden; clip-path: inset(50%);
}}
.lrw-sweeps .widget-button {{
  display: flex; align-items: center; justify-content: center; padding: 0; font-size: 0; overflow: hidden;
}}
.lrw-sweeps .widget-button i {{ font-size: 14px; }}
.lrw-sweeps .widget-html-content {{ min-width: 0; flex: 1 1 0; }}
</style>"""


class SweepList(View):
    """A row for every kept sweep: whether it is chosen, its line in the chart, name, range, and a button to remove it.

    Args:
        on_choose: called with the index of a sweep that is to be shown with its suggestions.
        on_rename: called with an index and a new name.
        on_remove: called with the index of a sweep that is no longer to be kept.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
        choice: one radio button for each.
        names: their fields.
        removers: their buttons.
    """

    watches = ("sweeps", "chosen", "phase")

    def __init__(
        self,
        *,
        on_choose: Callable[[int], object],
        on_rename: Callable[[int, str], object],
        on_remove: Callable[[int], object],
    ) -> None:
        self._on_choose, self._on_rename, self._on_remove = on_choose, on_rename, on_remove
        self._chosen: int | None = None
        self._showing = False
        self._note = Note()
        self._looks: list[ipywidgets.HTML] = []
        self._facts: list[ipywidgets.HTML] = []
        self.names: list[Field[str]] = []
        self.removers: list[Button] = []
        self.choice = ipywidgets.RadioButtons(options=[])
        self.choice.observe(self._clicked, "index")
        self._rows = ipywidgets.GridBox(
            layout=ipywidgets.Layout(grid_template_columns=COLUMNS, grid_auto_rows=f"{ROW}px", grid_gap="0 16px")
        )
        self._rows.add_class("lrw-kept-rows")
        self._grid = ipywidgets.GridBox([self.choice, self._rows])
        self._grid.add_class("lrw-kept-grid")
        self._hint = ipywidgets.HTML(f"<span style='color: {FAINT}; line-height: 1.4'>{NONE_YET}</span>")
        kept = ipywidgets.Box([self._grid, self._hint])
        kept.add_class("lrw-kept")
        self.view = ipywidgets.VBox([hidden(STYLE), kept, self._note.view])
        self.view.add_class("lrw-sweeps")

    def render(self, state: "LRState") -> None:
        """Show the state."""
        sweeps: Sequence[KeptSweep] = state.sweeps
        self._match_rows(len(sweeps))
        self._show_choice(sweeps, state.chosen)
        running = state.phase == "sweeping"
        for index, sweep in enumerate(sweeps):
            self.names[index].show(sweep.name, sweep.name)
            put(self._looks[index], value=line_html(index, chosen=index == state.chosen))
            put(self._facts[index], value=facts_html(sweep.curve))
            put(self.names[index].view, disabled=running)
            put(self.removers[index], disabled=running, description=f"Remove {sweep.name}", tooltip=REMOVE)
        put(self.choice, disabled=running)
        put(self._grid.layout, display=None if sweeps else "none")
        put(self._hint.layout, display="none" if sweeps else None)

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)

    def _match_rows(self, count: int) -> None:
        """Make or close rows at the end; a row is of an index, not of a sweep."""
        rows = list(self._rows.children)
        if count == len(rows):
            return
        rows += [self._row(index) for index in range(len(rows), count)]
        self._rows.children = rows[:count]
        close_all(rows[count:])
        for parts in (self._looks, self._facts, self.names, self.removers):
            del parts[count:]

    def _row(self, index: int) -> ipywidgets.HBox:
        look, facts = ipywidgets.HTML(layout=ipywidgets.Layout(width="34px", flex="0 0 auto")), ipywidgets.HTML()
        name = Field(
            read_name,
            lambda name: self._on_rename(index, name),
            self._note,
            label=f"Name of kept sweep {index + 1}",
            hint=NAME,
            width="150px",
        )
        # It gives way where the page is narrow, before the facts do.
        name.view.layout.flex, name.view.layout.min_width = "0 1 auto", "70px"
        remove = Button(icon="times", layout=ipywidgets.Layout(width="30px", flex="0 0 auto"))
        remove.on_click(lambda _button: self._on_remove(index))
        self._looks.append(look)
        self._facts.append(facts)
        self.names.append(name)
        self.removers.append(remove)
        facts.layout.flex, facts.layout.max_width = "1 0 auto", "calc(100% - 170px)"
        return ipywidgets.HBox(
            [look, name.view, facts, remove],
            layout=ipywidgets.Layout(
                height=f"{ROW}px",
                max_width="560px",
                padding=f"0 0 0 {RADIO + 4}px",
                align_items="center",
                grid_gap="6px",
            ),
        )

    def _show_choice(self, sweeps: "Sequence[KeptSweep]", chosen: int | None) -> None:
        self._chosen = chosen
        # Numbered, because two sweeps may have one name, and a list of options may not have one twice.
        options = tuple(f"{index + 1}: {sweep.name}" for index, sweep in enumerate(sweeps))
        if (self.choice.options, self.choice.index) == (options, chosen):
            return
        self._showing = True
        try:
            with self.choice.hold_sync():
                if self.choice.options != options:
                    # With one chosen, other options would choose the first of them.
                    self.choice.index = None
                    self.choice.options = options
                self.choice.index = chosen
        finally:
            self._showing = False

    def _clicked(self, change: Any) -> None:
        # What `render` writes comes by here too, and is no choice of the user's.
        if self._showing or change["new"] is None or change["new"] == self._chosen:
            return
        self._on_choose(change["new"])
        # As the state is by now: a choice may have been refused.
        self.choice.index = self._chosen


def read_name(text: str) -> str:
    """A sweep's name."""
    if not text:
        raise InputError("Got an empty name; expected one that tells this sweep from the others.")
    return text


def line_html(index: int, *, chosen: bool) -> str:
    """A piece of a sweep's line as the chart draws it."""
    look = line_look(index)
    color, width, dashes = (TEXT, CHOSEN_WIDTH, "none") if chosen else (look.color, KEPT_WIDTH, DASHES[look.style])
    style = f"stroke: {color}; stroke-width: {width}; stroke-dasharray: {dashes}"
    return (
        "<svg width='34' height='10' aria-hidden='true' style='display: block'>"
        f"<line x1='0' y1='5' x2='34' y2='5' style='{style}'/></svg>"
    )


def facts_html(curve: "LossCurve") -> str:
    """Range, steps and ending of a sweep in short; the ending in full when the pointer rests on it."""
    ended = "" if curve.stop_reason is None else f" · {ENDED[curve.stop_reason]}"
    facts = f"{format_lr(curve.lrs[0])} – {format_lr(curve.lrs[-1])} · {len(curve)} steps{ended}"
    style = "overflow: hidden; text-overflow: ellipsis; white-space: nowrap"
    return f"<div title='{html.escape(curve.note, quote=True)}' style='{style}'>{html.escape(facts)}</div>"
