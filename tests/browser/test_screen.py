"""The rest of the screen, by hand: pauses, kept sweeps, the way back, frozen groups, and what all of it costs."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Lab
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.notebook_page import NotebookPage
from tests.browser.test_widget import LONG, SHORT, drag, near, start

LONGEST_UPDATE = 30_000
"""Bytes that one message of the kernel may have, whatever the length of a sweep."""


class Traffic:
    """The sizes of all that the kernel sends to a page, as the browser counts it.

    Args:
        notebook: a notebook whose kernel is not connected yet, or whose page is loaded again afterwards.
    """

    def __init__(self, notebook: NotebookPage) -> None:
        self.sizes: list[int] = []
        notebook.page.on("websocket", lambda socket: socket.on("framereceived", self._count))

    def _count(self, payload: str | bytes) -> None:
        self.sizes.append(len(payload))


@pytest.fixture(scope="module")
def swept(shared_lab: Lab) -> NotebookPage:
    """Two sweeps have been made."""
    notebook = start(shared_lab, SHORT, "w.sweep(num_steps=60)")
    for cell in (1, 2):
        notebook.run_cell(cell)
        notebook.wait_done(cell)
    notebook.wait_value("[kept.curve.stop_reason is not None for kept in w.sweeps]", [True, True])
    return notebook


@pytest.fixture
def widget(swept: NotebookPage) -> Iterator[WidgetPage]:
    widget = WidgetPage(swept, 1)
    swept.kernel_value("setattr(w, 'lrs', (1e-4, 1e-3, 1e-2))")
    for marker, lr in zip(widget.markers, (1e-4, 1e-3, 1e-2), strict=True):
        marker.expect_lr(lr)
    yield widget
    widget.rest()
    assert not swept.errors


def test_a_drag_can_be_undone_and_done_again(widget: WidgetPage) -> None:
    head = widget.markers[2]
    drag(widget, head, 1.0)
    widget.notebook.wait_value("w._chart._markers.held", False)  # the drop is heard, and not after Undo
    dragged = widget.notebook.kernel_value("w.lrs")
    widget.press("Undo")
    head.expect_lr(1e-2)
    assert widget.notebook.kernel_value("w.lrs") == [1e-4, 1e-3, 1e-2], "the whole drag at once"
    widget.press("Redo")
    head.expect_lr(dragged[2])
    assert widget.notebook.kernel_value("w.lrs") == dragged


# In one go: between two messages of a mouse a page may take longer than a double-click.
TWO_CLICKS = """([clientX, clientY]) => {
    const at = document.elementFromPoint(clientX, clientY);
    for (let i = 0; i < 2; i++) at.dispatchEvent(new MouseEvent('click', {bubbles: true, clientX, clientY}));
}"""


def test_reset_and_a_double_click_go_to_the_recommendation(widget: WidgetPage) -> None:
    recommended = widget.notebook.kernel_value("w.advice.recommended.lr")
    widget.press("Reset")
    widget.markers[2].expect_lr(recommended)
    widget.markers[0].wait_says(recommended / 100)
    widget.notebook.kernel_value("setattr(w, 'max_lr', 0.3)")
    widget.markers[2].expect_lr(0.3)
    box = widget.chart.bounding_box()
    assert box is not None
    widget.page.evaluate(TWO_CLICKS, [widget.axis.px(1e-6), box["y"] + box["height"] / 2])
    widget.markers[2].expect_lr(recommended)


def test_all_markers_move_together_when_asked_to(widget: WidgetPage) -> None:
    together = widget.root.get_by_label("move all together")
    together.check()
    try:
        drag(widget, widget.markers[0], 1e-6)
        lrs = widget.notebook.kernel_value("w.lrs")
        assert near(lrs[0], 1e-6, widget)
        assert lrs == pytest.approx([lrs[0], lrs[0] * 10, lrs[0] * 100])
        for marker, lr in zip(widget.markers, lrs, strict=True):
            marker.expect_lr(lr)
    finally:
        together.uncheck()


def test_a_kept_sweep_can_be_chosen_renamed_and_removed(widget: WidgetPage) -> None:
    notebook = widget.notebook
    names = widget.root.locator(".lrw-sweeps input[type=text]")
    expect(names).to_have_count(2)
    widget.root.get_by_role("radio").first.check()
    notebook.wait_value("[w.state.chosen, len(w.curve) <= 100, w.curve.num_steps]", [0, True, 100])
    widget.enter(names.first, "<b>first</b>")
    expect(widget.root.get_by_role("button", name="Remove <b>first</b>")).to_have_count(1)  # the kernel has it
    notebook.wait_value("w.sweeps[0].name", "<b>first</b>")
    expect(widget.chart).not_to_contain_text("first")  # the chosen one needs no name in the chart
    widget.root.get_by_role("radio").nth(1).check()
    expect(widget.chart).to_contain_text("<b>first</b>")
    notebook.kernel_value("w.sweep(num_steps=20)")
    expect(names).to_have_count(3)
    widget.root.get_by_role("button", name="Remove sweep 3").click()
    expect(names).to_have_count(2)
    assert notebook.kernel_value("[sweep.curve.num_steps for sweep in w.sweeps]") == [100, 60]


def test_a_frozen_group_stays_as_it_is_and_a_renamed_one_is_called_so(widget: WidgetPage) -> None:
    notebook = widget.notebook
    notebook.kernel_value("globals().update(before=[p.detach().clone() for p in model.parameters()])")
    boxes = widget.root.locator(".lrw-groups input[type=checkbox]")
    boxes.first.check()
    widget.enter(widget.root.get_by_label("Name of group 2"), "middle")
    notebook.wait_value(
        "[w.state.frozen, [g.name for g in w.state.groups]]", [[True, False, False], ["stem", "middle", "head"]]
    )
    expect(widget.chart).to_contain_text("middle")
    assert notebook.kernel_value("w.plan().names") == ["stem", "middle", "head"]
    notebook.kernel_value("w.fine_tune(1)")
    widget.wait_idle()
    same = notebook.kernel_value("[torch.equal(a, b) for a, b in zip(before, model.parameters())]")
    assert same == [True] * 4 + [False] * 6
    boxes.first.uncheck()
    widget.enter(widget.root.get_by_label("Name of group 2"), "body")
    notebook.wait_value("w.state.frozen", [])


def test_a_paused_sweep_stands_still_and_goes_on(shared_lab: Lab) -> None:
    notebook = start(shared_lab, LONG, "after = 1")
    notebook.run_cell(1)
    widget = WidgetPage(notebook, 1)
    widget.wait_running()
    notebook.run_cell(2)
    widget.press("Pause")
    expect(widget.button("Resume")).to_be_visible()
    expect(widget.root).to_contain_text("paused")
    held = widget.progress.inner_text()
    widget.press("Resume")
    expect(widget.progress).not_to_have_text(held)
    widget.press("Pause")
    expect(widget.button("Resume")).to_be_visible()
    widget.press("Stop")
    widget.wait_idle()
    notebook.wait_done(2)
    assert notebook.kernel_value("[w.curve.stop_reason, after]") == ["stopped", 1]
    assert not notebook.errors


def test_ten_thousand_steps_send_no_more_at_once_than_a_hundred(shared_lab: Lab) -> None:
    quick = """
    import lrwidget
    few = nn.Linear(4, 2)
    data = [(torch.randn(8, 4), torch.randint(2, (8,)))] * 50
    w = lrwidget.attach(few, torch.optim.SGD(few.parameters(), lr=0.1), data, nn.functional.cross_entropy)
    w.show()
    w.sweep(num_steps=10_000, end_lr=1e-2)
    """
    notebook = start(shared_lab, "\n".join(line.strip() for line in quick.splitlines()))
    traffic = Traffic(notebook)
    notebook.reload()
    notebook.run_cell(1)
    notebook.wait_done(1, timeout=120)
    WidgetPage(notebook, 1).wait_idle(60)
    assert notebook.kernel_value("len(w.curve)") == 10_000
    assert len(traffic.sizes) > 50, "the kernel's messages were not counted"
    assert max(traffic.sizes) <= LONGEST_UPDATE
    assert not notebook.errors
