"""The schedule and the fields of a plan, by hand in a browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Lab
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.notebook_page import NotebookPage
from tests.browser.test_widget import SHORT, start


@pytest.fixture(scope="module")
def swept(shared_lab: Lab) -> NotebookPage:
    notebook = start(shared_lab, SHORT)
    notebook.run_cell(1)
    notebook.wait_output(1, "suggested")
    return notebook


@pytest.fixture
def widget(swept: NotebookPage) -> Iterator[WidgetPage]:
    widget = WidgetPage(swept, 1)
    yield widget
    widget.rest()
    assert not swept.errors


def numbers(widget: WidgetPage) -> Locator:
    """The LR of the head at this step, written above the schedule."""
    return widget.root.get_by_text(re.compile(r"^\W*head \d"))


def test_while_a_run_trains_the_schedule_says_where_it_is_and_nothing_is_left_of_it(widget: WidgetPage) -> None:
    peaks = numbers(widget).inner_text()  # of the plan, while nothing runs
    # By its colour, that of texts, and with a second point.
    cursor = widget.schedule.locator("path.line[style*='--jp-content-font-color1'][d*='L']")
    expect(cursor).to_have_count(0)
    widget.notebook.kernel_value("globals().update(pause=0.3)")
    widget.press("Fine-tune")
    expect(numbers(widget)).not_to_have_text(peaks)
    expect(cursor).to_have_count(1)
    said, place = numbers(widget).inner_text(), cursor.get_attribute("d") or ""
    expect(numbers(widget)).not_to_have_text(said)
    expect(cursor).not_to_have_attribute("d", place)
    widget.press("Stop")
    widget.wait_idle()
    expect(numbers(widget)).to_have_text(peaks)
    expect(cursor).to_have_count(0)


def test_the_axis_is_changed_from_the_keyboard(widget: WidgetPage) -> None:
    box = widget.root.get_by_label("log axis")
    expect(box).to_be_checked()
    before = widget.schedule.inner_html()
    box.focus()
    widget.page.keyboard.press("Space")
    expect(box).not_to_be_checked()
    expect(widget.schedule.locator("g.axis:visible").nth(1).get_by_text("0", exact=True)).to_be_visible()
    assert widget.schedule.inner_html() != before
    widget.page.keyboard.press("Space")
    expect(box).to_be_checked()


def test_a_field_tells_its_formula_and_a_changed_preset_that_it_is_changed(widget: WidgetPage) -> None:
    expect(widget.root.get_by_title("first lr = max_lr / div")).to_be_visible()
    preset = widget.field("preset").locator("option:checked")
    widget.enter(widget.field("momentum"), "0.8–0.9")
    expect(preset).to_have_text("torch, changed")
    widget.notebook.wait_value("w.plan().cycles[0].momentum", [0.8, 0.9])
    widget.field("annealing").select_option(label="linear")
    expect(widget.root.get_by_text("momentum 0.9 to 0.8")).to_be_visible()
    widget.notebook.wait_value("w.plan().cycles[0].anneal", "linear")
    widget.field("preset").select_option(label="torch")
    expect(preset).to_have_text("torch")
    expect(widget.field("momentum")).to_have_value("")
    widget.notebook.wait_value("[w.plan().cycles[0].momentum, w.plan().cycles[0].anneal]", [None, "cos"])
