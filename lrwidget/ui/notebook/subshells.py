"""What a page tells of our widgets is heard in the order in which it was told.

JupyterLab sends all that a page tells to one subshell of the kernel, a thread, and has that deleted when the page is
gone; the next page has another. ipykernel 7.4 sends each message to the thread from which its own comm was last
answered, whatever the message says. So a learning rate that is typed and the button that is pressed behind it may be
heard on two threads, the button first; and what is for a subshell that is gone is dropped, so that after a reload in
the middle of a sweep a widget would be deaf for ever, or not be found at all. Here messages to our widgets go where
they say. Those to others' widgets go as before, as long as that is a place.
"""

import weakref
from contextlib import suppress
from typing import Any

import ipywidgets

from lrwidget.ui.parts.palette import parts_of

_ways: tuple[Any, Any] | None = None
"""ipykernel's own way, and ours; None while nothing is installed."""
_roots: tuple[weakref.ref[ipywidgets.Widget], ...] = ()
"""Views of ours, with all that is in them."""
_ours: frozenset[str] = frozenset()
_others: frozenset[str] = frozenset()
"""The comms of which it is known whose they are."""


def hear_in_order(view: ipywidgets.Widget, kernel: Any) -> None:
    """Let messages to a view, and to what is in it, go where they say; in kernels before ipykernel 7.4 they do.

    Args:
        view: with all that is in it now, and will be.
        kernel: the one that hears.
    """
    global _roots, _ways
    _roots = (*(root for root in _roots if root() is not None), weakref.ref(view))
    comm = _comm_class()
    if _ways is not None or comm is None:
        return
    former = comm._reply_subshell_for

    def reply_subshell_for(self: Any, data: Any, default: str | None) -> str | None:
        subshell: str | None = default if _is_ours(self.comm_id) else former(self, data, default)
        return subshell if subshell is None or _is_there(kernel, subshell) else default

    comm._reply_subshell_for = reply_subshell_for
    _ways = (former, reply_subshell_for)


def uninstall() -> None:
    """Take ours away, unless somebody has put another in the place of ours."""
    global _ways
    comm = _comm_class()
    if _ways is not None and comm is not None and comm._reply_subshell_for is _ways[1]:
        comm._reply_subshell_for = _ways[0]
    _ways = None


def _comm_class() -> Any | None:
    with suppress(ImportError):
        from ipykernel.comm.comm import BaseComm

        if hasattr(BaseComm, "_reply_subshell_for"):
            return BaseComm
    return None


def _is_there(kernel: Any, subshell: str) -> bool:
    try:
        return subshell in kernel.shell_channel_thread.manager.list_subshell()
    except AttributeError:  # another ipykernel than those we know does as it thinks best
        return True


def _is_ours(comm_id: str) -> bool:
    """Whether a comm is that of a widget in one of our views.

    Views get and lose rows. They are looked through when a comm speaks for the first time.
    """
    global _ours, _others
    if comm_id not in _ours and comm_id not in _others:
        _ours = frozenset(widget.comm.comm_id for widget in parts_of(*(root() for root in _roots)))
        _others = _others - _ours if comm_id in _ours else _others | {comm_id}
    return comm_id in _ours
