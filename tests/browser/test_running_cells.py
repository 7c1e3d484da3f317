"""While a cell runs, and keeps the kernel's main thread: what a page says is heard by ipykernel 7 on another."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import App, Lab
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.test_everywhere import ATTACH
from tests.browser.test_widget import drag, near, start

IN_THE_MIDDLE = """pause, before = 0.02, digest()
w.{job}
print(w.{result}.stop_reason, digest() == before)
"""
# Ends when the page has been heard.
OF_THE_USER = """pause = 0
while w.max_lr < 0.01 or "a cell is running" not in w._toolbar._note.view.value:
    time.sleep(0.01)
print(w.state.phase, len(w.sweeps))
"""


@pytest.fixture(params=["lab", "notebook"])
def widget(lab: Lab, request: pytest.FixtureRequest) -> Iterator[WidgetPage]:
    app: App = request.param
    sweep = IN_THE_MIDDLE.format(job="sweep(start_lr=1e-6, num_steps=3000)", result="curve")
    run = IN_THE_MIDDLE.format(job="fine_tune(epochs=100)", result="history")
    notebook = start(lab, ATTACH, sweep, run, OF_THE_USER, app=app)
    notebook.run_cell(1)
    notebook.wait_done(1)
    yield WidgetPage(notebook, 1)
    assert not notebook.errors


def test_a_cell_that_runs_is_no_reason_to_wait(widget: WidgetPage) -> None:
    notebook, head = widget.notebook, widget.markers[2]
    notebook.run_cell(2)
    widget.wait_running()
    drag(widget, head, 2e-3)
    widget.press("Pause")
    widget.press("Resume")
    widget.press("Stop")
    notebook.wait_output(2, "stopped True")
    assert near(notebook.kernel_value("w.max_lr"), 2e-3, widget)

    notebook.run_cell(3)
    widget.wait_running()
    widget.press("Stop")
    notebook.wait_output(3, "stopped False")

    notebook.run_cell(4)
    notebook.wait_prompt(4, "[*]")
    widget.press("Sweep")
    expect(widget.root).to_contain_text("a cell is running")
    drag(widget, head, 2e-2)
    notebook.wait_output(4, "idle 1")
