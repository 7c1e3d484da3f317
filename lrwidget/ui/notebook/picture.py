"""A picture behind a live widget: what a notebook shows when there is no kernel any more.

The widget's own output cannot carry it: a notebook that was saved and opened again finds no model for the widget and
says so, whatever else is in that output. So the picture is an output of its own, right behind. It is hidden while the
widget above it is alive, and hides the "model not found" above it when that is not.

A page forgets which outputs can be updated when it is loaded again: JupyterLab and Notebook 7 drop what the kernel
sends for them then, and no other message reaches an output that is not of a running cell. From then on the picture
stays as it was; one that is shown anew, with `w` in any cell, follows the widget again.
"""

import base64
import html
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import ipywidgets
from IPython.display import display

from lrwidget.engine.words import format_lr
from lrwidget.state import LRState, Phase
from lrwidget.ui.notebook.cells import execution
from lrwidget.ui.notebook.kernel import call_later, current_kernel, in_cell

PICTURE_CLASS = "lrwidget-picture"

NOT_YET = "A picture of the result takes this place when there is one."
"""What a notebook says that was saved before its sweep was over."""

REST_S = 0.5
"""How long a marker must rest before the picture is drawn again: drawing takes as long as several moves of a hand."""

STYLE = f"""<style>
.jp-OutputArea-child:has(> .jp-OutputArea-output > .lrwidget) +
.jp-OutputArea-child:has(> .jp-OutputArea-output > .{PICTURE_CLASS}),
.jp-OutputArea-child:has(> .jupyter-widgets):not(:has(> .jupyter-widgets > *)):has(+ * > * > .{PICTURE_CLASS}) {{
  display: none;
}}
.output_container:has(.lrwidget) + .output_container:has(.{PICTURE_CLASS}) {{ display: none; }}
</style>"""
"""A live widget has elements inside; one without a model has only the words that say so. Browsers drop a rule with a
`:has` inside of a `:has`. The second rule is for VS Code.

Children only, where that is enough: a browser looks through all that `:has` may depend on whenever an element comes or
goes in there, and a chart has a thousand."""


class Picture:
    """One picture, drawn anew when what it shows is outdated.

    Args:
        draw: makes the PNG and a text for readers without eyes for it; None while there is nothing to show.
        when_over: calls what it is given when no job runs any more, which a drawing would only keep from its end.
    """

    def __init__(
        self,
        draw: Callable[[], tuple[bytes, str] | None],
        when_over: Callable[[Callable[[], object]], object] = lambda act: act(),
    ) -> None:
        self._draw = draw
        self._when_over = when_over
        self._displays: list[str] = []
        self._cell: Any = None
        self._lock = threading.Lock()
        self._drawn: tuple[bytes, str] | None = None
        self._asked = 0

    def show_behind(self, widget: ipywidgets.Widget, text: str) -> None:
        """Display the widget, and a place for the picture behind it; where no widget can be shown, the text."""
        self._cell = execution()
        if current_kernel() is None:
            sys.stdout.write(f"{text}\n")
            return
        bundle = dict(widget._repr_mimebundle_()) if hasattr(widget, "_repr_mimebundle_") else {}
        display({**bundle, "text/plain": text}, raw=True)  # type: ignore[no-untyped-call]
        name = uuid4().hex
        content = self._content(self._draw())
        display(content, raw=True, display_id=name)  # type: ignore[no-untyped-call]
        self._displays = [*self._displays[-3:], name]

    def was_shown_in_this_cell(self) -> bool:
        """Whether the cell that runs now has shown it already, as `%lrfind` at the end of a cell does."""
        return self._cell is not None and self._cell == execution()

    def outdated(self, change: Any = None) -> None:
        """Draw again: when a job is over or a cell asks at once, else when a dragging hand rests a moment."""
        if not self._displays:
            return
        if change is not None and change["name"] == "lrs" and not in_cell():
            self._asked += 1
            call_later(REST_S, partial(self._draw_if_still, self._asked))
        elif change is None or change["owner"].phase is Phase.IDLE:
            self._when_over(self._redraw)

    def _draw_if_still(self, asked: int) -> None:
        if asked == self._asked:
            self._redraw()

    def _redraw(self) -> None:
        with self._lock:
            drawn = self._draw()
            if drawn is None or drawn == self._drawn:
                return
            self._drawn = drawn
            content = self._content(drawn)
        for name in self._displays:
            display(content, raw=True, display_id=name, update=True)  # type: ignore[no-untyped-call]

    @staticmethod
    def _content(drawn: tuple[bytes, str] | None) -> dict[str, str]:
        if drawn is None:
            return {"text/html": f'{STYLE}<div class="{PICTURE_CLASS}">{NOT_YET}</div>', "text/plain": NOT_YET}
        png, text = drawn
        encoded = base64.b64encode(png).decode()
        image = f'<img class="{PICTURE_CLASS}" alt="{html.escape(text)}" src="data:image/png;base64,{encoded}">'
        return {"text/html": STYLE + image, "image/png": encoded, "text/plain": text}


def curve_picture(state: LRState) -> tuple[bytes, str] | None:
    """The curve with the picked LRs; None while it grows or before there is one."""
    if state.curve is None or state.phase is Phase.SWEEPING:
        return None
    from lrwidget import static  # and matplotlib with it, a quarter of a second, when the first picture is drawn

    names = [group.name for group in state.groups]
    figure = static.curve_figure(state.curve, lrs=state.lrs, names=names, advice=state.advice)
    picked = ", ".join(f"{name} {format_lr(lr)}" for name, lr in zip(names, state.lrs, strict=True))
    return static.png(figure), f"Loss over learning rate. {state.curve.note} Picked: {picked}."


def run_picture(state: LRState) -> tuple[bytes, str] | None:
    """The last run; None while it runs or before there is one."""
    if state.history is None or not len(state.history) or state.phase is Phase.TRAINING:
        return None
    from lrwidget import static  # and matplotlib with it, a quarter of a second, when the first picture is drawn

    return static.png(static.history_figure(state.history)), f"Loss over steps. {state.history.note}"
