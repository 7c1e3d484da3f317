"""What a live widget in JupyterLab costs a sweep, and how fast it answers a hand: with a real kernel and a browser."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks import loops
from benchmarks.measure import Spread
from benchmarks.report import Row
from tests.browser.conftest import FLAGS, OFFLINE, Lab, chromium
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.notebook_page import NotebookPage
from tests.browser.server import JupyterServer

ROOT = Path(__file__).parents[1]

SETUP = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
import torch
torch.set_num_threads(1)
import lrwidget
from benchmarks import loops

bare, own = loops.mlp(), loops.mlp()
bare.run(100)
bare_times, sweep_times, picks = [], [], []
options = dict(start_lr=loops.START_LR, end_lr=loops.END_LR, diverge_ratio=None)

def phase_changed(change):
    if change["new"] == "idle":
        sweep_times.append(time.perf_counter() - started)
"""
SHOW = """
w = lrwidget.attach(own.model, own.optimizer, own.loader, loops.loss_fn)
w.state.observe(phase_changed, "phase")
w.state.observe(lambda change: picks.append(time.time() * 1e3), "lrs")
w
"""
BARE = """
while w.sweeps:  # or each would be measured beside all that were kept before it
    w._session.remove_sweep(0)
started = time.perf_counter()
bare.run({steps})
bare_times.append(time.perf_counter() - started)
"""
SWEEP = "started = time.perf_counter()\nw.sweep(num_steps={steps}, **options)"

EVERY_SECOND_LOOK = """
from array import array
from lrwidget.session.pace import Pace

ticks, looks, due = array("d"), array("d"), Pace.due

def due_every_second_time(pace):
    ticks.append(time.perf_counter())
    if not due(pace):
        return False
    looks.append(ticks[-1])
    return len(looks) % 2 == 0

Pace.due = due_every_second_time
"""
WATCHED = """
while w.sweeps:
    w._session.remove_sweep(0)
del ticks[:], looks[:]
w.sweep(num_steps={steps}, **options)
"""
WATCHED_STEPS = 10_000
"""Of each sweep whose looks are compared: ten seconds, and as long as sweeps become."""

LISTEN = """chart => {
    const now = () => performance.timeOrigin + performance.now();
    window.lrwMoves = [];
    window.lrwRedraws = [];
    // On the window and before the drag begins: the drag keeps its events from everybody after it.
    window.addEventListener('mousemove', () => lrwMoves.push(now()), {capture: true});
    new MutationObserver(() => lrwRedraws.push(now())).observe(
        chart, {subtree: true, childList: true, attributes: true, attributeFilter: ['d', 'transform']});
}"""

FRAMES = """() => {
    window.lrwFrames = [];
    const tick = at => { lrwFrames.push(at); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
}"""

PAUSE_S = 0.15
"""Between two moves of the hand, so that each answer can be told from the next: longer than any answer may take."""


@contextmanager
def lab() -> Iterator[Lab]:
    """JupyterLab in a browser, as the tests have it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = JupyterServer(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, OFFLINE])
        opened = Lab(server, browser.new_context())
        try:
            yield opened
        finally:
            opened.close()
            browser.close()
            server.close()


def rows(*, quick: bool) -> list[Row]:
    """For the report."""
    steps, rounds, moves, sweeps = (300, 3, 15, 1) if quick else (1000, 20, 60, 12)
    with lab() as opened:
        cells = [
            SETUP,
            SHOW,
            BARE.format(steps=steps),
            SWEEP.format(steps=steps),
            EVERY_SECOND_LOOK,
            WATCHED.format(steps=WATCHED_STEPS),
        ]
        notebook = opened.open(cells)
        for cell in (0, 1):
            notebook.run_cell(cell)
            notebook.wait_done(cell)
        widget = WidgetPage(notebook, 1)
        bare, live = live_times(notebook, widget, rounds)
        to_kernel, to_preview, frames = drag_delays(notebook, widget, moves)
        costs = update_costs(notebook, widget, sweeps)
    updates = Spread.of(costs)
    ratios = Spread.of([a / b for a, b in zip(live, bare, strict=True)])
    return [
        Row(
            f"sweep of {steps} steps with the widget live in JupyterLab over bare loop, 0.8 ms MLP step",
            min(live) / min(bare),
            1.08,
            detail=f"rounds {ratios.told('.2f')}",
        ),
        Row(
            "a sweep's steps after a look that is shown, over those after looks that are not, turn about, median",
            updates.median,
            1.03,
            detail=f"{updates.told('.3f')}; {len(costs)} shown",
        ),
        _delay("drag: browser event to kernel value, 95th percentile", to_kernel, 50.0, moves),
        _delay("drag: browser event to schedule preview redrawn, 95th percentile", to_preview, 100.0, moves),
        Row(
            "drag: from one frame to the next, median",
            Spread.of(frames).median,
            17.0,
            "{:.1f} ms",
            detail=f"95 of 100 within {sorted(frames)[int(0.95 * len(frames))]:.1f} ms",
        ),
    ]


def live_times(notebook: NotebookPage, widget: WidgetPage, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of the bare loop and of the sweep, in turns."""
    for _ in range(rounds + 1):  # the first is not counted
        for cell in (2, 3):
            notebook.run_cell(cell)
            notebook.wait_done(cell)
            widget.wait_idle()
    return notebook.kernel_value("bare_times")[1:], notebook.kernel_value("sweep_times")[1:]


