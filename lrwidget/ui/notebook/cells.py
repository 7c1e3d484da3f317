"""Cells and what they have shown: running a cell again closes what it showed before.

When a cell runs again its front end takes away what it showed, and nobody can see or press that any more. The kernel
would keep it all the same: a widget with an open comm lives, and with it the session and the user's model.
"""

from typing import Any, Protocol
from weakref import WeakSet

from IPython.core.getipython import get_ipython

from lrwidget.ui.notebook.kernel import current_kernel, in_cell


class Closable(Protocol):
    """What can be shown in a cell."""

    def close(self) -> None:
        """Take it off the screen; twice is no harm."""


_shown: dict[str, tuple[Any, WeakSet[Closable]]] = {}
"""For every cell its last execution that has shown something, and what it has shown."""


def execution() -> Any:
    """What tells one execution of a cell from every other; None outside of a cell."""
    kernel = current_kernel()
    if kernel is None:
        return getattr(get_ipython(), "execution_count", None)
    return (kernel.get_parent("shell") or {}).get("header", {}).get("msg_id")


def cell_id() -> str | None:
    """What the front end calls the cell that runs; None where it does not say, and outside of a cell.

    JupyterLab, Notebook 7 and VS Code send it with what they want executed.
    """
    if not in_cell():
        return None
    told = current_kernel().get_parent("shell").get("metadata", {}).get("cellId")  # type: ignore[union-attr]
    return told if isinstance(told, str) else None


def shown_only_in(thing: Closable, cell: str) -> bool:
    """Whether one cell, and no other, shows something: when that cell runs again, nobody can see or press it."""
    return [name for name, (_, things) in _shown.items() if thing in things] == [cell]


def shown(thing: Closable) -> None:
    """Say that the cell that runs has shown something: what earlier executions of it have shown is closed.

    Not what is to be seen in another cell as well, and nothing where the front end does not say which cell it is.
    """
    cell, now = cell_id(), execution()
    if cell is None:
        return
    last, things = _shown.get(cell, (None, WeakSet[Closable]()))
    if last == now:
        things.add(thing)
        return
    _shown[cell] = now, WeakSet([thing])
    for former in list(things):
        if not any(former in still for _, still in _shown.values()):
            former.close()
