"""The widget without a mouse: arrow keys, the order of the Tab key, and what a screen reader is told."""

import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from lrwidget.engine.words import format_lr
from tests.browser.conftest import App, Lab
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.notebook_page import NotebookPage
from tests.browser.test_widget import start
from tests.browser.waiting import eventually

LRS = (1e-4, 3.14159e-3, 1e-2)
BODY = 1
"""A group in the middle: no other follows it."""

# What has the focus, as a user would call it.
FOCUSED = """() => {
    const at = document.activeElement, label = at.labels?.[0]?.textContent.trim();
    return label || (at.tagName === 'INPUT' ? at.title : at.textContent.trim() || at.title);
}"""
# A box with more in it than it shows can be scrolled, and stops the Tab key.
SCROLLED = """root => [...root.querySelectorAll('.widget-container, .lrw-chart'), root]
    .filter(box => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === 'auto')
    .map(box => `${box.scrollWidth} px in ${box.clientWidth} px: `
        + [...box.children].map(part => `${part.offsetLeft}+${part.offsetWidth} ${part.className}`).join(', '))"""
CONTROLS = ("button", "checkbox", "combobox", "textbox", "DisclosureTriangle")
"""Roles, as Chromium calls them."""


def attached(lab: Lab, app: App = "lab") -> NotebookPage:
    """A widget that has not swept, in the output of cell 1."""
    notebook = start(lab, "import lrwidget\nw = lrwidget.attach(model, optimizer, train_dl, loss_fn)\nw", "w", app=app)
    notebook.run_cell(1)
    notebook.wait_done(1)
    return notebook


@pytest.fixture(scope="module")
def notebook(shared_lab: Lab) -> NotebookPage:
    return attached(shared_lab)


@pytest.fixture
def widget(notebook: NotebookPage) -> Iterator[WidgetPage]:
    """Each test begins with the same pick."""
    widget = WidgetPage(notebook, 1)
    pick(widget, LRS)
    yield widget
    widget.rest()
    assert not notebook.errors


def pick(widget: WidgetPage, lrs: tuple[float, ...]) -> None:
    widget.notebook.kernel_value(f"setattr(w, 'lrs', {lrs})")
    for marker, lr in zip(widget.markers, lrs, strict=True):
        expect(marker.field).to_have_value(format_lr(lr))


def field_of(widget: WidgetPage, index: int = BODY) -> Locator:
    field = widget.markers[index].field
    field.focus()
    return field


def expect_picked(widget: WidgetPage, lr: float, index: int = BODY) -> None:
    """Wait until the field says an LR, and the kernel has it, to six digits."""
    expect(widget.markers[index].field).to_have_value(format_lr(lr))

    def has_it() -> None:
        assert widget.notebook.kernel_value("w.lrs")[index] == pytest.approx(lr, rel=1e-5)

    eventually(has_it)


def test_arrow_keys_step_an_lr_by_five_percent_of_what_it_exactly_is(widget: WidgetPage) -> None:
    field = field_of(widget)
    field.press("ArrowUp")
    expect_picked(widget, LRS[BODY] * 1.05)
    expect(field).to_be_focused()
    field.press("ArrowDown")
    field.press("ArrowDown")
    expect_picked(widget, LRS[BODY] / 1.05)
    assert widget.notebook.kernel_value("w.lrs")[::2] == [LRS[0], LRS[2]]


def test_the_marker_goes_along(widget: WidgetPage) -> None:
    field = field_of(widget)
    for _ in range(20):
        field.press("ArrowUp")
    expect_picked(widget, LRS[BODY] * 1.05**20)
    widget.markers[BODY].expect_lr(LRS[BODY] * 1.05**20)


def test_every_press_counts_however_late_the_kernel_answers(widget: WidgetPage) -> None:
    field = field_of(widget)
    kernel = widget.notebook.kernel_value("__import__('os').getpid()")
    os.kill(kernel, signal.SIGSTOP)
    try:
        for _ in range(5):
            field.press("ArrowUp")
        assert float(field.input_value()) == pytest.approx(LRS[BODY] * 1.05**5, rel=1e-5)
    finally:
        os.kill(kernel, signal.SIGCONT)
    for _ in range(5):
        field.press("ArrowUp")
    expect_picked(widget, LRS[BODY] * 1.05**10)
    for _ in range(10):
        field.press("ArrowDown")
    expect_picked(widget, LRS[BODY])


def test_a_step_begins_at_what_was_typed(widget: WidgetPage) -> None:
    field = field_of(widget)
    field.fill("2e-3")
    field.press("ArrowUp")
    expect_picked(widget, 2.1e-3)
    widget.enter(field, "5e-3")
    field.press("ArrowDown")
    expect_picked(widget, 5e-3 / 1.05)
    widget.enter(field, "x2")
    expect_picked(widget, 1e-2 / 1.05)
    field.press("ArrowUp")
    expect_picked(widget, 1e-2)