def update_costs(notebook: NotebookPage, widget: WidgetPage, sweeps: int) -> list[float]:
    """Seconds of a step between a look that is shown and the next one, over those before and after, not shown.

    A machine that others use changes its speed from one second to the next: what is compared is a tenth of one.
    """
    begin, sweep = 4, 5
    notebook.run_cell(begin)
    notebook.wait_done(begin)
    ratios: list[float] = []
    for _ in range(sweeps):
        notebook.run_cell(sweep)
        notebook.wait_done(sweep)
        widget.wait_idle()
        ticks, looks = (np.array(notebook.kernel_value(f"{name}.tolist()")) for name in ("ticks", "looks"))
        lengths = np.diff(looks) / np.diff(np.searchsorted(ticks, looks))
        shown = range(1, len(lengths) - 1, 2)
        ratios += [float(2 * lengths[n] / (lengths[n - 1] + lengths[n + 1])) for n in shown]
    return ratios


def drag_delays(notebook: NotebookPage, widget: WidgetPage, moves: int) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of a dragging hand.

    From each move to the kernel's value, and to the next drawing of the preview, with a pause after every move; and
    from frame to frame while it does not pause.
    """
    marker = widget.markers[0]
    handle = marker.handle
    middle = (loops.START_LR * loops.END_LR) ** 0.5  # with room on both sides
    notebook.kernel_value(f"setattr(w, 'max_lr', {middle})")
    marker.wait_says(middle)
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page, mouse = notebook.page, notebook.page.mouse
    mouse.move(x, y)
    widget.schedule.evaluate(LISTEN)
    mouse.down()
    mouse.move(x - 3, y)
    page.wait_for_timeout(1000)
    page.evaluate("lrwMoves.length = 0")
    began = time.time() * 1e3
    for step in range(1, moves + 1):
        mouse.move(x - 3 - 2 * step, y)
        page.wait_for_timeout(PAUSE_S * 1e3)
    moved, redrawn = page.evaluate("[lrwMoves, lrwRedraws]")
    page.evaluate(FRAMES)
    for step in range(20 * moves):
        mouse.move(x - 50 + step % 100, y)
    frames = page.evaluate("lrwFrames")
    mouse.up()
    picked = [at for at in notebook.kernel_value("picks") if at > began]
    return answers(moved, picked), answers(moved, redrawn), [b - a for a, b in pairwise(frames)]


def answers(asked: Sequence[float], answered: Sequence[float]) -> list[float]:
    """How long after each question, and before the next one, the first answer came; questions without are left out."""
    spans = pairwise([*asked, asked[-1] + PAUSE_S * 1e3])
    found = [(start, next((at for at in answered if start <= at < end), None)) for start, end in spans]
    return [at - start for start, at in found if at is not None]


def _delay(what: str, delays: list[float], goal: float, moves: int) -> Row:
    ordered = sorted(delays) or [float("inf")]
    late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    detail = f"{Spread.of(ordered).told('.0f')} ms; {len(delays)} of {moves} moves answered"
    return Row(what, late, goal, "{:.0f} ms", detail=detail)
