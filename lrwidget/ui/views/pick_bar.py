"""Undo, redo and reset a pick, and whether a dragged marker takes the others along."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets

from lrwidget.ui.parts.palette import button, close_all, put, wrapped
from lrwidget.ui.parts.view import View

if TYPE_CHECKING:
    from lrwidget.state import LRState

TOGETHER = "move all together"


class PickBar(View):
    """What can be done with a pick besides dragging it.

    Args:
        on_undo: called when Undo is pressed.
        on_redo: called when Redo is pressed.
        on_reset: called when Reset is pressed.
        on_together: called with whether a dragged marker takes the others along.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
        undo: the button that takes the last pick back.
        redo: the button that makes it again.
        reset: the button that goes back to the recommendation.
        together: the box to tick; there when there is more than one group.
    """

    watches = ("can_undo", "can_redo", "together", "groups", "advice")

    def __init__(
        self,
        *,
        on_undo: Callable[[], object],
        on_redo: Callable[[], object],
        on_reset: Callable[[], object],
        on_together: Callable[[bool], object],
    ) -> None:
        self._on_together = on_together
        self._shown = False
        self.undo = button("Undo", "undo", "Take the last pick back, a whole drag at once", "")
        self.redo = button("Redo", "repeat", "Pick again what was taken back", "")
        self.reset = button("Reset", "bullseye", "", "")
        self.together = ipywidgets.Checkbox(
            description=TOGETHER,
            indent=False,
            tooltip="A dragged marker takes all others along, and the ratios between groups stay",
            layout=ipywidgets.Layout(width="auto"),
        )
        for made, told in ((self.undo, on_undo), (self.redo, on_redo), (self.reset, on_reset)):
            made.on_click(lambda _button, told=told: told())
        self.together.observe(self._ticked, "value")
        self.view = wrapped([self.undo, self.redo, self.reset, self.together])

    def render(self, state: "LRState") -> None:
        """Show the state."""
        put(self.undo, disabled=not state.can_undo)
        put(self.redo, disabled=not state.can_redo)
        recommended = state.advice is not None and state.advice["recommended"].lr is not None
        where = "the recommendation" if recommended else "the optimizer's own learning rates"
        put(self.reset, tooltip=f"All markers back to {where}; a double-click on the plot does the same")
        self._shown = state.together
        put(self.together, value=state.together)
        put(self.together.layout, display=None if len(state.groups) > 1 else "none")

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view)

    def _ticked(self, change: "dict[str, bool]") -> None:
        # What `render` writes comes by here too, and is no tick of the user's.
        if change["new"] != self._shown:
            self._shown = change["new"]
            self._on_together(change["new"])
