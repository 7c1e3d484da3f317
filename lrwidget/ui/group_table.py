"""The table of groups: what can be dragged in the chart can be typed here. Names are the user's, and escaped."""

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ipywidgets

from lrwidget.look import fastest, format_count, format_lr, group_color
from lrwidget.ui.fields import (
    Field,
    read_lr,
)
from lrwidget.ui.palette import close_all, put

if TYPE_CHECKING:
    from lrwidget.engine.groups import Group
    from lrwidget.state import LRState

CHIP = "display: inline-block; width: 11px; height: 11px; margin-right: 7px"


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


def group_cell(group: "Group", color: str) -> str:
    """A group's colour and name; its layers show when the pointer rests on it."""
    layers = html.escape(", ".join(group.layers), quote=True)
    chip = f"<span style='{CHIP}; background: {color}'></span>"
    return f"<span title='{layers}' style='white-space: nowrap'>{chip}{html.escape(group.name)}</span>"
