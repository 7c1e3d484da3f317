"""How long it takes until lrwidget is there: each time in a fresh process, where torch has been imported already."""

import json
import os
import subprocess
import sys

from benchmarks.measure import Spread
from benchmarks.report import Row

PREPARE = """
import json, time
import torch
torch.set_num_threads(1)
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
from benchmarks import loops
"""
TIMED = """
started = time.perf_counter()
{what}
print(json.dumps(time.perf_counter() - started))
"""
IMPORT = "import lrwidget"
LOAD = "shell.run_line_magic('load_ext', 'lrwidget')"
WIDGET = """
training = loops.mlp()
started = time.perf_counter()
import lrwidget
widget = lrwidget.attach(training.model, training.optimizer, training.loader, loops.loss_fn)
widget._ipython_display_()
"""
GOALS = {
    "import lrwidget, torch imported": (IMPORT, 30.0),
    "%load_ext lrwidget, torch and IPython imported": (LOAD, 50.0),
    "the first widget, made and displayed, without a browser": (WIDGET, 1000.0),
}


def milliseconds(what: str) -> float:
    """Of one statement in a fresh process."""
    program = PREPARE + TIMED.format(what=what)
    # With compiled modules kept, as an installation has them.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1])) * 1e3


def rows(*, quick: bool) -> list[Row]:
    """For the report; the three in turns."""
    taken: dict[str, list[float]] = {name: [] for name in GOALS}
    for what, _goal in GOALS.values():
        milliseconds(what)  # the first compiles
    for _ in range(2 if quick else 8):
        for name, (what, _goal) in GOALS.items():
            taken[name].append(milliseconds(what))
    return [
        Row(name, min(times), GOALS[name][1], "{:.0f} ms", detail=f"{Spread.of(times).told('.0f')} ms")
        for name, times in taken.items()
    ]
