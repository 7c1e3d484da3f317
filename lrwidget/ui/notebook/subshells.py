"""Comms that outlive the subshell they were last answered from.

JupyterLab sends what a page tells of its widgets to a subshell of the kernel, and has that deleted when the page, or
the notebook in it, is gone; the next page has another. ipykernel 7.4 sends a message to the subshell from which its
comm was last answered, whatever the message says, and drops it when that subshell is gone: after a reload in the middle
of a sweep a widget would be deaf for ever. Here such a message goes where it says.
"""

from contextlib import suppress
from typing import Any

_ways: tuple[Any, Any] | None = None
"""ipykernel's own way, and ours; None while nothing is installed."""


def install(kernel: Any) -> None:
    """Let messages to subshells that are gone go where they say; nothing happens in a kernel that never drops them."""
    global _ways
    comm = _comm_class()
    if _ways is not None or comm is None:
        return
    former = comm._reply_subshell_for

    def reply_subshell_for(self: Any, data: Any, default: str | None) -> str | None:
        subshell: str | None = former(self, data, default)
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
