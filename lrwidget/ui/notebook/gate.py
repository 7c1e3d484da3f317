"""Cells queued behind a running job wait for it, while the screen stays alive.

A job on a worker thread lets its cell return, so that the kernel goes on reading messages: a drag, a click on Stop.
It would also go on with the next cell of a "Run All", which may use the model that the job has. The gate stands
between: while a job runs, the kernel's handler of `execute_request` is an async one that waits for the job and then
hands the request to the kernel's own. Waiting asynchronously leaves the kernel's event loop free for comm messages.

- ipykernel 7: comm messages that come while a cell waits are dispatched by the kernel beside it: since 7.4 all, before
  that those by way of a subshell, which JupyterLab 4.4 and Notebook 7.4 use. Others wait, but an interrupt does not.
- ipykernel 6: the kernel reads one message after the other, so the gate hands on comm messages that queue up behind
  the waiting cell by itself.

A job that fails is told of in the first cell that was sent before anybody could see it fail, which may come when the
job is over: a sweep that fails at its first step is faster than the next cell of a "Run All".
"""

import asyncio
import signal
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from lrwidget.engine.errors import told
from lrwidget.session.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

COMM_MESSAGES = frozenset({"comm_open", "comm_msg", "comm_close"})

POLL_S = 0.02
"""How often ipykernel 6 is looked at for comm messages behind a waiting cell: half of what a hand notices."""

ABORTED = """raise KeyboardInterrupt(
    "The {job} this cell waited for was interrupted, and has given the model back. Run this cell again to go on."
)"""

FAILED = """from lrwidget.ui.notebook.gate import raise_error
raise_error({job})  # of the {name} this cell waited for"""

_failed: dict[int, Job[Any]] = {}
"""Jobs on their way into the cell that waited for them, by the number that stands in its code."""


def seen_elsewhere(cell: str) -> bool:
    """Of a job that no cell shows, or more than one: running a cell again takes no Stop away."""
    return False


def raise_error(job: int) -> None:
    """Raise what a job failed with; run in place of a cell that waited for it."""
    failed = _failed.pop(job)
    error = failed.error
    if error is None:
        return
    lines = [f"The {failed.name} this cell waited for has failed; the cell was not run.", "", *told(error)]
    with suppress(AttributeError):  # an exception with slots is shown with all its frames
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    raise error