def test_a_step_begins_at_what_was_picked_elsewhere_meanwhile(widget: WidgetPage) -> None:
    field = field_of(widget)
    field.press("ArrowUp")
    expect_picked(widget, LRS[BODY] * 1.05)
    pick(widget, (1e-4, 2.71828e-3, 1e-2))
    expect(field).to_be_focused()
    field.press("ArrowUp")
    expect_picked(widget, 2.71828e-3 * 1.05)


def test_a_step_that_is_refused_is_answered_and_the_next_begins_where_the_lr_is(widget: WidgetPage) -> None:
    pick(widget, (1e-4, 1e-3, 990.0))
    field = field_of(widget, 2)
    field.press("ArrowUp")
    expect(widget.root.get_by_role("alert").filter(has_text="at most 1000")).to_be_visible()
    field.press("ArrowDown")
    expect_picked(widget, 990 / 1.05, 2)


def test_the_range_of_a_sweep_is_stepped_in_the_same_way(widget: WidgetPage) -> None:
    field = widget.field("from")
    widget.enter(field, "1e-6")
    field.press("ArrowUp")
    expect(field).to_have_value("1e-6")  # two digits of 1.05e-6
    expect(field).to_have_attribute("placeholder", "1.05e-06")
    field.press("ArrowDown")
    expect(field).to_have_attribute("placeholder", "1e-06")


def test_a_press_steps_once_in_a_widget_that_is_shown_twice_and_after_a_reload(widget: WidgetPage) -> None:
    notebook = widget.notebook
    notebook.run_cell(2)
    notebook.wait_done(2)
    field_of(WidgetPage(notebook, 2)).press("ArrowUp")
    expect_picked(widget, LRS[BODY] * 1.05)
    notebook.save()
    notebook.reload()
    widget.wait_idle()
    field_of(widget).press("ArrowDown")
    expect_picked(widget, LRS[BODY])


def test_other_keys_are_the_fields_own(widget: WidgetPage) -> None:
    field = field_of(widget)
    field.press("Home")
    field.press("Shift+ArrowDown")
    field.press("ArrowRight")
    expect(field).to_have_value(format_lr(LRS[BODY]))
    assert widget.notebook.kernel_value("w.lrs")[BODY] == LRS[BODY]


def test_tab_goes_from_the_toolbar_to_the_table_row_by_row(widget: WidgetPage) -> None:
    expect_tab_goes_row_by_row(widget)


def expect_tab_goes_row_by_row(widget: WidgetPage) -> None:
    widget.button("Sweep").focus()
    names: list[str] = []
    while "Fine-tune" not in names:
        assert len(names) < 60, f"Tab does not come to Fine-tune: {names}"
        names.append(widget.page.evaluate(FOCUSED))
        widget.page.keyboard.press("Tab")
    assert names[:5] == ["Sweep", "from", "to", "steps", "mode"]
    rows = [
        text
        for number, name in enumerate(("stem", "body", "head"), 1)
        for text in (f"Name of group {number}", " layer", f"Learning rate of {name}", f"Freeze {name}")
    ]
    first = names.index("Name of group 1")
    table = names[first : first + len(rows)]
    assert all(expected in name for expected, name in zip(rows, table, strict=True)), table
    assert first >= 5
    assert names.index("epochs") > first + len(rows) - 1


def test_in_notebook_7_as_in_jupyterlab(lab: Lab) -> None:
    """What else stands here is the widget's own page, and the same in both."""
    widget = WidgetPage(attached(lab, "notebook"), 1)
    pick(widget, LRS)
    field = field_of(widget)
    for _ in range(20):
        field.press("ArrowUp")
    expect_picked(widget, LRS[BODY] * 1.05**20)
    expect(field).to_be_focused()
    widget.markers[BODY].expect_lr(LRS[BODY] * 1.05**20)
    field.press("ArrowDown")
    expect_picked(widget, LRS[BODY] * 1.05**19)

    field.press("ControlOrMeta+a")
    field.press_sequentially("3e-4")
    field.press("Enter")
    expect_picked(widget, 3e-4)
    widget.markers[BODY].expect_lr(3e-4)
    expect_tab_goes_row_by_row(widget)
    expect_letters_are_no_commands(widget)
    assert not widget.notebook.errors


