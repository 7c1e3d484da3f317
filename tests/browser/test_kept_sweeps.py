"""The list of kept sweeps: it has its place, and what is below it stays where it is."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Lab
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.test_widget import start

SHOWN = "import lrwidget\nw = lrwidget.attach(model, optimizer, train_dl, loss_fn)\nw"

IN_SIGHT = """names => names.map(name => {
    const list = name.closest('.lrw-kept').getBoundingClientRect(), {top, bottom} = name.getBoundingClientRect();
    return top >= list.top && bottom <= list.bottom;
})"""


@pytest.mark.parametrize(("width", "in_sight"), [(1200, 4), (500, 2)])
def test_no_sweep_moves_what_is_below_and_the_latest_is_in_sight(lab: Lab, width: int, in_sight: int) -> None:
    notebook = start(lab, SHOWN, viewport=(1500, 2200))
    notebook.run_cell(1)
    notebook.wait_done(1)
    widget = WidgetPage(notebook, 1)
    notebook.page.add_style_tag(content=f".lrwidget {{ width: {width}px !important }}")
    widget.wait_idle()
    names = widget.root.locator(".lrw-sweeps input[type=text]")
    radios = widget.root.get_by_role("radio")
    places = {above_schedule(widget)}
    for made in range(1, 7):
        notebook.kernel_value("w.sweep(num_steps=20)")
        widget.wait_idle()
        expect(names).to_have_count(made)
        expect(names.last).to_be_in_viewport()
        expect(radios.last).to_be_checked()
        places.add(above_schedule(widget))
    assert len(places) == 1
    seen = names.evaluate_all(IN_SIGHT)
    assert seen == [False] * (6 - in_sight) + [True] * in_sight

    radios.last.focus()
    for _ in range(5):
        notebook.page.keyboard.press("Shift+Tab")
    notebook.page.keyboard.press("Space")
    expect(radios.first).to_be_checked()
    notebook.wait_value("w.state.chosen", 0)
    expect(names.first).to_be_in_viewport()
    assert above_schedule(widget) in places and not notebook.errors


def above_schedule(widget: WidgetPage) -> float:
    """From the top of the table of groups to the preview of the schedule, in px."""
    groups, schedule = widget.root.evaluate(
        "root => [root.querySelector('.lrw-groups'), root.querySelectorAll('.lrw-chart')[1]]"
        ".map(part => part.getBoundingClientRect().top)"
    )
    return round(float(schedule - groups), 1)
