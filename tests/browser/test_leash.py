"""A handle that is dragged goes no farther than the axis, however far the pointer goes."""

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from lrwidget.engine.words import format_lr
from tests.browser.conftest import App, Lab
from tests.browser.lrwidget_page import TOLERANCE_PX, Marker, WidgetPage, centre
from tests.browser.notebook_page import NotebookPage
from tests.browser.test_widget import drag, near, start

LRS = (1e-4, 1e-3, 1e-2)
ENDS = (1e-7, 10.0)
"""Of the axis."""
BEYOND = 100.0
"""How far the pointer goes beyond an end, in px."""
GRIP = 4.0
"""How far beside a handle's middle it is taken, in px."""
TOGETHER = "chart => chart.classList.add('lrw-together')"
APART = "chart => chart.classList.remove('lrw-together')"


@pytest.fixture(scope="module", params=["lab", "notebook"])
def notebook(shared_lab: Lab, request: pytest.FixtureRequest) -> NotebookPage:
    """A widget that has not swept, in the outputs of cells 1 and 2, both on the screen."""
    app: App = request.param
    notebook = start(
        shared_lab,
        "import lrwidget\nw = lrwidget.attach(model, optimizer, train_dl, loss_fn)\nw",
        "w",
        app=app,
        viewport=(1300, 3600),
    )
    for cell in (1, 2):
        notebook.run_cell(cell)
        notebook.wait_done(cell)
    return notebook


@pytest.fixture
def widget(notebook: NotebookPage, request: pytest.FixtureRequest) -> Iterator[WidgetPage]:
    """Each test begins with the same pick; in JupyterLab it uses the first view, in Notebook 7 the second."""
    widget = WidgetPage(notebook, 1 if request.node.callspec.params["notebook"] == "lab" else 2)
    notebook.kernel_value(f"setattr(w, 'lrs', {LRS})")
    for marker, lr in zip(widget.markers, LRS, strict=True):
        marker.expect_lr(lr)
    yield widget
    widget.rest()
    widget.chart.evaluate(APART)
    assert not notebook.errors


@contextmanager
def held(widget: WidgetPage, marker: Marker) -> Iterator[None]:
    """Press a handle beside its middle, and hold it until the end of the `with`."""
    marker.handle.scroll_into_view_if_needed()
    x, y = centre(marker.handle)
    widget.page.mouse.move(x + GRIP, y)
    widget.page.mouse.down()
    try:
        yield
    finally:
        widget.page.mouse.up()


def move(widget: WidgetPage, marker: Marker, x: float) -> None:
    """Move the pointer to where the handle's middle is at `x`, unless something holds it back."""
    widget.page.mouse.move(x + GRIP, centre(marker.handle)[1], steps=8)


def beyond(widget: WidgetPage, end: float) -> float:
    return widget.axis.px(end) + (BEYOND if end > 1 else -BEYOND)


def expect_drawn_at(widget: WidgetPage, marker: Marker, lr: float) -> None:
    """Handle and line are there at once, and the label beside them: nothing of it is the kernel's."""
    px = widget.axis.px(lr)
    assert marker.x == pytest.approx(px, abs=TOLERANCE_PX)
    assert marker.line_x == pytest.approx(px, abs=TOLERANCE_PX)
    label = marker.label.bounding_box()
    assert label
    assert label["x"] - 100 < px < label["x"] + label["width"] + 100, "the label hangs beside it"


@pytest.mark.parametrize("end", ENDS)
def test_a_handle_that_is_held_beyond_an_end_is_at_the_end_and_comes_back(widget: WidgetPage, end: float) -> None:
    head = widget.markers[2]
    with held(widget, head):
        move(widget, head, beyond(widget, end))
        expect_drawn_at(widget, head, end)
        head.wait_says(end)
        expect(head.field).to_have_value(format_lr(end))
        expect(head.label).to_be_visible()
        move(widget, head, widget.axis.px(1e-3))
        expect_drawn_at(widget, head, 1e-3)
        head.wait_says(1e-3)
        move(widget, head, beyond(widget, end))
        expect_drawn_at(widget, head, end)
    head.expect_lr(end)
    assert widget.notebook.kernel_value("w.lrs[2]") == pytest.approx(end)

    drag(widget, head, 1e-3)
    with held(widget, head):  # at once again, as a hand does that has not found its place
        move(widget, head, beyond(widget, end))
    head.expect_lr(end)
    drag(widget, head, 1e-2)
    assert near(widget.notebook.kernel_value("w.lrs[2]"), 1e-2, widget)