def controls_of(widget: WidgetPage) -> list[tuple[str, str]]:
    """Role and name of every control, as the browser tells them to assistive technology."""
    session = widget.page.context.new_cdp_session(widget.page)
    session.send("Accessibility.enable")
    root = session.send("Runtime.evaluate", {"expression": "document.querySelector('.lrwidget')"})["result"]
    nodes = session.send("Accessibility.queryAXTree", {"objectId": root["objectId"]})["nodes"]
    session.detach()
    told = [(node["role"]["value"], node["name"]["value"]) for node in nodes if not node["ignored"]]
    return [(role, name) for role, name in told if role in CONTROLS]


def test_a_screen_reader_has_a_name_for_every_control(widget: WidgetPage) -> None:
    controls = controls_of(widget)
    assert [control for control in controls if not control[1].strip()] == []
    toolbar = [("button", "Sweep"), ("button", "Pause"), ("button", "Stop")]
    assert controls[:7] == [*toolbar, *(("textbox", name) for name in ("from", "to", "steps")), ("combobox", "mode")]
    stem = [("textbox", "Learning rate of stem"), ("checkbox", "Freeze stem: it does not train in a run")]
    assert [control for control in controls if "stem" in control[1]] == stem
    assert ("textbox", "Name of group 1") in controls


@pytest.mark.parametrize("label", ["from", "to", "steps", "mode", "epochs"])
def test_a_labelled_field_tells_its_hint_where_the_pointer_rests(widget: WidgetPage, label: str) -> None:
    field = widget.field(label)
    field.hover()
    expect(field).to_have_attribute("title", re.compile(r"\w+ \w+"))


def test_layers_unfold_and_fold_by_keyboard(widget: WidgetPage) -> None:
    layers = widget.root.locator("details").first
    layers.locator("summary").focus()
    widget.page.keyboard.press("Enter")
    expect(layers.locator(".lrw-layers")).to_contain_text("0.0")
    expect(layers.locator(".lrw-layers")).to_be_visible()
    widget.page.keyboard.press("Enter")
    expect(layers.locator(".lrw-layers")).to_be_hidden()


def test_space_freezes_a_group_and_thaws_it(widget: WidgetPage) -> None:
    box = widget.root.get_by_role("checkbox", name=re.compile("^Freeze stem"))
    box.focus()
    widget.page.keyboard.press("Space")
    expect(widget.root.locator(".lrw-still input")).to_have_attribute("title", "Learning rate of stem")
    assert widget.notebook.kernel_value("w.state.frozen") == [True, False, False]
    expect(box).to_be_focused()
    widget.page.keyboard.press("Space")
    expect(widget.root.locator(".lrw-still")).to_have_count(0)
    assert widget.notebook.kernel_value("w.state.frozen") == []


def test_a_group_is_renamed_where_its_name_stands_and_keeps_its_row(widget: WidgetPage) -> None:
    name = widget.root.get_by_role("textbox", name="Name of group 2")
    widget.enter(name, "trunk")
    expect(widget.root.get_by_role("textbox", name="Learning rate of trunk")).to_be_visible()
    expect(name).to_be_focused()
    expect(widget.names).to_have_text([re.compile(name) for name in ("stem", "trunk", "head")])
    widget.enter(name, "head")
    expect(widget.root.get_by_role("alert").filter(has_text="head")).to_be_visible()
    expect(name).to_have_value("trunk")
    widget.enter(name, "body")
    expect(widget.root.get_by_role("textbox", name="Learning rate of body")).to_be_visible()


def test_the_focus_stays_in_the_widget_when_a_pressed_button_is_disabled(widget: WidgetPage) -> None:
    page = widget.page
    widget.notebook.kernel_value("globals().update(pause=0.02)")
    widget.enter(widget.field("steps"), "3000")
    widget.button("Sweep").focus()
    page.keyboard.press("Enter")
    expect(widget.button("Pause")).to_be_focused()
    page.keyboard.press("Tab")
    expect(widget.button("Stop")).to_be_focused()
    page.keyboard.press("Enter")
    widget.wait_idle()
    expect(widget.button("Sweep")).to_be_focused()
    expect_letters_are_no_commands(widget)


@pytest.fixture
def long_run(widget: WidgetPage) -> Iterator[WidgetPage]:
    """Fine-tune, pressed by keyboard, starts a run that nobody sees the end of."""
    notebook = widget.notebook
    notebook.kernel_value("globals().update(pause=0.02)")
    widget.enter(widget.field("epochs"), "50")
    notebook.wait_value("w.state.options.epochs", 50)
    yield widget
    widget.rest()
    notebook.kernel_value("globals().update(pause=0.0)")
    widget.enter(widget.field("epochs"), "1")
    notebook.wait_value("w.state.options.epochs", 1)


