# ruff: noqa: T201 - what is printed is what it is for
"""A sweep of 10 000 steps, and 1 000 sweeps in one process: nothing may grow but the curve.

`python -m benchmarks.long steps N` and `... sweeps N` measure in a process of their own and print JSON.
"""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.report import Row

CHUNK = 50
"""Steps whose times are added up before they are compared: a single one is at the mercy of the clock."""


def rows(*, quick: bool) -> list[Row]:
    """For the report."""
    steps, sweeps = (2_000, 100) if quick else (10_000, 1_000)
    one = _in_a_process("steps", steps)
    many = _in_a_process("sweeps", sweeps)
    return [
        Row(f"{steps} steps: cost of a step in the last fifth over the first fifth, headless", one["headless"], 1.02),
        Row(
            f"{steps} steps: the same, with a widget that is updated and no browser",
            one["shown"],
            1.02,
            detail=f"bare loop {one['bare']:.3f}",
        ),
        Row(f"{steps} steps: resident memory gained after the first fifth", one["grown"], 1.0, "{:.2f} MB"),
        Row(
            f"{steps} steps: bytes per update of the screen, at most",
            one["update"] / 1e3,
            30.0,
            "{:.1f} kB",
            detail=f"median {one['median_update'] / 1e3:.1f} kB, {one['updates']} updates",
        ),
        Row(
            f"{sweeps} sweeps: resident memory gained after the first fifth",
            many["grown"],
            1.0,
            "{:.2f} MB",
        ),
        *(
            Row(f"{sweeps} sweeps: {what} gained after the first tenth", many[what], 0, "{:.0f}")
            for what in ("Python objects", "threads", "open files", "files in the folder", "comms")
        ),
    ]


def _in_a_process(what: str, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.long", what, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def last_over_first(times: Sequence[float]) -> float:
    """The cheapest stretch of steps in the last fifth over the cheapest in the first."""
    chunks = [times[i + CHUNK] - times[i] for i in range(0, len(times) - CHUNK, CHUNK)]
    fifth = max(1, len(chunks) // 5)
    return min(chunks[-fifth:]) / min(chunks[:fifth])


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_steps(count: int) -> dict[str, Any]:
    """One long sweep headless, one with a widget, and the bare loop for comparison."""
    import lrwidget
    from benchmarks import loops

    times = array("d")
    memory: list[int] = []

    def loss_fn(output: Any, target: Any) -> Any:
        times.append(time.perf_counter())
        if len(times) % (count // 10) == 0:
            memory.append(resident())
        return loops.loss_fn(output, target)

    def watched(sweep: Callable[[], object]) -> float:
        del times[:]
        memory.clear()
        sweep()
        return last_over_first(times)

    training = loops.mlp()
    how: dict[str, Any] = {
        "start_lr": loops.START_LR,
        "end_lr": loops.END_LR,
        "num_steps": count,
        "diverge_ratio": None,
    }
    parts = training.model, training.optimizer, training.loader, loss_fn
    headless = watched(lambda: lrwidget.range_test(*parts, **how))
    grown = memory[-1] - memory[1]
    updates = _count_updates()
    widget = lrwidget.attach(*parts)
    shown = watched(lambda: widget.sweep(**how))
    sizes = sorted(updates.values())
    widget.close()

    bare = loops.mlp()
    bare_times: list[float] = []
    for _ in range(count // CHUNK):
        bare_times.append(time.perf_counter())
        bare.run(CHUNK)
    fifth = len(bare_times) // 5
    steps = [b - a for a, b in pairwise(bare_times)]
    return {
        "headless": headless,
        "shown": shown,
        "bare": min(steps[-fifth:]) / min(steps[:fifth]),
        "grown": grown / 1e6,
        "update": sizes[-1],
        "median_update": sizes[len(sizes) // 2],
        "updates": len(sizes),
    }


def _count_updates() -> dict[int, int]:
    """Bytes that widgets send from now on, by the tenth of a second that they are sent in."""
    from comm import DummyComm
    from comm.base_comm import BaseComm

    sent: dict[int, int] = {}

    def publish(self: BaseComm, msg_type: str, data: Any = None, *_: Any, buffers: Any = None, **__: Any) -> None:
        size = len(json.dumps(data, default=str)) + sum(memoryview(buffer).nbytes for buffer in buffers or ())
        if msg_type == "comm_msg":
            now = int(time.perf_counter() * 12)
            sent[now] = sent.get(now, 0) + size

    DummyComm.publish_msg = publish  # type: ignore[method-assign]
    return sent


def measure_sweeps(count: int) -> dict[str, Any]:
    """Many short sweeps, every tenth of them with a widget that is made, swept and closed."""
    from ipywidgets.widgets.widget import _instances

    import lrwidget
    from benchmarks import loops

    training = loops.mlp()
    parts = training.model, training.optimizer, training.loader, loops.loss_fn

    def once(number: int) -> None:
        lrwidget.range_test(*parts, num_steps=10)
        if number % 10 == 0:
            widget = lrwidget.attach(*parts)
            widget.sweep(num_steps=10)
            widget.close()

    def counted() -> dict[str, float]:
        gc.collect()
        return {
            "Python objects": len(gc.get_objects()),
            "threads": threading.active_count(),
            "open files": len(list(Path("/proc/self/fd").iterdir())),
            "files in the folder": len(list(Path().iterdir())),
            "comms": len(_instances),
        }

    tenth = count // 10
    memory = []
    for number in range(count):
        once(number)
        if (number + 1) % tenth == 0:
            # Widgets are cyclic, and Python collects those when it likes: without this the memory of the first few
            # hundred sweeps goes up by what waits for that, and then stays.
            gc.collect()
            memory.append(resident())
        if number + 1 == tenth:
            before = counted()
    grown = memory[-1] - memory[1]  # to list all objects has taken memory as well, before the second tenth
    after = counted()
    return {"grown": grown / 1e6, **{name: after[name] - before[name] for name in before}}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    measure = {"steps": measure_steps, "sweeps": measure_sweeps}[sys.argv[1]]
    print(json.dumps(measure(int(sys.argv[2]))))
