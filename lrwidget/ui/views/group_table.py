"""The table of groups: what can be dragged in the chart can be typed here. Names are the user's, and escaped."""

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

from lrwidget.look.colors import group_color
from lrwidget.look.markers import fastest
from lrwidget.look.numbers import format_count
from lrwidget.ui.parts.fields import Field, LRField, read_name
from lrwidget.ui.parts.keys import page_help
from lrwidget.ui.parts.note import Note
from lrwidget.ui.parts.palette import FAINT, GRID, UNSEEN, close_all, hidden, meter, put
from lrwidget.ui.parts.view import CALM_S, View

if TYPE_CHECKING:
    from lrwidget.engine.loops.groups import Group
    from lrwidget.state import LRState

SEVERAL = "lrw-several"
"""CSS class of a table of more than one group, which has a column to freeze them."""
NARROW = "12px minmax(58px, 1fr) max-content 72px max-content"
"""The same where a page is narrow."""
COLUMNS = "12px minmax(76px, 170px) minmax(96px, max-content) minmax(84px, 110px) max-content"
"""Chip, name, size and layers, LR, and the mark of the fastest. Then freeze, if there are others; then the share."""

STYLE = f"""<style>
.lrw-groups > .jupyter-widgets, .lrw-groups .widget-html-content {{ min-width: 0 }}
.lrw-groups .widget-checkbox, .lrw-groups .widget-checkbox label {{ height: 28px; display: flex; align-items: center }}
.lrw-groups summary {{ cursor: pointer; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }}
.lrw-groups details > div {{ width: 0 }}
.lrw-groups .lrw-layers {{
    width: max-content; max-width: 22em; max-height: 10em; overflow: auto; overflow-wrap: anywhere; line-height: 1.35;
    box-sizing: border-box; margin-bottom: 6px; padding: 0 8px; border-left: 2px solid {GRID};
}}
.lrw-groups .lrw-share {{ display: flex; align-items: center; gap: 6px; white-space: nowrap }}
.lrw-group-box {{ container-type: inline-size; width: 100% }}
@container (max-width: 500px) {{
    .lrw-groups {{
        grid-template-columns: {NARROW} max-content !important;
        gap: 0 5px !important; padding: 0 2px;
    }}
    .lrw-groups.{SEVERAL} {{ grid-template-columns: {NARROW} max-content max-content !important }}
    .lrw-groups .lrw-wide, .lrw-groups .lrw-share > :first-child {{ display: none }}
    .lrw-groups .widget-html-content, .lrw-groups summary {{ font-size: 12px }}
    .lrw-groups .widget-html-content {{ white-space: nowrap }}
    .lrw-groups .lrw-layers {{ white-space: normal }}
    .lrw-groups > .jupyter-widgets {{ margin-left: 0; margin-right: 0 }}
}}
.lrw-groups .lrw-still input {{ color: {FAINT} }}
</style>"""
STILL = "lrw-still"
"""CSS class of the LR of a group that does not train."""

SHARES = (
    "Share of each group in the squared gradient norm at the current weights, measured at the first step of the sweep"
)


