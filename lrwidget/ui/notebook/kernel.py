"""What runs this Python, and so how a job runs in it.

| where                                              | a job runs                                            |
|----------------------------------------------------|-------------------------------------------------------|
| a kernel, end of a cell, or the widget's button    | on a worker thread, with the gate for the next cell   |
| a kernel, in the middle of a cell or in a function | inline: what follows it may use the model             |
| a kernel that runs a cell, the widget's button     | not at all: the cell may use the model                |
| a cell that no person runs (papermill, Voilà)      | inline: there is no next cell to keep alive           |
| Colab, ipykernel 7.0                               | inline: updates sent from a thread are not shown      |
| a script, plain IPython                            | inline                                                |
"""

import ast
import importlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from types import FrameType
from typing import Any

from IPython.core.getipython import get_ipython

from lrwidget.engine.errors import BusyError, told
from lrwidget.session.jobs import Job, run_in_thread, run_inline
from lrwidget.ui.notebook import subshells
from lrwidget.ui.notebook.gate import Gate, seen_elsewhere

BUSY_CELL = """Got a request for {wanted} while a cell is running, which may use the model; expected an idle notebook.
Wait for the cell, or interrupt it."""

PLUMBING = ("lrwidget", "IPython", "threading", "contextlib", "functools")
"""Modules whose frames lie between a cell and a job that it starts."""

BUTTONS = ("ipywidgets", "traitlets", "bqplot")
"""Those that call the widget back when something on the screen is pressed."""

log = logging.getLogger(__name__)

_host: "KernelHost | None" = None


def current_kernel() -> Any | None:
    """The ipykernel this code runs in; None in a script or plain IPython."""
    shell = get_ipython()
    return getattr(shell, "kernel", None)


def told_at() -> float:
    """When the page said what is handled now, in seconds of its clock; now, where it does not say.

    Two clicks that follow each other may be heard far apart: the first of them has work to do.
    """
    kernel = current_kernel()
    parent = (kernel.get_parent("shell") or {}) if kernel is not None else {}
    date = parent.get("header", {}).get("date")
    return float(date.timestamp()) if isinstance(date, datetime) else time.time()


def host() -> "KernelHost | None":
    """The one host of this process's kernel, made at first use; None without a kernel."""
    global _host
    kernel = current_kernel()
    if kernel is None:
        return None
    if _host is None or _host.kernel is not kernel:
        _host = KernelHost(kernel)
    return _host


def launch(job: Job[Any], seen_only_in: Callable[[str], bool] = seen_elsewhere) -> None:
    """Run a job the way that fits the place it was started from; see the table above.

    Args:
        job: which.
        seen_only_in: whether a cell, by its id, is the only one that shows the job's widget: a sweep ends when that
            cell runs again.

    Raises:
        BusyError: a button was pressed while a cell is running.
    """
    check_no_cell_runs(f"a {job.name}")
    here = host()
    if here is None or not here.can_use_thread():
        _run_inline(job)
    else:
        here.start_thread(job, seen_only_in)


def _run_inline(job: Job[Any]) -> None:
    """Do the job here; of what it raises, a cell shows the frames of the user's own code."""
    try:
        run_inline(job)
    except Exception as error:
        with suppress(AttributeError):  # an exception with slots is shown with all its frames
            error._render_traceback_ = partial(told, error)  # type: ignore[attr-defined]
        raise


def check_no_cell_runs(wanted: str) -> None:
    """Check that a button of the widget may use the model: a cell that runs meanwhile may use it, too.

    Args:
        wanted: what the button asks for.

    Raises:
        BusyError: a button was pressed while a cell is running.
    """
    if current_kernel() is not None and _button_pressed() and _a_cell_is_running():
        raise BusyError(BUSY_CELL.format(wanted=wanted))


def enable(view: Any) -> None:
    """Let a view be loaded and heard where that takes help.

    Colab loads widgets that are not its own only when asked; ipykernel 7.4 does not keep the order of what a page says.
    """
    if "google.colab" in sys.modules:
        _enable_in_colab()
    if (kernel := current_kernel()) is not None:
        subshells.hear_in_order(view, kernel)


@cache
def _enable_in_colab() -> None:
    try:
        importlib.import_module("google.colab.output").enable_custom_widget_manager()
    except Exception:  # another Colab than the one we know: its own page says what to do
        log.warning("Colab was not asked to load bqplot's widgets.", exc_info=True)


def unload() -> None:
    """Take back what was installed in the kernel."""
    global _host
    subshells.uninstall()
    if _host is not None:
        _host.close()
        _host = None


