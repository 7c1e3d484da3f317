"""Pictures and numbers to take along: saved by the browser, wherever the kernel runs."""

import base64
import gzip
import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets

from lrwidget.ui.parts.note import warning
from lrwidget.ui.parts.once import once
from lrwidget.ui.parts.palette import button, close_all, hinted, put, wrapped
from lrwidget.ui.parts.view import CALM_S, View

if TYPE_CHECKING:
    from lrwidget.state import LRState

TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "csv": "text/csv",
    "json": "application/json",
    "gz": "application/gzip",
}
"""Media types by the end of a file's name."""

MOST_BYTES = 1_500_000
"""What travels to the page at once: a notebook server drops what comes faster than 1 MB/s for three seconds."""

TOO_LARGE = "{name} has {size} even when packed, more than a page takes. {instead} writes it beside the notebook."

DOWNLOAD = """
    const link = this.parentNode.querySelector('a');
    const [head, data] = link.href.split(',');
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    link.href = window.URL.createObjectURL(new Blob([bytes], {type: head.slice(5).split(';')[0]}));
    link.click();
"""
"""Presses the link at once. Browsers refuse to save long `data:` addresses, and no `blob:` ones."""


class Exports(View):
    """Buttons that save a picture, or the numbers of the run.

    Args:
        on_picture: called with `"sweep"`, `"schedule"` or `"run"` and with `"png"` or `"svg"` when Save picture is
            pressed; the file it returns, if any, is saved by the browser.
        on_history: called with `"csv"` or `"json"` when one of these is pressed, likewise.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
        refresh_s: seconds between two redraws while a job streams.
    """

    watches = ("curve", "plan", "history", "phase")
    refresh_s = CALM_S

    def __init__(
        self,
        *,
        on_picture: Callable[[str, str], bytes | None],
        on_history: Callable[[str], bytes | None],
    ) -> None:
        self._on_picture, self._on_history = on_picture, on_history
        self._shown: tuple[Any, ...] = ()
        self.what = ipywidgets.Dropdown(
            options=(),
            **hinted("picture of the", "What Save picture draws"),
            layout=ipywidgets.Layout(width="190px"),
            style={"description_width": "initial"},
        )
        self.kind = ipywidgets.Dropdown(
            **hinted("as", "PNG for a page or a slide, SVG to be scaled or edited"),
            options=[("PNG", "png"), ("SVG", "svg")],
            layout=ipywidgets.Layout(width="90px"),
            style={"description_width": "initial"},
        )
        self.picture = button("Save picture", "image", "The chosen picture as a file, saved by the browser", "")
        self.csv = button("History CSV", "table", "Every step of the run for a spreadsheet or pandas", "")
        self.json = button("History JSON", "file", "The run as lrwidget.load reads it back", "")
        self._link = ipywidgets.HTML()
        self.picture.on_click(lambda _button: self._save_picture())
        self.csv.on_click(lambda _button: self._save_history("csv"))
        self.json.on_click(lambda _button: self._save_history("json"))
        self._row = wrapped([self.what, self.kind, self.picture, self.csv, self.json, self._link])
        self.view = ipywidgets.VBox([])

    def render(self, state: "LRState") -> None:
        """Offer what there is; what was saved of something else is offered no more."""
        ran = state.history is not None and len(state.history) > 0
        drawn = {"schedule": state.plan is not None, "sweep": state.curve is not None, "run": ran}
        self._offer([what for what, there in drawn.items() if there])
        for numbers in (self.csv, self.json):
            put(numbers.layout, display="" if ran else "none")
        # While a job runs it is of something else all the time.
        shown = (state.curve, state.plan, state.history)
        if state.phase == "idle" and shown != self._shown:
            self._shown = shown
            put(self._link, value="")

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view, self._row)

    def _offer(self, whats: Sequence[str]) -> None:
        if whats and tuple(whats) != self.what.options:
            chosen = self.what.value
            new = [what for what in whats if what not in self.what.options]
            with self.what.hold_sync():
                self.what.options = tuple(whats)
                # What has just come to be is what one wants a picture of.
                self.what.value = new[-1] if new else chosen if chosen in whats else whats[-1]
        put(self.view, children=(self._row,) if whats else ())

    def _save_picture(self) -> None:
        what, kind = self.what.value, self.kind.value
        content = self._on_picture(what, kind)
        if content is not None:
            self._save(f"lrwidget-{what}.{kind}", content, f"w.{METHODS[what]}.plot().savefig(...)")

    def _save_history(self, kind: str) -> None:
        content = self._on_history(kind)
        if content is not None:
            self._save(f"lrwidget-history.{kind}", content, f"w.history.{'to_csv' if kind == 'csv' else 'save'}(...)")

    def _save(self, name: str, content: bytes, instead: str) -> None:
        if len(content) > MOST_BYTES:
            # Numbers written out shrink to a third; pandas reads them packed.
            name, content = f"{name}.gz", gzip.compress(content, mtime=0)
        if len(content) > MOST_BYTES:
            put(self._link, value=warning(TOO_LARGE.format(name=name, size=size_of(content), instead=instead)))
        else:
            put(self._link, value=download(name, content))


METHODS = {"sweep": "curve", "schedule": "plan()", "run": "history"}
"""What of the widget draws each picture in code."""


def download(name: str, content: bytes) -> str:
    """A link that saves a file, as HTML, and that is pressed at once."""
    data = base64.b64encode(content).decode()
    address = f"data:{TYPES[name.rpartition('.')[2]]};base64,{data}"
    link = (
        f'<a download="{html.escape(name)}" href="{address}" style="text-decoration: underline">{html.escape(name)}</a>'
    )
    return f"<span>{link} ({size_of(content)}){once(DOWNLOAD)}</span>"


def size_of(content: bytes) -> str:
    """How large a file is.

    >>> size_of(b"x" * 12_345), size_of(b"x" * 3_210_000)
    ('12 kB', '3.2 MB')
    """
    return f"{len(content) / 1e6:.1f} MB" if len(content) >= 1e6 else f"{max(1, round(len(content) / 1e3))} kB"
