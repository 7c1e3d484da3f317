"""The widget in a notebook, by hand: what README and guide say that a user can do, done in a real browser."""

import base64
import io
import itertools
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from matplotlib.image import imread
from playwright.sync_api import BrowserContext, Locator, expect

from lrwidget.engine.words import format_lr
from tests.browser.conftest import App, Lab
from tests.browser.lrwidget_page import TOLERANCE_PX, Marker, WidgetPage, centre
from tests.browser.notebook_page import NotebookPage
from tests.browser.waiting import eventually

# Digits, a small network in three groups, and a loss that takes as long as a test tells it to.
SETUP = """
%load_ext lrwidget
import hashlib, time
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(digits.target)
dataset, loader = torch.utils.data.TensorDataset, torch.utils.data.DataLoader
train_dl = loader(dataset(x[:1400], y[:1400]), batch_size=64, shuffle=True)
valid_dl = loader(dataset(x[1400:], y[1400:]), batch_size=256)

parts = {
    "stem": nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    "body": nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
    "head": nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 10)),
}
model = nn.Sequential(*parts.values())
optimizer = torch.optim.AdamW(
    {"params": part.parameters(), "lr": lr, "name": name} for (name, part), lr in zip(parts.items(), (1e-4, 1e-3, 1e-2))
)

pause = 0.0
def loss_fn(output, target):
    time.sleep(pause)
    return nn.functional.cross_entropy(output, target)

def digest():
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None)]
    words = [optimizer.state_dict(), [module.training for module in model.modules()]]
    content = b"".join(tensor.numpy().tobytes() for tensor in [*tensors, torch.get_rng_state()])
    return hashlib.sha256(content + repr(words).encode()).hexdigest()
"""
# A sweep that nobody sees the end of: what has to happen while it runs has time, however busy the machine is.
LONG = "pause = 0.02\nw = %lrfind model optimizer train_dl loss_fn --start-lr 1e-5 --num-steps 3000"
SHORT = "w = %lrfind model optimizer train_dl loss_fn"


def start(lab: Lab, *cells: str, app: App = "lab", **how: Any) -> NotebookPage:
    """A notebook with the setup done and `cells` behind it, from cell 1 on."""
    notebook = lab.open([SETUP, *cells], app=app, **how)
    notebook.run_cell(0)
    notebook.wait_done(0)
    assert not notebook.output(0)
    return notebook


def drag(widget: WidgetPage, marker: Marker, lr: float, *, still: bool = True) -> None:
    """Drag a marker; while the pointer still holds it, its line is under it, and the number field says where it is.

    Where a hand stops is told by a trait. In ipykernel 6 traits wait behind cells that wait: there the hand must not be
    `still`.
    """
    before = marker.x
    with widget.dragging(marker, lr):
        assert marker.x == pytest.approx(widget.axis.px(lr), abs=TOLERANCE_PX)
        assert marker.line_x == pytest.approx(marker.x, abs=TOLERANCE_PX)
        assert abs(marker.x - before) > 20
        if not still:
            widget.tremble(marker, lr)
        marker.wait_says(lr)
    marker.wait_says(lr)
    expect(marker.label).to_contain_text(marker.field.input_value())
    assert marker.line_x == pytest.approx(marker.x, abs=TOLERANCE_PX)


def near(value: float, lr: float, widget: WidgetPage) -> bool:
    """Whether a value of the kernel is where the pointer was, to a pixel of the axis."""
    return abs(math.log10(value / lr)) < TOLERANCE_PX * widget.axis.pixel


