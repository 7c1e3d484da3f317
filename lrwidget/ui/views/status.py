"""What is said: messages, errors and tracebacks, all escaped."""

import html
from typing import TYPE_CHECKING

import ipywidgets

from lrwidget.ui.parts.note import WARNING
from lrwidget.ui.parts.palette import MESSAGE, TEXT, UNSEEN, close_all, put
from lrwidget.ui.parts.view import View

if TYPE_CHECKING:
    from lrwidget.state import LRState

NOTES = f"color: {TEXT}; white-space: pre-wrap; margin-top: 4px"
TRACEBACK = (
    "max-height: 18em; overflow: auto; white-space: pre-wrap; line-height: 1.4; border-left: 3px solid; "
    "padding-left: 8px"
)


class StatusLine(View):
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
            said = f"<div role='alert' style='{WARNING}; {MESSAGE}'>{said}</div>"
        else:
            seen_elsewhere = state.message in (state.sweep_message, state.run_message)
            said = f"<div role='status' aria-live='polite' style='{UNSEEN if seen_elsewhere else MESSAGE}'>{said}</div>"
        put(self.view, value=said + traceback_block(state.error))

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)


def traceback_block(text: str) -> str:
    """A traceback to unfold, because its last line stands above; what is only a line is shown."""
    if "\n" not in text.strip():
        return f"<div style='{MESSAGE}'>{html.escape(text)}</div>" if text else ""
    return (
        "<details><summary style='cursor: pointer'>Traceback</summary>"
        f"<pre tabindex='0' style='{TRACEBACK}'>{html.escape(text)}</pre></details>"
    )
