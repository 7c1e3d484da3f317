"""What was measured against what it should be, as a table for people."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

PACKAGES = (
    *("torch", "numpy", "ipywidgets", "bqplot", "ipykernel", "jupyterlab"),
    *("fastai", "torch-lr-finder", "lightning", "pytorch-ignite"),
)

MODULES = {"torch-lr-finder": "torch_lr_finder", "pytorch-ignite": "ignite"}
"""Of packages that are imported by another name."""


@dataclass(frozen=True)
class Row:
    """One thing measured.

    Attributes:
        what: what it is.
        value: what it came to.
        limit: the goal; None for a row that is there to be compared with.
        form: how numbers are written, such as "{:.2f} ×".
        at_least: the value is to be at least the limit, instead of at most.
        detail: how it spread, or where it comes from.
    """

    what: str
    value: float
    limit: float | None = None
    form: str = "{:.3f}"
    at_least: bool = False
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None without one."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        if self.limit is None:
            return self.what, "", self.form.format(self.value), "", self.detail
        goal = f"{'≥' if self.at_least else '≤'} {self.form.format(self.limit)}"
        verdict = "met" if self.met else f"**missed by {self.form.format(abs(self.value - self.limit))}**"
        return self.what, goal, self.form.format(self.value), verdict, self.detail


def table(rows: Iterable[Row]) -> str:
    """In Markdown."""
    lines = [("what", "goal", "measured", "", "spread"), ("---",) * 5, *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


@dataclass(frozen=True)
class Section:
    """A part of the page: a title, a sentence, and rows."""

    title: str
    words: str
    rows: Sequence[Row]


def write(path: Path, sections: Sequence[Section], *, head: str) -> None:
    """A page of sections."""
    parts = [head, *(f"## {s.title}\n\n{s.words}\n\n{table(s.rows)}" for s in sections)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts))


def machine() -> str:
    """When and on what, in one paragraph."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES if find_spec(MODULES.get(name, name)))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, on a machine with {_cores()} of an {_processor()}, "
        f"Python {platform.python_version()}, one thread of torch. {versions}.\n"
    )


def _cores() -> str:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{count} cores"


def _processor() -> str:
    if torch.cuda.is_available():
        return f"{_cpu()} and a {torch.cuda.get_device_name()}"
    return _cpu()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
