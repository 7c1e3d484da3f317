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
from array import array
import torch
torch.set_num_threads(1)
import lrwidget
from benchmarks import loops
from lrwidget.session.pace import Pace

bare, own = loops.mlp(), loops.mlp()
bare.run(100)
picks, due = [], Pace.due
options = dict(start_lr=loops.START_LR, end_lr=loops.END_LR, diverge_ratio=None)
"""
SHOW = """
w = lrwidget.attach(own.model, own.optimizer, own.loader, loops.loss_fn)
w.state.observe(lambda change: picks.append(time.time() * 1e3), "lrs")
w
"""
SWEEP = """
while w.sweeps:  # or each would be measured beside all that were kept before it
    w._session.remove_sweep(0)
del {records}
w.sweep(num_steps={steps}, **options)
"""

TURNS_WITH_BARE = """
live, alone = array("d"), array("d")  # seconds a step, turn by turn
steps = looks = 0
began = time.perf_counter()

def due_in_turns(pace):
    # Four looks of the sweep, then the bare loop: first until the page has drawn the last look, then by the clock.
    global steps, looks, began
    steps += 1
    if not due(pace):
        return False
    looks += 1
    if looks % 5:
        return True
    live.append((time.perf_counter() - began) / steps)
    bare.run(100)
    began = time.perf_counter()
    bare.run(200)
    alone.append((time.perf_counter() - began) / 200)
    steps, began = 0, time.perf_counter()
    return False

Pace.due = due_in_turns
"""

EVERY_SECOND_LOOK = """
ticks, looks = array("d"), array("d")

def due_every_second_time(pace):
    ticks.append(time.perf_counter())
    if not due(pace):
        return False
    looks.append(ticks[-1])
    return len(looks) % 2 == 0

Pace.due = due_every_second_time
"""
STEPS = 10_000
"""Of a sweep that is watched: ten seconds, and as long as sweeps become."""

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
    steps, moves, sweeps = (2000, 15, 1) if quick else (STEPS, 60, 12)
    with lab() as opened:
        cells = [
            SETUP,
            SHOW,
            TURNS_WITH_BARE,
            SWEEP.format(steps=steps, records="live[:], alone[:]"),
            EVERY_SECOND_LOOK,
            SWEEP.format(steps=steps, records="ticks[:], looks[:]"),
        ]
        notebook = opened.open(cells)
        for cell in (0, 1):
            notebook.run_cell(cell)
            notebook.wait_done(cell)
        widget = WidgetPage(notebook, 1)
        live = live_costs(notebook, widget, (sweeps + 1) // 2)
        to_kernel, to_preview, frames = drag_delays(notebook, widget, moves)
        costs = update_costs(notebook, widget, sweeps)
    updates = Spread.of(costs)
    ratios = Spread.of(live)
    return [
        Row(
            "steps of a sweep with the widget live in JupyterLab over bare loop, 0.8 ms MLP step, turn about, median",
            ratios.median,
            1.08,
            detail=f"{ratios.told('.2f')}; {len(live)} turns",
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


def watched(
    notebook: NotebookPage, widget: WidgetPage, sweeps: int, cells: tuple[int, int], records: tuple[str, str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Run the first cell once, and the second, a sweep, over and over: what each sweep has recorded."""
    begin, sweep = cells
    notebook.run_cell(begin)
    notebook.wait_done(begin)
    for _ in range(sweeps):
        notebook.run_cell(sweep)
        notebook.wait_done(sweep)
        widget.wait_idle()
        one, other = (np.array(notebook.kernel_value(f"{name}.tolist()")) for name in records)
        yield one, other


def live_costs(notebook: NotebookPage, widget: WidgetPage, sweeps: int) -> list[float]:
    """Seconds of a step in four looks of a live sweep, over those of the bare loop before and after.

    A machine that others use changes its speed from one second to the next: what is compared lies less than one apart.
    """
    ratios: list[float] = []
    for live, alone in watched(notebook, widget, sweeps, (2, 3), ("live", "alone")):
        ratios += (2 * live[1:] / (alone[:-1] + alone[1:])).tolist()
    return ratios


def update_costs(notebook: NotebookPage, widget: WidgetPage, sweeps: int) -> list[float]:
    """Seconds of a step between a look that is shown and the next one, over those before and after, not shown."""
    ratios: list[float] = []
    for ticks, looks in watched(notebook, widget, sweeps, (4, 5), ("ticks", "looks")):
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
