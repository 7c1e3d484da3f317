"""The gate's handlers alone; what it does to real cells is in tests/kernel/test_path.py."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from lrwidget.session.jobs import Job
from lrwidget.ui.notebook.gate import Gate


def kernels_own(*_: Any) -> str:
    return "executed"


def a_kernel() -> Any:
    """All that the gate of a kernel without waiting cells looks at."""
    return SimpleNamespace(
        get_parent=lambda channel: {}, shell_handlers={"execute_request": kernels_own, "comm_msg": print}
    )


def a_job() -> Job[None]:
    return Job("sweep", lambda job: None)


def test_the_gate_is_there_while_a_job_runs_and_no_longer() -> None:
    kernel = a_kernel()
    gate, job = Gate(kernel), a_job()
    assert kernel.shell_handlers["execute_request"] is kernels_own
    gate.close_behind(job)
    assert kernel.shell_handlers["execute_request"] == gate._wait_then_execute
    job.execute()
    assert kernel.shell_handlers == {"execute_request": kernels_own, "comm_msg": print}


def test_behind_a_job_that_never_began_the_gate_opens_as_well() -> None:
    kernel = a_kernel()
    job = a_job()
    Gate(kernel).close_behind(job)
    job.abandon(RuntimeError("no thread"))
    assert kernel.shell_handlers["execute_request"] is kernels_own


def test_a_job_that_is_over_before_the_gate_closes_leaves_it_open() -> None:
    kernel = a_kernel()
    job = a_job()
    job.execute()
    Gate(kernel).close_behind(job)
    assert kernel.shell_handlers["execute_request"] is kernels_own


def test_the_end_of_one_job_does_not_open_the_gate_behind_the_next() -> None:
    kernel = a_kernel()
    gate, first, second = Gate(kernel), a_job(), a_job()
    gate.close_behind(first)
    gate.close_behind(second)
    first.execute()
    assert kernel.shell_handlers["execute_request"] == gate._wait_then_execute
    second.execute()
    assert kernel.shell_handlers["execute_request"] is kernels_own


def test_a_job_that_starts_while_another_ends_always_has_the_gate_behind_it() -> None:
    """One ends on its thread at the very moment at which the kernel's own thread starts the next."""
    kernel = a_kernel()
    gate = Gate(kernel)
    for _ in range(300):
        first, second = a_job(), a_job()
        gate.close_behind(first)
        together = threading.Barrier(2)

        def end(job: Job[None] = first, together: threading.Barrier = together) -> None:
            together.wait()
            job.execute()

        ending = threading.Thread(target=end)
        ending.start()
        together.wait()
        gate.close_behind(second)
        ending.join(10)
        assert kernel.shell_handlers["execute_request"] == gate._wait_then_execute
        second.execute()
        assert kernel.shell_handlers["execute_request"] is kernels_own


def test_an_interrupt_just_before_or_after_the_wait_ends_the_cell_and_does_not_lose_it() -> None:
    kernel = a_kernel()
    executed: list[dict[str, Any]] = []
    kernel.shell_handlers["execute_request"] = lambda stream, ident, parent: executed.append(parent)
    gate, job = Gate(kernel), a_job()
    gate.close_behind(job)
    moments = iter(["before", "after"])

    async def wait(job: Job[None], *_: Any) -> bool:
        if next(moments) == "after":
            job.execute()
        raise KeyboardInterrupt

    gate._wait = wait  # type: ignore[method-assign]
    asyncio.run(gate._wait_then_execute(None, b"", {"content": {"code": "model(x)"}}))
    (request,) = executed
    assert "raise KeyboardInterrupt" in request["content"]["code"]
    assert job.interrupted
    assert kernel.shell_handlers["execute_request"] is not gate._wait_then_execute


def test_a_handler_that_somebody_has_put_around_the_gate_is_left_where_it_is() -> None:
    kernel = a_kernel()
    gate, job = Gate(kernel), a_job()
    gate.close_behind(job)
    gates = kernel.shell_handlers["execute_request"]

    def around(*arguments: Any) -> Any:
        return gates(*arguments)

    kernel.shell_handlers["execute_request"] = around
    job.execute()
    assert kernel.shell_handlers["execute_request"] is around
    coroutine = around(None, None, {})
    try:
        coroutine.send(None)
    except StopIteration:
        pass  # it has handed the request on to the kernel's own handler without waiting
    kernel.shell_handlers["execute_request"] = gates
    gate.open()
    assert kernel.shell_handlers["execute_request"] is kernels_own


def at(seconds: float) -> dict[str, Any]:
    """An execute request sent so many seconds after midnight by a front end's clock, which no kernel shares."""
    date = datetime(2001, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return {"header": {"msg_type": "execute_request", "date": date}, "content": {"code": "model(x)"}}


@pytest.mark.parametrize("running", [True, False])
def test_a_failure_is_told_in_the_cell_that_was_sent_before_it_was_seen_and_in_no_other(running: bool) -> None:
    kernel = a_kernel()
    executed: list[str] = []
    kernel.shell_handlers["execute_request"] = lambda stream, ident, parent: executed.append(parent["content"]["code"])
    kernel.get_parent = lambda channel: at(0)

    def fail(job: Job[None]) -> None:
        job.told_at = time.monotonic() + 5  # as if it had run for five seconds
        raise ZeroDivisionError

    def cell(seconds: float) -> str:
        gate, job = Gate(kernel), Job("sweep", fail)
        gate.close_behind(job)
        if not running:
            job.execute()

        async def wait(job: Job[None], *_: Any) -> bool:
            job.execute()
            return False

        gate._wait = wait  # type: ignore[method-assign]
        asyncio.run(gate._wait_then_execute(None, b"", at(seconds)))
        assert gate.job is None
        assert kernel.shell_handlers["execute_request"] != gate._wait_then_execute
        return executed.pop()

    for seconds in 0.001, 4.9:
        told = cell(seconds)
        assert "raise_error" in told
        with pytest.raises(ZeroDivisionError):
            exec(told)
    if not running:  # one that comes while it runs cannot know
        assert cell(6) == "model(x)"