class GroupTable(View):
    """A row for every group: its colour in the charts, name, size, layers and LR, and whether it trains.

    Args:
        on_lr: called with a group's index and the LR that was entered for it; may refuse it.
        on_name: called with a group's index and the name that was entered for it; may refuse it.
        on_freeze: called with a group's index and whether its box was ticked; may refuse it.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
        refresh_s: seconds between two redraws while a job streams.
        rows: a `Row` for every group, in optimizer order.
        note: where to answer what is refused.
    """

    watches = ("groups", "lrs", "frozen", "curve", "phase")
    refresh_s = CALM_S

    def __init__(
        self,
        *,
        on_lr: Callable[[int, float], object],
        on_name: Callable[[int, str], object] = lambda index, name: None,
        on_freeze: Callable[[int, bool], object] = lambda index, frozen: None,
    ) -> None:
        self._on_lr, self._on_name, self._on_freeze = on_lr, on_name, on_freeze
        self.note = Note()
        self._share_head = ipywidgets.HTML()
        self._head = [
            *(
                ipywidgets.HTML(text)
                for text in ("", "<b>group</b>", "<b>param<span class='lrw-wide'>eter</span>s</b>", "<b>lr</b>", "")
            ),
            ipywidgets.HTML("<b title='A frozen group does not train in a run'>freeze</b>"),
            self._share_head,
        ]
        self.rows: list[Row] = []
        self._shares: tuple[float, ...] = ()
        self._lrs: tuple[float, ...] = ()
        self._grid = ipywidgets.GridBox(
            layout=ipywidgets.Layout(align_items="flex-start", grid_gap="0 6px", width="100%", overflow="auto hidden")
        )
        self._grid.add_class("lrw-groups")
        self.view = ipywidgets.VBox([hidden(STYLE), page_help(), self._grid, self.note.view])
        self.view.add_class("lrw-group-box")

    @property
    def fields(self) -> list[LRField]:
        """The LR fields, in optimizer order."""
        return [row.lr for row in self.rows]

    def render(self, state: "LRState") -> None:
        """Show the state."""
        self._shares = shares = shares_on_screen(state)
        self._fit(len(state.groups))
        lrs = tuple(state.lrs)
        if lrs != self._lrs:
            self._lrs = lrs
            self.note.answer("")  # what was wrong with a text is past
        frozen = state.frozen or (False,) * len(lrs)
        shown = len(shares) == len(self.rows) > 1
        put(self._share_head, value=f"<b title='{SHARES}'>grad<span class='lrw-wide'>ient</span></b>" if shown else "")
        for index, (row, group, lr) in enumerate(zip(self.rows, state.groups, lrs, strict=False)):
            row.show_group(group, group_color(index, len(self.rows)))
            row.lr.show_lr(lr)
            put(row.mark, value="max_lr" if index == fastest(lrs) else "")
            row.show_frozen(frozen[index], changeable=state.phase != "training")
            put(row.share, value=share_cell(shares[index], group_color(index, len(self.rows))) if shown else "")

    def stream(self, state: "LRState") -> None:
        """Show the shares, which come with the first point of a curve."""
        if shares_on_screen(state) != self._shares:
            self.render(state)

    def close(self) -> None:
        """Let go of the browser's copies and of the callbacks."""
        close_all(self.view, *self._head, *(row.cells for row in self.rows))

    def _fit(self, count: int) -> None:
        """As many rows as groups. Those that stay keep their widgets, and the focus of whoever types in one."""
        if count == len(self.rows):
            return
        old, self.rows = self.rows[count:], self.rows[:count]
        self.rows += [self._row(index) for index in range(len(self.rows), count)]
        several = count > 1
        put(
            self._grid.layout,
            grid_template_columns=COLUMNS + " max-content" * (2 if several else 1),
        )
        (self._grid.add_class if several else self._grid.remove_class)(SEVERAL)
        lines = [self._head, *(row.cells for row in self.rows)]
        self._grid.children = [
            cell for line in lines for column, cell in enumerate(line) if several or column != Row.FREEZE
        ]
        close_all(*(row.cells for row in old))

    def _row(self, index: int) -> "Row":
        return Row(
            index,
            self.note,
            on_lr=lambda lr: self._on_lr(index, lr),
            on_name=lambda name: self._on_name(index, name),
            on_freeze=lambda frozen: self._on_freeze(index, frozen),
        )


