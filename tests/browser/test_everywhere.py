"""One widget in many places: its cell run again, a second view of it, the page loaded again during a sweep."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import App, Lab
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.test_widget import curve_of, drag, grown, near, start
from tests.browser.waiting import eventually

ATTACH = "import lrwidget\nw = lrwidget.attach(model, optimizer, train_dl, loss_fn)\nw"
WIDGETS = "len(__import__('ipywidgets').widgets.widget._instances)"


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_cell_that_runs_again_closes_the_widget_it_showed_before(lab: Lab, app: App) -> None:
    """Both applications say with every cell which one it is; without that nothing could be closed."""
    notebook = start(lab, ATTACH, "first = w", "first.sweep()", app=app)
    widget = WidgetPage(notebook, 1)
    notebook.run_cell(1)
    widget.button("Sweep").wait_for()
    notebook.run_cell(2)
    once = notebook.kernel_value(WIDGETS)
    for _ in range(3):
        notebook.run_cell(1)
        notebook.wait_idle()
    widget.button("Sweep").wait_for()
    assert notebook.kernel_value(WIDGETS) == once
    expect(notebook.page.locator(".lrwidget")).to_have_count(1)
    notebook.run_cell(3)
    notebook.wait_output(3, "a widget that is closed")
    widget.press("Sweep")
    expect(widget.root).to_contain_text("suggested", timeout=30_000)

    notebook.kernel_value("globals().update(pause=0.1, second=w)")
    widget.press("Sweep")
    widget.wait_running()
    notebook.run_cell(1)
    notebook.wait_idle()
    assert notebook.kernel_value("[second.curve.stop_reason, w is second]") == ["stopped", False]
    assert not notebook.errors


def test_two_views_of_a_widget_show_the_same_also_after_a_reload_in_the_middle_of_a_sweep(lab: Lab) -> None:
    cells = [ATTACH, "w", "from IPython.display import display\ndisplay(w.view)", "pause = 0.02; before = digest()"]
    notebook = start(lab, *cells, viewport=(1300, 4200))  # a chart below the page's end has no axis to read
    views = [WidgetPage(notebook, cell) for cell in (1, 2, 3)]
    for cell in (1, 2, 3, 4):
        notebook.run_cell(cell)
        notebook.wait_done(cell)
    first, second, third = views
    for view in views:
        view.button("Sweep").wait_for()
    drag(second, second.markers[2], 2e-3)
    lr = notebook.kernel_value("w.max_lr")
    assert near(lr, 2e-3, second)
    for view in views:
        view.markers[2].expect_lr(lr)

    first.enter(first.field("steps"), "3000")
    first.press("Sweep")
    for view in views:
        view.wait_running()
    third.watch()
    notebook.page.wait_for_function("new Set(lrwFilm.map(frame => frame.sweep)).size > 3")
    assert grown([frame.sweep for frame in third.film() if frame.step is not None]) >= 2

    notebook.save()
    notebook.reload()
    for view in (first, second):
        view.wait_running()
    second.watch()
    notebook.page.wait_for_function("new Set(lrwFilm.map(frame => frame.sweep)).size > 3")
    second.press("Stop")
    for view in (first, second):
        view.wait_idle()
        view.markers[2].expect_lr(lr)
    assert grown([frame.sweep for frame in second.film() if frame.step is not None]) >= 2

    def the_same() -> None:
        assert curve_of(first) == curve_of(second)

    eventually(the_same)
    assert notebook.kernel_value("digest() == before")
    assert notebook.kernel_value("w.curve.stop_reason") == "stopped"
    assert not notebook.errors