def fine_tune(widget: WidgetPage) -> None:
    """Press Fine-tune by keyboard; the page brings the focus to Pause and stays where it was scrolled to."""
    button = widget.button("Fine-tune")
    button.focus()
    before = widget.root.bounding_box()
    widget.page.keyboard.press("Enter")
    expect(widget.button("Pause")).to_be_focused()
    expect(button).to_be_disabled()
    expect(widget.button("Pause")).to_be_focused()
    after = widget.root.bounding_box()
    assert before
    assert after
    assert after["y"] == before["y"]


def stop_without_focus(widget: WidgetPage) -> None:
    """Stop the job and leave the focus alone; a cell would wait for the end of the job."""
    expect(widget.button("Stop")).to_be_enabled()
    widget.button("Stop").evaluate("button => button.click()")


def expect_over(widget: WidgetPage) -> None:
    """Wait until the job is over and every button knows it: Fine-tune is told last."""
    widget.wait_idle()
    expect(widget.button("Fine-tune")).to_be_enabled()


def test_the_focus_goes_from_fine_tune_to_pause_and_stop_and_back(long_run: WidgetPage) -> None:
    page = long_run.page
    fine_tune(long_run)
    page.keyboard.press("Enter")
    expect(long_run.button("Resume")).to_be_focused()
    page.keyboard.press("Enter")
    expect(long_run.button("Pause")).to_be_focused()
    page.keyboard.press("Tab")
    expect(long_run.button("Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect_over(long_run)
    expect(long_run.button("Fine-tune")).to_be_focused()
    expect(long_run.button("Copy code")).to_be_visible()  # no press has reached it


def test_a_run_that_ends_by_itself_gives_the_focus_back(long_run: WidgetPage) -> None:
    long_run.enter(long_run.field("epochs"), "2")
    long_run.notebook.wait_value("w.state.options.epochs", 2)
    long_run.button("Fine-tune").focus()
    long_run.page.keyboard.press("Enter")
    long_run.notebook.wait_value("[len(w.history), w.history.stop_reason]", [44, "finished"])
    expect_over(long_run)
    expect(long_run.button("Fine-tune")).to_be_focused()


def test_the_focus_stays_where_the_user_has_moved_it(long_run: WidgetPage) -> None:
    fine_tune(long_run)
    field = field_of(long_run)
    stop_without_focus(long_run)
    expect_over(long_run)
    expect(field).to_be_focused()

    fine_tune(long_run)
    long_run.button("Copy code").focus()
    stop_without_focus(long_run)
    expect_over(long_run)
    expect(long_run.button("Copy code")).to_be_focused()


def test_the_next_job_has_its_own_origin(long_run: WidgetPage) -> None:
    fine_tune(long_run)
    field_of(long_run)
    stop_without_focus(long_run)
    expect_over(long_run)
    long_run.enter(long_run.field("steps"), "3000")
    long_run.button("Sweep").focus()
    long_run.page.keyboard.press("Enter")
    expect(long_run.button("Pause")).to_be_focused()
    long_run.page.keyboard.press("Tab")
    long_run.page.keyboard.press("Enter")
    expect_over(long_run)
    expect(long_run.button("Sweep")).to_be_focused()


def expect_letters_are_no_commands(widget: WidgetPage) -> None:
    """B, B, D, D with the focus on a button would add two cells and delete one."""
    cells = widget.page.locator(".jp-Notebook .jp-Cell")
    before = cells.count()
    widget.button("Sweep").focus()
    for letter in "bbdd":
        widget.page.keyboard.press(letter)
    assert cells.count() == before


def test_nothing_but_controls_and_named_parts_is_a_stop_of_the_tab_key(widget: WidgetPage) -> None:
    assert widget.root.evaluate(SCROLLED) == []


def test_pause_holds_a_sweep_and_resume_goes_on_where_it_waits(widget: WidgetPage) -> None:
    pause, top = widget.button("Pause"), widget.chart_top
    widget.notebook.kernel_value("globals().update(pause=0.02)")
    widget.enter(widget.field("steps"), "3000")
    widget.field("mode").select_option("linear")
    widget.notebook.wait_value("w._toolbar.mode.value", "linear")
    widget.press("Sweep")
    expect(widget.progress).to_contain_text("left")  # it has taken steps
    assert widget.chart_top == top
    widget.press("Pause")
    expect(widget.progress).to_contain_text("paused")
    expect(widget.button("Resume")).to_be_focused()
    step = widget.progress.inner_text()
    assert re.match(r"\d+/3000\s+loss [\d.e-]+\s+lr [\de.-]+\s+[\d.]+ steps/s\s+paused", step)
    widget.press("Resume")
    expect(widget.progress).to_contain_text("left")
    expect(pause).to_be_enabled()
    widget.press("Stop")
    widget.wait_idle()
    assert widget.chart_top == top
    assert widget.notebook.kernel_value("w.state.config.mode") == "linear"