class Row:
    """The cells of one group.

    Args:
        index: of the group.
        note: where to answer what is refused.
        on_lr: called with an entered LR.
        on_name: called with an entered name.
        on_freeze: called with whether the box was ticked.

    Attributes:
        name: its name, to be changed.
        lr: its LR.
        mark: whether it is the fastest.
        freeze: ticked when it does not train.
        share: of the gradient.
        cells: all of them, from left to right.
    """

    FREEZE = 5
    """Which of the cells the box is."""

    def __init__(
        self,
        index: int,
        note: Note,
        *,
        on_lr: Callable[[float], object],
        on_name: Callable[[str], object],
        on_freeze: Callable[[bool], object],
    ) -> None:
        self._note, self._on_freeze = note, on_freeze
        self._shown: tuple[Group, str] | None = None
        self._frozen = False
        self._chip, self._size = ipywidgets.HTML(), ipywidgets.HTML()
        self.mark, self.share = ipywidgets.HTML(), ipywidgets.HTML()
        self.name = Field(read_name, on_name, note, hint=f"Name of group {index + 1}", width="auto")
        self.lr = LRField(on_lr, note, width="auto")
        self.freeze = ipywidgets.Checkbox(indent=False, layout=ipywidgets.Layout(width="auto"))
        self.freeze.observe(self._ticked, "value")
        self.cells = [self._chip, self.name.view, self._size, self.lr.view, self.mark, self.freeze, self.share]

    def show_group(self, group: "Group", color: str) -> None:
        """Show what the group is."""
        if (group, color) == self._shown:
            return
        self._shown = (group, color)
        put(self._chip, value=chip_cell(group, color))
        put(self._size, value=size_cell(group))
        self.name.show(group.name, group.name)
        put(self.lr.view, tooltip=f"Learning rate of {group.name}")
        put(self.freeze, tooltip=f"Freeze {group.name}: it does not train in a run")

    def show_frozen(self, frozen: bool, *, changeable: bool) -> None:
        """Show whether it trains, and whether that can be changed now."""
        self._frozen = frozen
        put(self.freeze, value=frozen, disabled=not changeable)
        classes = [name for name in self.lr.view._dom_classes if name != STILL]
        put(self.lr.view, _dom_classes=(*classes, *([STILL] if frozen else [])))

    def _ticked(self, change: Any) -> None:
        # What `show_frozen` writes comes by here too.
        if change["new"] != self._frozen:
            self._note.ask(lambda: self._on_freeze(change["new"]), lambda: put(self.freeze, value=self._frozen))


def shares_on_screen(state: "LRState") -> tuple[float, ...]:
    """What the curve on the screen tells of the groups' gradients; nothing without one."""
    return state.curve.gradient_shares if state.curve is not None else ()


def chip_cell(group: "Group", color: str) -> str:
    """A group's colour; its name is there for those who do not see it."""
    chip = f"<span style='display: inline-block; width: 11px; height: 11px; background: {color}'></span>"
    return f"<span style='white-space: nowrap'>{chip}<b style='{UNSEEN}'>{html.escape(group.name)}</b></span>"


def size_cell(group: "Group") -> str:
    """A group's number of parameters, and its layers to unfold."""
    size = format_count(group.n_params)
    if not group.layers:
        return f"<span title='{group.n_params}'>{size}</span>"
    count = "1 layer" if len(group.layers) == 1 else f"{len(group.layers)} layers"
    layers = "".join(f"<div>{html.escape(layer)}</div>" for layer in group.layers)
    return (
        f"<details><summary title='{group.n_params} parameters in {count}; show them'>"
        f"{size}<span class='lrw-wide'> in {count}</span></summary>"
        # No wider than nothing: the list hangs below the row, and must not move its columns apart.
        f"<div><div class='lrw-layers' tabindex='0'>{layers}</div></div></details>"
    )


def share_cell(share: float, color: str) -> str:
    """A share as a bar and in percent."""
    percent = f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}" if share >= 1e-3 else "&lt;0.1"
    bar = meter(share, color, "aria-hidden='true'", "width: 36px; height: 8px; flex: none")
    return f"<div class='lrw-share' title='{SHARES}'>{bar}{percent}&#8239;%</div>"
