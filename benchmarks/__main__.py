# ruff: noqa: T201 - what is printed is what it is for
"""Everything, one after the other: `python -m benchmarks [--quick]`."""

import sys
from pathlib import Path

import torch
from fastai.callback.schedule import valley

from benchmarks import finding, giving_back, gpu, long, memory, rules, screen, startup
from benchmarks.peers import BORROWERS, FINDERS
from benchmarks.report import Section, machine, table, write

HERE = Path(__file__).parent

HEAD = """# What lrwidget costs

Written by `make bench`; `README.md` beside this says how it is measured.

{machine}
"Spread" is least – median – most. Of several times the shortest counts, because other work on a machine only adds to
it. Sweeps and fits are compared by the time that the processor worked for them, the rest by the clock.
"""


def main() -> None:
    """Measure, print, and write the report; a quick one is not worth keeping beside a whole one."""
    quick = "--quick" in sys.argv
    torch.set_num_threads(1)
    target = HERE / "RESULTS.md" if not quick else HERE.parent / "build" / "quick-RESULTS.md"
    sections = []
    for title, words, measure in (
        (
            "Sweep and fit",
            "100 steps, borrowing and giving back included, over the same steps in a bare loop. Three of the others "
            "write a file and read it back, and wait for the disk by the clock only. lrwidget leaves out what torch "
            "does around a step for its profiler, about 40 µs, for which the bare loop and the others pay.",
            lambda: finding.rows(FINDERS, quick=quick),
        ),
        (
            "Taking and giving back",
            "Against what one would write by hand: a `clone` of every tensor and a `copy_` back.",
            lambda: giving_back.rows(BORROWERS, quick=quick),
        ),
        (
            "Memory",
            "Beyond the peak of the bare loop, over the bytes of weights, buffers and optimizer state; those that are "
            "below 1 write a file instead.",
            lambda: memory.rows([*FINDERS], quick=quick),
        ),
        (
            "Long sweeps and many",
            "Nothing grows but the curve. A step's cost is that of the cheapest 50 steps.",
            lambda: long.rows(quick=quick),
        ),
        ("Starting up", "In fresh processes, where torch has been imported.", lambda: startup.rows(quick=quick)),
        ("Suggestions", "From the points to the answer.", lambda: rules.rows(valley, quick=quick)),
        ("The screen", "JupyterLab and Chromium on the same machine.", lambda: screen.rows(quick=quick)),
    ):
        print(f"{title} ...", flush=True)
        sections.append(Section(title, words, measure()))
        print(table(sections[-1].rows), flush=True)
        write(target, sections, head=HEAD.format(machine=machine()))
    print(f"Written to {target.relative_to(HERE.parent)}.")
    if torch.cuda.is_available() and not quick:
        gpu.main()


if __name__ == "__main__":
    main()