def grown(places: list[float]) -> int:
    """How often something went on to the right; it must never have gone back."""
    steps = [after - before for before, after in itertools.pairwise(places)]
    assert min(steps, default=0) > -TOLERANCE_PX, places
    return sum(step > 0 for step in steps)


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_curve_grows_markers_drag_stop_stops_and_the_picked_lrs_train(lab: Lab, app: App) -> None:
    notebook = start(lab, LONG, "pause = 0.05\nw.fine_tune(epochs=2)", app=app)
    before = notebook.kernel_value("digest()")
    notebook.run_cell(1)
    widget = WidgetPage(notebook, 1)
    widget.wait_running()
    widget.watch()
    stem, body, head = widget.markers
    assert [marker.name for marker in widget.markers] == ["stem", "body", "head"]

    drag(widget, head, 2e-3)
    expect(widget.progress).to_be_visible()
    notebook.page.wait_for_function("new Set(lrwFilm.map(frame => frame.sweep)).size > 5")
    expect(widget.progress).to_contain_text("left")
    notebook.screenshot(f"widget-sweeping-{app}")
    top = widget.chart_top
    widget.press("Stop")
    widget.wait_idle()
    assert widget.chart_top == top, "the chart moved under the hand"
    widths = "lines => lines.map(line => parseFloat(getComputedStyle(line).strokeWidth))"
    _, raw, smoothed, *_ = widget.chart.locator(".curve path.line").evaluate_all(widths)
    assert raw < smoothed / 2, "the raw losses are as bold as the smoothed ones"

    film = widget.film()
    assert film[0].step is not None, "the widget came when the sweep was over"
    assert grown([frame.sweep for frame in film if frame.step is not None]) >= 4
    assert notebook.kernel_value("digest()") == before
    assert notebook.kernel_value("w.curve.stop_reason") == "stopped"
    assert notebook.kernel_value("len(w.curve)") < 3000
    assert near(notebook.kernel_value("w.max_lr"), 2e-3, widget)

    drag(widget, stem, 2e-5)
    lrs = notebook.kernel_value("w.lrs")
    assert near(lrs[0], 2e-5, widget)
    assert near(lrs[2], 2e-3, widget)
    assert lrs[1] == pytest.approx(math.sqrt(lrs[0] * lrs[2])), "the inner one follows the outer ones"
    body.expect_lr(lrs[1])

    run = WidgetPage(notebook, 2)
    run.watch()
    notebook.run_cell(2)
    notebook.wait_output(2, "Trained all 44 steps")
    film = run.film()
    assert grown([frame.train for frame in film]) >= 4
    assert {frame.valid for frame in film} >= {1, 2}
    assert any("left" in frame.words for frame in film)
    assert notebook.kernel_value("w.history.lrs.tolist() == w.plan(epochs=2).lr_at(range(44)).tolist()")
    assert notebook.kernel_value("w.plan().max_lrs") == lrs == notebook.kernel_value("w.lrs")
    notebook.screenshot(f"widget-trained-{app}")
    assert not notebook.errors


