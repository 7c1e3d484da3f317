"""A real kernel, driven as a front end drives it: cells, comm messages, the interrupt button."""

import json
import re
from ast import literal_eval
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests import kernelspecs

Message = dict[str, Any]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class KernelTimeoutError(AssertionError):
    """What was waited for did not happen; the message shows what arrived instead."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one cell gave.

    Attributes:
        status: "ok", "error" or "aborted", as the kernel's reply says.
        stdout: everything written to standard output, in order.
        stderr: everything written to standard error, in order.
        outputs: display_data and execute_result contents (`output["data"]["image/png"]`, ...), in order.
        messages: every IOPub message that names this cell as its parent, in order.
        error: "ZeroDivisionError: division by zero", or None.
        traceback: what the user sees of that error, without the colour codes; "" when there is none.
    """

    status: str
    stdout: str
    stderr: str
    outputs: list[Message]
    messages: list[Message]
    error: str | None
    traceback: str


@dataclass(eq=False)
class Execution:
    """A cell that was sent; it may be waiting, running or over."""

    kernel: "Kernel"
    msg_id: str
    code: str
    messages: list[Message] = field(default_factory=list)
    reply: Message | None = None

    @property
    def started(self) -> bool:
        """Whether the kernel has said that it runs this cell (not merely that it received it)."""
        return any(message["header"]["msg_type"] == "execute_input" for message in self.messages)

    @property
    def done(self) -> bool:
        """Whether the reply and all output have arrived.

        ipykernel sends `idle` after the last output of a cell. A cell that waited behind an asynchronous gate may
        share that `idle` with other messages, so a reply without one is taken as the end after a moment of silence.
        """
        self.kernel.pump()
        return self.reply is not None and self._idle

    @property
    def _idle(self) -> bool:
        return any(
            message["header"]["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            for message in self.messages
        )

    @property
    def stdout(self) -> str:
        """Standard output so far."""
        self.kernel.pump()
        return self._stream("stdout")

    def _stream(self, name: str) -> str:
        return "".join(
            message["content"]["text"]
            for message in self.messages
            if message["header"]["msg_type"] == "stream" and message["content"]["name"] == name
        )

    def wait(self, timeout: float = 60.0) -> Result:
        """The cell's result, once it is over."""
        self.kernel.wait_for(lambda: self.reply is not None, timeout, f"the reply of {self.code!r}")
        try:
            self.kernel.wait_for(lambda: self._idle, 2.0)
        except KernelTimeoutError:
            pass  # see `done`: the reply is the end
        assert self.reply is not None
        content = self.reply["content"]
        failed = content["status"] == "error"
        return Result(
            status=content["status"],
            stdout=self._stream("stdout"),
            stderr=self._stream("stderr"),
            outputs=[
                message["content"]
                for message in self.messages
                if message["header"]["msg_type"] in ("display_data", "execute_result")
            ],
            messages=list(self.messages),
            error=f"{content['ename']}: {content['evalue']}" if failed else None,
            traceback=ANSI.sub("", "\n".join(content["traceback"])) if failed else "",
        )


class Kernel:
    """A kernel process and the one front end connected to it.

    Everything arrives on the thread that calls: `pump` takes what is there, and every waiting method pumps. No thread
    of its own, so a test sees messages in one order only.

    Args:
        generation: 7 for the environment's own ipykernel, 6 for the one installed beside it.
        folder: where its kernelspec may be written, and its working directory.
    """

    def __init__(self, generation: int, folder: Path) -> None:
        self.generation = generation
        self.iopub: list[Message] = []
        self.comms: dict[str, dict[str, Any]] = {}
        self._executions: dict[str, Execution] = {}
        self._replies: dict[str, Message] = {}
        name = kernelspecs.write(folder / "kernels", generation)
        specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")], ensure_native_kernel=False)
        self._manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
        self._manager.start_kernel(cwd=str(folder))
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and the connection."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        self._client.context.destroy(linger=0)

    # Cells

    def execute(self, code: str, timeout: float = 60.0, *, allow_stdin: bool = True, cell: str | None = None) -> Result:
        """Run a cell to its end.

        Args:
            code: the cell's source.
            timeout: seconds until the test fails.
            allow_stdin: True as JupyterLab sends it, False as nbclient and nbconvert do.
            cell: the cell's id, as JupyterLab, Notebook 7 and VS Code send it.
        """
        return self.execute_async(code, allow_stdin=allow_stdin, cell=cell).wait(timeout)

    def execute_async(self, code: str, *, allow_stdin: bool = True, cell: str | None = None) -> Execution:
        """Send a cell and return at once, as "Run All" does with every cell."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        return self._send_execute(code, content, {} if cell is None else {"cellId": cell})

    def value(self, expression: str, timeout: float = 60.0) -> Any:
        """The value of a Python expression in the kernel; it must be expressible as JSON.

        It is a cell to the kernel: behind a busy or gated kernel it waits.
        """
        content = {
            "code": "",
            "silent": False,
            "store_history": False,
            "user_expressions": {"value": f"__import__('json').dumps({expression})"},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        execution = self._send_execute(expression, content)
        self.wait_for(lambda: execution.reply is not None, timeout, f"the value of {expression!r}")
        assert execution.reply is not None
        answer = execution.reply["content"].get("user_expressions", {}).get("value", execution.reply["content"])
        if answer["status"] != "ok":
            raise AssertionError(f"{expression!r} in the kernel: {answer}")
        return json.loads(literal_eval(answer["data"]["text/plain"]))

    def _send_execute(self, code: str, content: Message, metadata: Message | None = None) -> Execution:
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        execution = Execution(self, message["header"]["msg_id"], code)
        self._executions[execution.msg_id] = execution
        self._client.shell_channel.send(message)
        return execution

    def interrupt(self) -> None:
        """Press the interrupt button: what the server does, a SIGINT to the kernel."""
        self._manager.interrupt_kernel()

    # Widgets

    def send_comm(self, comm_id: str, data: Message, *, subshell: str | None = None) -> str:
        """Send a comm message as the browser would; a widget's `model_id` is its comm's id. Returns the message's id.

        Args:
            comm_id: the widget's `model_id`.
            data: `{"method": "update", "state": {...}}` or `{"method": "custom", "content": {...}}`.
            subshell: the id of a subshell, where JupyterLab >= 4.4 sends it if the kernel is ipykernel >= 7; None for
                the main shell.
        """
        message = self._client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self._client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def set_traits(self, model_id: str, *, subshell: str | None = None, **traits: Any) -> str:
        """What the browser sends when a user changes a widget's value."""
        return self.send_comm(model_id, {"method": "update", "state": traits, "buffer_paths": []}, subshell=subshell)

    def wait_handled(self, message_id: str) -> None:
        """Wait until the kernel is idle again after a comm message: an interrupt before that would break into it."""
        self.wait_for(
            lambda: any(
                message["parent_header"].get("msg_id") == message_id
                and message["content"].get("execution_state") == "idle"
                for message in self.iopub
            ),
            what="the kernel to be idle after a message",
        )

    def click(self, model_id: str, *, subshell: str | None = None) -> str:
        """What the browser sends when a user clicks an ipywidgets Button."""
        return self.send_custom(model_id, {"event": "click"}, subshell=subshell)

    def send_custom(self, model_id: str, content: Message, *, subshell: str | None = None) -> str:
        """What the browser sends for a widget's own events, such as bqplot's `{"event": "drag", ...}`."""
        return self.send_comm(model_id, {"method": "custom", "content": content}, subshell=subshell)

    def create_subshell(self, timeout: float = 10.0) -> str | None:
        """A new subshell's id, or None where the kernel knows none (ipykernel 6)."""
        message = self._client.session.msg("create_subshell_request", {})
        msg_id = message["header"]["msg_id"]
        if self.generation < 7:
            return None
        self._client.control_channel.send(message)
        self.wait_for(lambda: msg_id in self._replies, timeout, "a subshell")
        return str(self._replies[msg_id]["content"]["subshell_id"])

    def delete_subshell(self, subshell: str, timeout: float = 10.0) -> None:
        """What JupyterLab asks for when a page is gone."""
        message = self._client.session.msg("delete_subshell_request", {"subshell_id": subshell})
        self._client.control_channel.send(message)
        self.wait_for(lambda: message["header"]["msg_id"] in self._replies, timeout, "the end of a subshell")

    # Messages

    def wait_for(self, condition: Callable[[], object], timeout: float = 60.0, what: str = "a condition") -> None:
        """Take messages until `condition()` is true.

        Raises:
            KernelTimeoutError: when it is still false after `timeout` seconds.
        """
        deadline = monotonic() + timeout
        self.pump()
        while not condition():
            remaining = deadline - monotonic()
            if remaining <= 0:
                last = [f"{m['header']['msg_type']}: {str(m['content'])[:200]}" for m in self.iopub[-12:]]
                raise KernelTimeoutError(
                    f"Waited {timeout:g} s for {what}; the last IOPub messages:\n" + "\n".join(last)
                )
            self.pump(min(remaining, 0.1))

    def wait_for_stdout(self, text: str, timeout: float = 60.0) -> None:
        """Wait until some cell, or a thread, has printed `text`."""
        self.wait_for(lambda: text in self.stdout, timeout, f"{text!r} on standard output")

    @property
    def stdout(self) -> str:
        """All standard output so far, whoever printed it."""
        return "".join(
            message["content"]["text"]
            for message in self.iopub
            if message["header"]["msg_type"] == "stream" and message["content"]["name"] == "stdout"
        )

    def pump(self, timeout: float = 0.0) -> None:
        """Take every message that has arrived; with nothing there, wait up to `timeout` seconds for one."""
        channels = [self._client.iopub_channel, self._client.shell_channel, self._client.control_channel]
        poller = zmq.Poller()
        for channel in channels:
            poller.register(channel.socket, zmq.POLLIN)
        ready = dict(poller.poll(timeout * 1000))
        while ready:
            for channel in channels:
                if channel.socket in ready:
                    self._take(channel.get_msg(timeout=1), is_iopub=channel is channels[0])
            ready = dict(poller.poll(0))

    def _take(self, message: Message, *, is_iopub: bool) -> None:
        parent = message["parent_header"].get("msg_id", "")
        execution = self._executions.get(parent)
        if is_iopub:
            self.iopub.append(message)
            self._mirror(message)
            if execution is not None:
                execution.messages.append(message)
        else:
            self._replies[parent] = message
            if execution is not None:
                execution.reply = message

    def _mirror(self, message: Message) -> None:
        """Keep in `comms` what a browser would know of every widget: its last state."""
        content, kind = message["content"], message["header"]["msg_type"]
        if kind == "comm_open":
            self.comms[content["comm_id"]] = dict(content["data"].get("state", {}))
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.comms.setdefault(content["comm_id"], {}).update(content["data"]["state"])
        elif kind == "comm_close":
            self.comms.pop(content["comm_id"], None)