def test_it_is_held_back_without_the_kernel(widget: WidgetPage) -> None:
    head, kernel = widget.markers[2], widget.notebook.kernel_value("__import__('os').getpid()")
    os.kill(kernel, signal.SIGSTOP)
    try:
        with held(widget, head):
            for end in ENDS:
                move(widget, head, beyond(widget, end))
                expect_drawn_at(widget, head, end)
            assert head.field.input_value() == format_lr(LRS[2])
    finally:
        os.kill(kernel, signal.SIGCONT)
    expect(head.field).to_have_value(format_lr(ENDS[1]))
    assert widget.notebook.kernel_value("w.lrs[2]") == pytest.approx(ENDS[1])


HEIGHTS = """async dot => {
    const seen = new Set();
    for (let frame = 0; frame < 30; frame++) {
        seen.add(dot.getBoundingClientRect().height);
        await new Promise(requestAnimationFrame);
    }
    return [...seen];
}"""


def test_a_handle_that_is_pressed_keeps_its_size(widget: WidgetPage) -> None:
    handle = widget.markers[1].handle
    (height,), outline = handle.evaluate(HEIGHTS), handle.get_attribute("d") or ""
    with held(widget, widget.markers[1]):
        expect(handle).not_to_have_attribute("d", outline)  # bqplot lets it grow
        assert handle.evaluate(HEIGHTS) == [height]
    assert handle.evaluate(HEIGHTS) == [height]


def test_markers_that_move_together_stop_where_the_first_of_them_is_at_an_end(widget: WidgetPage) -> None:
    body, apart = (
        widget.markers[1],
        [widget.axis.px(high) - widget.axis.px(low) for low, high in itertools.pairwise(LRS)],
    )
    widget.chart.evaluate(TOGETHER)
    with held(widget, body):
        move(widget, body, beyond(widget, ENDS[0]))
        assert body.x - widget.axis.px(ENDS[0]) == pytest.approx(apart[0], abs=TOLERANCE_PX)
        move(widget, body, beyond(widget, ENDS[1]))
        assert widget.axis.px(ENDS[1]) - body.x == pytest.approx(apart[1], abs=TOLERANCE_PX)
        move(widget, body, widget.axis.px(1e-3))
        expect_drawn_at(widget, body, 1e-3)


def test_a_click_on_a_handle_moves_nothing_and_a_moved_pointer_is_the_pages_own(widget: WidgetPage) -> None:
    head = widget.markers[2]
    widget.enter(head.field, "10")
    head.expect_lr(10.0)
    head.handle.click()
    drag(widget, widget.markers[0], 1e-5)  # when it is done, the click has been heard
    assert widget.notebook.kernel_value("w.lrs[2]") == 10.0
    head.expect_lr(10.0)

    places = "window.lrwPlaces = []; addEventListener('mousemove', event => lrwPlaces.push(event.clientX))"
    widget.page.evaluate(places)
    widget.page.mouse.move(3, 500)
    assert widget.page.evaluate("lrwPlaces.at(-1)") == 3


def test_a_reload_brings_it_back(notebook: NotebookPage) -> None:
    notebook.save()
    notebook.reload()
    widget = WidgetPage(notebook, 1)
    widget.wait_idle()
    head = widget.markers[2]
    with held(widget, head):
        move(widget, head, beyond(widget, ENDS[1]))
        expect_drawn_at(widget, head, ENDS[1])
    head.expect_lr(ENDS[1])
    assert not notebook.errors