class TestAfterASweep:
    """Each begins with the same pick."""

    @pytest.fixture(scope="class")
    @classmethod
    def swept(cls, shared_lab: Lab) -> NotebookPage:
        notebook = start(shared_lab, SHORT)
        notebook.run_cell(1)
        notebook.wait_output(1, "suggested")
        return notebook

    @pytest.fixture
    def widget(self, swept: NotebookPage) -> Iterator[WidgetPage]:
        widget = WidgetPage(swept, 1)
        swept.kernel_value("setattr(w, 'lrs', (1e-4, 1e-3, 1e-2))")
        for marker, lr in zip(widget.markers, (1e-4, 1e-3, 1e-2), strict=True):
            marker.expect_lr(lr)
        yield widget
        widget.rest()
        assert not swept.errors

    @pytest.mark.parametrize(
        ("index", "lr", "expected"),
        [(0, 1e-6, (1e-6, 1e-4, 1e-2)), (1, 3e-5, (1e-4, 3e-5, 1e-2)), (2, 1.0, (1e-4, 1e-2, 1.0))],
        ids=["stem", "body", "head"],
    )
    def test_a_dragged_marker_stays_where_it_was_let_go(
        self, widget: WidgetPage, index: int, lr: float, expected: tuple[float, ...]
    ) -> None:
        drag(widget, widget.markers[index], lr)
        lrs = widget.notebook.kernel_value("w.lrs")
        assert all(near(value, to, widget) for value, to in zip(lrs, expected, strict=True)), lrs
        for marker, value in zip(widget.markers, lrs, strict=True):
            marker.expect_lr(value)

    def test_a_line_follows_its_marker_without_the_kernel(self, widget: WidgetPage) -> None:
        head, kernel = widget.markers[2], widget.notebook.kernel_value("__import__('os').getpid()")
        os.kill(kernel, signal.SIGSTOP)
        try:
            with widget.dragging(head, 1e-5):
                assert head.x == pytest.approx(widget.axis.px(1e-5), abs=TOLERANCE_PX)
                assert head.line_x == pytest.approx(head.x, abs=TOLERANCE_PX)
                assert centre(head.label)[0] == pytest.approx(head.x, abs=100), "the label hangs beside it"
            assert head.field.input_value() == format_lr(0.01)
        finally:
            os.kill(kernel, signal.SIGCONT)
        head.wait_says(1e-5)
        lr = widget.notebook.kernel_value("w.lrs[2]")
        assert near(lr, 1e-5, widget)
        head.expect_lr(lr)

    @pytest.mark.parametrize("lr", [3e-5, 2e-2], ids=["flat", "falling"])
    def test_a_click_on_the_curve_puts_max_lr_there(self, widget: WidgetPage, lr: float) -> None:
        head, preview = widget.markers[2], widget.schedule.inner_html()
        widget.click_curve(lr)
        expect(head.field).not_to_have_value(format_lr(0.01))
        picked = widget.notebook.kernel_value("w.max_lr")
        assert abs(math.log10(picked / lr)) < 6 * widget.axis.pixel, "the curve is clicked by columns"
        head.expect_lr(picked)
        self.expect_ratios_and_preview(widget, preview)

    def test_a_click_on_a_suggestion_puts_max_lr_there(self, widget: WidgetPage) -> None:
        suggested = widget.notebook.kernel_value("sorted({s.lr for s in w.advice.values()})")
        assert len(suggested) == len(widget.suggestions) >= 2
        for lr, tick in zip(suggested, widget.suggestions, strict=True):
            preview = widget.schedule.inner_html()
            tick.click()
            widget.markers[2].expect_lr(lr)
            assert widget.notebook.kernel_value("w.max_lr") == lr
            self.expect_ratios_and_preview(widget, preview)

    @staticmethod
    def expect_ratios_and_preview(widget: WidgetPage, former_preview: str) -> None:
        stem, body, head = widget.notebook.kernel_value("w.lrs")
        assert (stem / head, body / head) == pytest.approx((0.01, 0.1))
        planned = widget.notebook.kernel_value("w.plan().lr_at(range(w.plan().total_steps)).max(0).tolist()")

        def is_drawn() -> None:
            assert widget.schedule.inner_html() != former_preview
            for marker, highest in zip(widget.markers, planned, strict=True):
                drawn, factor = widget.peak_on_preview(marker)
                assert highest / factor < drawn < highest * factor, marker.name

        eventually(is_drawn)
        assert widget.notebook.kernel_value("w.plan().max_lrs") == [stem, body, head]

    def test_a_number_field_takes_a_number_and_answers_anything_else(self, widget: WidgetPage) -> None:
        stem, _, head = widget.markers
        widget.enter(stem.field, "3e-4")
        stem.expect_lr(3e-4)
        widget.notebook.wait_value("w.lrs[0]", 3e-4)

        widget.enter(head.field, "a lot")
        expect(widget.root.get_by_role("alert")).to_have_text(re.compile("Got 'a lot'; expected a number above 0"))
        head.expect_lr(1e-2)
        widget.enter(head.field, "0.5")
        head.expect_lr(0.5)
        expect(widget.root.get_by_role("alert")).to_have_count(0)
        widget.notebook.wait_value("w.max_lr", 0.5)

    def test_the_fine_tune_button_trains_as_planned_with_live_curves(self, widget: WidgetPage) -> None:
        notebook = widget.notebook
        widget.enter(widget.field("epochs"), "2")
        notebook.wait_value("w.state.options.epochs", 2)
        assert notebook.kernel_value("[globals().update(pause=0.05, plan=w.plan()), plan.total_steps][1]") == 44
        widget.watch()
        widget.press("Fine-tune")
        expect(widget.status).to_contain_text("Trained all 44 steps")
        widget.wait_idle()

        film = [frame for frame in widget.film() if frame.train]
        assert grown([frame.train for frame in film]) >= 4
        assert {frame.valid for frame in film} >= {0, 1, 2}
        assert any(frame.step is not None and "left" in frame.words for frame in film)
        assert notebook.kernel_value("w.history.lrs.tolist() == plan.lr_at(range(44)).tolist()")

    def test_after_a_reload_of_the_page_the_same_is_on_the_screen(self, widget: WidgetPage) -> None:
        widget.enter(widget.markers[1].field, "2e-3")
        widget.markers[1].expect_lr(2e-3)
        expect(widget.root.get_by_text(re.compile(r"^\W*body 0\.002$"))).to_be_visible()  # the schedule has it
        curve, words = curve_of(widget), sorted(widget.root.inner_text().splitlines())
        widget.notebook.save()
        widget.notebook.reload()
        widget.markers[1].expect_lr(2e-3)

        def the_same() -> None:
            assert curve_of(widget) == curve
            assert sorted(widget.root.inner_text().splitlines()) == words

        eventually(the_same)
        drag(widget, widget.markers[2], 1e-4)
        assert near(widget.notebook.kernel_value("w.max_lr"), 2e-3, widget)  # now the body's

    def test_after_a_reload_during_a_sweep_it_goes_on_and_stop_stops_it(self, widget: WidgetPage) -> None:
        before = widget.notebook.kernel_value("[globals().update(pause=0.02), digest()][1]")
        widget.enter(widget.field("steps"), "3000")
        widget.press("Sweep")
        widget.wait_running()
        widget.notebook.save()
        widget.notebook.reload()
        widget.wait_running()
        widget.watch()
        drag(widget, widget.markers[2], 1e-3)
        widget.page.wait_for_function("new Set(lrwFilm.map(frame => frame.sweep)).size > 3")
        widget.press("Stop")
        widget.wait_idle()
        assert grown([frame.sweep for frame in widget.film() if frame.step is not None]) >= 2
        assert widget.notebook.kernel_value("digest()") == before
        assert near(widget.notebook.kernel_value("w.max_lr"), 1e-3, widget)