class Gate:
    """The gate of one kernel; it stands open, and leaves no trace in the kernel, while no job runs.

    Behind a job that failed it stays until the next cell.

    Attributes:
        job: the one that runs, or has failed without a cell behind it yet; None when there is none, because it would
            keep its model as long as the kernel lives.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()
        self._closed = False
        self._cell = ""
        self._seen_only_in: Callable[[str], bool] = seen_elsewhere
        self._sent: datetime | None = None
        self._began = 0.0
        self._behind: Callable[..., Any] = kernel.shell_handlers["execute_request"]
        self.job: Job[Any] | None = None

    def close_behind(self, job: Job[Any], seen_only_in: "Callable[[str], bool]" = seen_elsewhere) -> None:
        """Let cells wait until the job is over. Called before the job starts.

        Args:
            job: which.
            seen_only_in: whether a cell, by its id, is the only one that shows what the job is stopped with.
        """
        handlers = self._kernel.shell_handlers
        with self._lock:
            self.job, self._seen_only_in = job, seen_only_in
            starter = self._kernel.get_parent("shell") or {}
            self._cell, self._sent, self._began = _cell_of(starter), _when_sent(starter), time.monotonic()
            if not self._closed:
                self._behind = handlers["execute_request"]
                handlers["execute_request"] = self._wait_then_execute
                self._closed = True
        job.when_over(self._open_unless_it_failed)

    def _open_unless_it_failed(self) -> None:
        if (job := self.job) is None or job.error is None or self._sent is None or job.told_at is None:
            self.open()

    def open(self) -> None:
        """Take the gate away, unless another job has started meanwhile; cells that wait in it still go through."""
        handlers = self._kernel.shell_handlers
        # Called on the thread of a job that ends, while the kernel's own thread may start the next one.
        with self._lock:
            if self.job is not None and self.job.running:
                return
            self.job, self._seen_only_in = None, seen_elsewhere
            if not self._closed:
                return
            # Whoever has put a handler around ours since still calls it: then it stays, and lets all through.
            if handlers["execute_request"] == self._wait_then_execute:
                handlers["execute_request"] = self._behind
                self._closed = False

    async def _wait_then_execute(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        cell = _cell_of(parent)
        if (job := self.job) is not None and job.name == "sweep" and cell:
            # Its front end has taken away all that the cell showed, Stop included: nobody wants the rest of it. A
            # training is another matter: one press too many must not end it.
            if cell == self._cell or self._seen_only_in(cell):
                job.stop()
        # A waiting cell may start a job itself (its screen's Sweep button), hence the loop.
        request = parent
        while (job := self.job) is not None:
            knew = self._sent_by_one_who_knew(job, parent)
            try:
                interrupted = job.running and await self._wait(job, ident, parent)
            except KeyboardInterrupt:
                # It came in the moment before or after the wait was listening. Let through, it would lose the cell.
                job.stop(interrupted=True)
                interrupted = True
            # To its user a waiting cell looks like a running one, and ends as those do: an interrupt or an error is
            # raised in it, and the cells queued behind it are not run.
            if interrupted:
                request = _with_code(parent, ABORTED.format(job=job.name))
            elif job.error is not None and not knew:
                _failed[id(job)] = job
                request = _with_code(parent, FAILED.format(job=id(job), name=job.name))
            self.open()
        result = self._behind(stream, ident, request)
        if asyncio.iscoroutine(result):
            await result

    def _sent_by_one_who_knew(self, job: Job[Any], cell: dict[str, Any]) -> bool:
        """Whether a cell that has just come was sent when what came of the job was on the screen.

        The front end's clock may be any other than the kernel's. But the job began after the request that started it
        was sent, so by the front end's clock it was told no sooner than that request plus the time the job took.
        """
        if job.told_at is None:
            return False
        sent = _when_sent(cell)
        if sent is None or self._sent is None:
            return True
        return sent - self._sent >= timedelta(seconds=job.told_at - self._began)

    async def _wait(self, job: Job[Any], ident: Any, parent: dict[str, Any]) -> bool:
        """Wait for the job, and say whether an interrupt came meanwhile.

        The interrupt ends the job, instead of breaking into the kernel's event loop.
        """
        kernel = self._kernel
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the kernel is shutting down, and its loop is closed
                loop.call_soon_threadsafe(over.set)

        job.when_over(wake)
        interrupted = False

        def on_interrupt(*_: Any) -> None:
            nonlocal interrupted
            interrupted = True
            job.stop(interrupted=True)

        # A cell in a subshell waits on a thread that gets no signals; the idle kernel's own handler ends its job.
        catches = threading.current_thread() is threading.main_thread()
        former = signal.signal(signal.SIGINT, on_interrupt) if catches else None
        # The kernel keeps only one saved handler, and every comm message handed on here overwrites it.
        saved = getattr(kernel, "saved_sigint_handler", None)
        try:
            while job.running and not over.is_set():
                try:
                    await asyncio.wait_for(over.wait(), POLL_S if hasattr(kernel, "msg_queue") else None)
                except TimeoutError:
                    await self._hand_on_comm_messages()
        finally:
            # Replies and output belong to the cell again, not to the comm message that came last.
            kernel.set_parent(ident, parent, "shell")
            if catches:
                if saved is not None:
                    kernel.saved_sigint_handler = saved
                signal.signal(signal.SIGINT, former)
        return interrupted

    async def _hand_on_comm_messages(self) -> None:
        """Dispatch the comm messages in ipykernel 6's queue; leave all others there, in their order."""
        queue = self._kernel.msg_queue
        others = []
        while queue.qsize():
            entry = queue.get_nowait()
            _, dispatch, args = entry
            if self._is_comm_message(args):
                await dispatch(*args)
            else:
                others.append(entry)
        for entry in others:
            queue.put_nowait(entry)

    def _is_comm_message(self, args: tuple[Any, ...]) -> bool:
        try:
            _, frames = self._kernel.session.feed_identities(args[0], copy=False)
            header = self._kernel.session.deserialize(frames, content=False, copy=False)["header"]
        except Exception:
            # Not a message at all, such as the kernel's own wake-up calls: none of our business.
            return False
        return header.get("msg_type") in COMM_MESSAGES


def _cell_of(request: dict[str, Any]) -> str:
    """What the front end calls the cell that it wants executed; empty where it does not say, and for other requests."""
    is_cell = request.get("header", {}).get("msg_type") == "execute_request"
    told = request.get("metadata", {}).get("cellId") if is_cell else None
    return told if isinstance(told, str) else ""


def _when_sent(request: dict[str, Any]) -> datetime | None:
    """When the front end sent it, by its own clock; None where it does not say."""
    sent = request.get("header", {}).get("date")
    return sent if isinstance(sent, datetime) and sent.tzinfo is not None else None


def _with_code(request: dict[str, Any], code: str) -> dict[str, Any]:
    """An execute request with other code, kept out of the history."""
    return {**request, "content": {**request["content"], "code": code, "store_history": False}}