class KernelHost:
    """A kernel in which jobs run on threads: its gate, and its interrupt key.

    An idle kernel ignores SIGINT, and a running job does not make it busy, so without help the interrupt button would
    do nothing. While this host is there, an idle kernel's SIGINT ends the running job instead.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.gate = Gate(kernel)
        self._idle_handler: Any = getattr(kernel, "saved_sigint_handler", signal.SIG_IGN)
        self._install_interrupt()

    def can_use_thread(self) -> bool:
        """Whether a job started from here may outlive the code that started it."""
        if "google.colab" in sys.modules or not _parent_known_to_threads(self.kernel):
            return False
        if not in_cell():
            return _button_pressed()
        content = self.kernel.get_parent("shell").get("content", {})
        return bool(content.get("allow_stdin", True)) and _ends_the_cell(content.get("code", ""))

    def start_thread(self, job: Job[Any], seen_only_in: Callable[[str], bool]) -> None:
        """Start the job on a thread, close the gate behind it, and make the interrupt key end it."""
        self.gate.close_behind(job, seen_only_in)
        self._interrupt_cell_too(job)
        run_in_thread(job)

    def close(self) -> None:
        """Open the gate and let an idle kernel do with SIGINT what it did before."""
        self.gate.open()
        if getattr(self.kernel, "saved_sigint_handler", None) == self._on_idle_interrupt:
            self.kernel.saved_sigint_handler = self._idle_handler
        if _on_main_thread() and signal.getsignal(signal.SIGINT) == self._on_idle_interrupt:
            signal.signal(signal.SIGINT, self._idle_handler)

    def _install_interrupt(self) -> None:
        """Put our handler in the place of an idle kernel's.

        While a kernel handles a message it keeps that one aside, and puts it back afterwards.
        """
        if not hasattr(self.kernel, "saved_sigint_handler"):
            return
        if not _on_main_thread():
            # A button, by way of a subshell. Signals are the main thread's business.
            self.kernel.io_loop.add_callback(self._install_interrupt)
        elif signal.getsignal(signal.SIGINT) == self._idle_handler:
            signal.signal(signal.SIGINT, self._on_idle_interrupt)
        else:
            self.kernel.saved_sigint_handler = self._on_idle_interrupt

    def _on_idle_interrupt(self, signum: int, frame: FrameType | None) -> None:
        if (job := self.gate.job) is not None:
            job.stop(interrupted=True)

    def _interrupt_cell_too(self, job: Job[Any]) -> None:
        """Until the cell that started the job is over, an interrupt ends both."""
        former = signal.getsignal(signal.SIGINT)
        if not _on_main_thread() or not callable(former) or isinstance(former, signal.Handlers):
            return

        def end_both(signum: int, frame: FrameType | None) -> None:
            job.stop(interrupted=True)
            former(signum, frame)

        # The kernel itself puts its own handler back when the cell is over.
        signal.signal(signal.SIGINT, end_both)


def _ends_the_cell(code: str) -> bool:
    """Whether the call that got here is the last thing that the cell `code` does.

    Then the job may go on when the cell returns. With anything behind it, in the same line, further down, or in a
    function or a loop around it, it may not: that can use the model.
    """
    shell = get_ipython()
    frame = _first_frame_of_the_user()
    if shell is None or frame is None or frame.f_code.co_name != "<module>" or frame.f_globals is not shell.user_ns:
        return False
    try:
        last = ast.parse(shell.transform_cell(code)).body[-1]  # type: ignore[no-untyped-call]
    except (SyntaxError, ValueError, IndexError):
        return False
    called = last.value if isinstance(last, (ast.Expr, ast.Assign, ast.AnnAssign)) else None
    if not isinstance(called, ast.Call):
        return False
    # Python places a call that spans several lines at its method's name.
    ends = {(part.end_lineno, part.end_col_offset) for part in (called, called.func)}
    _, end_line, _, end_column = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    return (end_line, end_column) in ends


def _button_pressed() -> bool:
    """Whether this was called back by one of the widget's own buttons, not by one of the user's and not from a cell."""
    return not in_cell() and _home(_first_frame_of_the_user()) in BUTTONS


def _first_frame_of_the_user() -> FrameType | None:
    """The innermost frame that is neither lrwidget's nor IPython's machinery for magics."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _home(frame) in PLUMBING:
        frame = frame.f_back
    return frame


def _home(frame: FrameType | None) -> str:
    """The package that a frame's code belongs to."""
    return "" if frame is None else str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _a_cell_is_running() -> bool:
    """Whether the main thread is inside a cell; one that waits in the gate, or awaits something, is not."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "run_code" and _home(frame) == "IPython":
            return True
        frame = frame.f_back
    return False


def _parent_known_to_threads(kernel: Any) -> bool:
    """Whether a thread can send to the screen: what it sends names the message that it answers."""
    known: list[object] = []
    asking = threading.Thread(target=lambda: known.append(_parent(kernel)))
    asking.start()
    asking.join()
    return known != [None]


def _parent(kernel: Any) -> dict[str, Any] | None:
    """The message that the kernel is at, or was at last; None where a thread cannot know."""
    try:
        return kernel.get_parent("shell") or {}
    except LookupError:
        return None


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def in_cell() -> bool:
    """Whether this runs in a cell of a notebook, and not in the callback of a button or in a script."""
    kernel = current_kernel()
    parent = _parent(kernel) if kernel is not None else None
    return parent is not None and parent.get("header", {}).get("msg_type") == "execute_request"


def call_later(seconds: float, function: Callable[[], object]) -> None:
    """Call a function from the kernel's own event loop after a while; without a kernel, now."""
    loop = getattr(current_kernel(), "io_loop", None)
    if loop is None:
        function()
    else:
        loop.add_callback(loop.call_later, seconds, function)