def curve_of(widget: WidgetPage) -> list[str | None]:
    """The lines of the sweep's chart, as they are drawn."""
    return [line.get_attribute("d") for line in widget.chart.locator(".curve path.line").all()]


TRAIN_BY_HAND = """
for inputs, targets in train_dl:
    loss = loss_fn(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item()!r}")
"""


class TestCellsBehindASweep:
    """In kernels of both generations, which take messages while a cell waits in different ways."""

    @pytest.fixture(scope="class", params=[6, 7])
    @classmethod
    def notebook(cls, shared_lab: Lab, request: pytest.FixtureRequest) -> NotebookPage:
        return start(shared_lab, LONG, "pause = 0", TRAIN_BY_HAND, "print(digest())", generation=request.param)

    @pytest.fixture
    def widget(self, notebook: NotebookPage) -> Iterator[WidgetPage]:
        yield WidgetPage(notebook, 1)
        assert not notebook.errors

    def test_run_all_gives_what_cell_by_cell_gives_while_stop_and_drags_work(
        self, notebook: NotebookPage, widget: WidgetPage, request: pytest.FixtureRequest
    ) -> None:
        notebook.run_all()
        widget.wait_running()
        drag(widget, widget.markers[2], 2e-3, still=request.node.callspec.params["notebook"] == 7)
        notebook.wait_done(1)
        assert [notebook.prompt(index) for index in (2, 3, 4)] == ["[*]"] * 3
        expect(widget.progress).to_be_visible()
        widget.press("Stop")
        notebook.wait_done(4)
        notebook.wait_idle()
        assert near(notebook.kernel_value("w.max_lr"), 2e-3, widget)
        at_once = notebook.output(3), notebook.output(4)
        assert "loss" in at_once[0]

        for index in range(5):
            notebook.run_cell(index)
            notebook.wait_done(index)
            if index == 1:
                widget.wait_running()
                widget.press("Stop")
                widget.wait_idle()
        notebook.wait_idle()
        assert (notebook.output(3), notebook.output(4)) == at_once

    def test_the_interrupt_button_ends_a_sweep_beside_an_idle_kernel(
        self, notebook: NotebookPage, widget: WidgetPage
    ) -> None:
        before = notebook.kernel_value("digest()")
        notebook.run_cell(1)
        notebook.wait_done(1)
        widget.wait_running()
        notebook.interrupt()
        widget.wait_idle()
        assert notebook.kernel_value("[w.curve.stop_reason, digest()]") == ["interrupted", before]

    def test_the_interrupt_button_ends_a_sweep_and_the_cell_that_waits_for_it(
        self, notebook: NotebookPage, widget: WidgetPage
    ) -> None:
        before = notebook.kernel_value("digest()")
        notebook.count_taken()
        notebook.run_cell(1)
        notebook.run_cell(3)
        widget.wait_running()
        notebook.wait_done(1)
        notebook.wait_taken(2)
        notebook.wait_prompt(3, "[*]")
        notebook.interrupt()
        widget.wait_idle()
        notebook.wait_output(3, "KeyboardInterrupt")
        notebook.wait_idle()
        assert notebook.kernel_value("[w.curve.stop_reason, digest()]") == ["interrupted", before]
        notebook.run_cell(4)
        notebook.wait_output(4, before)


PICTURE = "img.lrwidget-picture"


