# ruff: noqa: T201 - what is printed is what it is for
"""How much memory a sweep needs beyond the training that it does: each finder in a process of its own.

`python -m benchmarks.memory NAME LAYERS` measures one of them and prints a number.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Row

STEPS = 3


def peak_over_bytes(name: str, layers: int) -> float:
    """The peak of a sweep above that of the bare loop, over the bytes that a step can change."""
    command = [sys.executable, "-m", "benchmarks.memory", name, str(layers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def rows(names: list[str], *, quick: bool) -> list[Row]:
    """For the report."""
    found = []
    for name in ["lrwidget", *names]:
        value = peak_over_bytes(name, 2 if quick else 12)
        limit = 1.05 if name == "lrwidget" else None
        found.append(Row(f"peak extra memory of a sweep over the bytes that can change: {name}", value, limit))
    return found


def _measure(name: str, layers: int) -> float:
    import torch

    from benchmarks import finding
    from benchmarks.giving_back import n_bytes
    from benchmarks.loops import wide

    torch.set_num_threads(1)
    training = wide(layers)
    find: finding.Finder = finding.ours
    if name != "lrwidget":
        from benchmarks.peers import FINDERS

        find = FINDERS[name]

    def bare() -> None:
        training.run(STEPS)
        training.optimizer.zero_grad()

    bare()
    without = _peak_of(bare)
    return (_peak_of(lambda: find(training, STEPS)) - without) / n_bytes(training)


def _peak_of(run: Callable[[], object]) -> int:
    """The most resident memory while it ran, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    run()
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


if __name__ == "__main__":
    print(_measure(sys.argv[1], int(sys.argv[2])))