def test_a_saved_notebook_shows_pictures_of_sweep_and_run_when_there_is_no_kernel(
    lab: Lab, context: BrowserContext, tmp_path: Path
) -> None:
    notebook = start(lab, SHORT, "w.fine_tune(epochs=1)")
    notebook.run_cell(1)
    notebook.wait_output(1, "suggested")
    picture = notebook.outputs(1).locator(PICTURE)
    notebook.kernel_value("setattr(w, 'max_lr', 0.02)")
    picked = ", ".join(f"{name} {format_lr(lr)}" for name, lr in (("stem", 2e-4), ("body", 2e-3), ("head", 2e-2)))
    expect(picture).to_have_attribute("alt", re.compile(re.escape(picked)))
    expect(picture).to_be_hidden()  # the widget is alive
    notebook.run_cell(2)
    expect(notebook.outputs(2).locator(PICTURE)).to_have_attribute("alt", re.compile("Trained all 22 steps"))
    notebook.save()
    file = lab.root / notebook.page.evaluate("window.jupyterapp.shell.currentWidget.context.path")
    saved = nbformat.read(file, as_version=4)
    (png,) = (output.data["image/png"] for output in saved.cells[1].outputs if "image/png" in output.data)
    expect_curve(base64.b64decode(png))

    notebook.restart()
    notebook.reload()
    for index in (1, 2):
        expect(notebook.outputs(index)).to_contain_text("model not found")  # in the page, but hidden
        expect_only_picture(notebook.outputs(index))

    elsewhere = lab.open_notebook(saved)  # another file, which this server does not trust
    for index in (1, 2):
        expect_only_picture(elsewhere.outputs(index))

    nbconvert = [sys.executable, "-m", "nbconvert", "--to", "html", "--template", "lab", "--output-dir", str(tmp_path)]
    subprocess.run([*nbconvert, str(file)], check=True, capture_output=True)
    page = context.new_page()
    page.goto((tmp_path / file.name).with_suffix(".html").as_uri(), wait_until="domcontentloaded")
    for output in page.locator(".jp-Cell-outputArea").all()[-2:]:
        expect_only_picture(output)
    page.close()
    assert not notebook.errors


def test_after_a_reload_w_in_another_cell_saves_the_picture_of_what_is_picked_now(lab: Lab) -> None:
    notebook = start(lab, SHORT, "w")
    notebook.run_cell(1)
    notebook.wait_output(1, "suggested")
    expect(notebook.outputs(1).locator(PICTURE)).to_have_count(1)
    notebook.save()
    notebook.reload()
    widget = WidgetPage(notebook, 1)
    widget.wait_idle()
    notebook.run_cell(2)
    picture = notebook.outputs(2).locator(PICTURE)
    expect(picture).to_have_count(1)
    widget.enter(widget.markers[2].field, "0.0123")
    expect(picture).to_have_attribute("alt", re.compile(r"head 0\.012\b"))
    notebook.save()
    file = lab.root / notebook.page.evaluate("window.jupyterapp.shell.currentWidget.context.path")
    (output,) = (o for o in nbformat.read(file, as_version=4).cells[2].outputs if "image/png" in o.data)
    assert "head 0.012" in output.data["text/plain"]
    assert not notebook.errors


def expect_only_picture(output: Locator) -> None:
    """The picture is there and loaded, and no word of a widget that is not."""
    picture = output.locator(PICTURE)
    expect(picture).to_be_visible()
    assert picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth; }") > 600
    assert "not found" not in output.inner_text()


def expect_curve(png: bytes) -> None:
    """A PNG of a readable size, with a dark curve on white and an upright line in each group's colour."""
    pixels = np.round(imread(io.BytesIO(png))[..., :3] * 255)
    height, width, _ = pixels.shape
    assert width > 600
    assert height > 300

    def columns(color: tuple[int, int, int]) -> Any:
        """How many pixels of each column have a colour."""
        return (abs(pixels - color).max(axis=2) < 12).sum(axis=0)

    assert columns((255, 255, 255)).sum() > 0.5 * width * height
    assert (columns((34, 34, 34)) > 0).sum() > 0.5 * width
    blue, orange, green = (int(columns(color).argmax()) for color in ((0, 114, 178), (230, 159, 0), (0, 158, 115)))
    assert blue < orange < green
    assert orange - blue == pytest.approx(green - orange, abs=3), "a decade each"
    assert columns((0, 158, 115))[green] > 0.5 * height
