"""What leaves the screen: pictures and numbers as files, a program on the clipboard."""

import csv
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread
from playwright.sync_api import expect

from lrwidget.engine.record import load
from lrwidget.engine.runs.history import History
from tests.browser.conftest import Lab
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.notebook_page import NotebookPage
from tests.browser.test_widget import SHORT, start

CHOSEN = "[[view.what.label, view.kind.label] for view in w._views if type(view).__name__ == 'Exports'][0]"
CLIPBOARD = "() => navigator.clipboard.readText()"


@pytest.fixture(scope="module")
def trained(shared_lab: Lab) -> NotebookPage:
    """A widget that has swept, and trained for two epochs, the first of them frozen."""
    notebook = start(shared_lab, SHORT, "w.fine_tune(epochs=1, freeze_epochs=1)", "w")
    notebook.run_cell(1)
    notebook.wait_output(1, "suggested")
    notebook.run_cell(2)
    notebook.wait_output(2, "Trained all 44 steps")
    return notebook


@pytest.fixture
def widget(trained: NotebookPage) -> Iterator[WidgetPage]:
    widget = WidgetPage(trained, 1)
    yield widget
    widget.rest()
    assert not trained.errors


def saved(widget: WidgetPage, button: str, folder: Path) -> Path:
    """Press a button; the file that the browser saves because of that."""
    with widget.page.expect_download() as download:
        widget.press(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def choose(widget: WidgetPage, what: str, kind: str) -> None:
    """Choose a picture, and wait for the kernel to know: ipykernel 7 hears choices and presses on different threads."""
    widget.field("picture of the").select_option(label=what)
    widget.field("as").select_option(label=kind)
    widget.notebook.wait_value(CHOSEN, [what, kind])


@pytest.mark.parametrize("what", ["sweep", "schedule", "run"])
def test_a_press_saves_a_picture(widget: WidgetPage, what: str, tmp_path: Path) -> None:
    choose(widget, what, "PNG")
    png = saved(widget, "Save picture", tmp_path)
    assert png.name == f"lrwidget-{what}.png"
    height, width, _ = imread(png).shape
    assert width > 600 and height > 300

    choose(widget, what, "SVG")
    svg = saved(widget, "Save picture", tmp_path)
    assert svg.name == f"lrwidget-{what}.svg"
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_the_link_that_stays_saves_the_same_file_again(widget: WidgetPage, tmp_path: Path) -> None:
    first = saved(widget, "History CSV", tmp_path).read_bytes()
    with widget.page.expect_download() as download:
        widget.root.get_by_role("link", name="lrwidget-history.csv").click()
    assert Path(download.value.path()).read_bytes() == first


def test_the_numbers_of_the_run_are_saved_to_the_last_bit(widget: WidgetPage, tmp_path: Path) -> None:
    losses = widget.notebook.kernel_value("w.history.losses.tolist()")
    path = saved(widget, "History CSV", tmp_path)
    with path.open(newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == losses
    history = load(saved(widget, "History JSON", tmp_path))
    assert isinstance(history, History)
    assert history.losses.tolist() == losses


def test_a_widget_that_is_shown_twice_saves_one_file(widget: WidgetPage, tmp_path: Path) -> None:
    notebook = widget.notebook
    notebook.run_cell(3)
    expect(notebook.outputs(3).locator(".lrw-chart").first).to_be_visible()
    files: list[str] = []
    widget.page.on("download", lambda download: files.append(download.suggested_filename))
    saved(widget, "History JSON", tmp_path)
    expect(notebook.outputs(3).get_by_role("link", name="lrwidget-history.json")).to_be_visible(timeout=20_000)
    saved(widget, "History CSV", tmp_path)  # whatever the first press began has begun by now
    assert files == ["lrwidget-history.json", "lrwidget-history.csv"]


def test_a_press_copies_the_program_and_shows_it(widget: WidgetPage) -> None:
    page = widget.page
    page.evaluate("() => navigator.clipboard.writeText('something else')")
    widget.press("Copy code")
    expect(widget.root.get_by_role("button", name="Copied")).to_be_visible()
    code = widget.notebook.kernel_value("w.code()")
    assert page.evaluate(CLIPBOARD) == code
    assert widget.root.locator("pre").text_content() == code

    page.evaluate("() => navigator.clipboard.writeText('something else')")
    widget.enter(widget.field("epochs"), "3")
    expect(widget.root.get_by_role("button", name="Copy", exact=True)).to_be_visible(timeout=20_000)
    assert page.evaluate(CLIPBOARD) == "something else", "another plan is shown, and copied by nobody"
    widget.root.get_by_role("button", name="Copy", exact=True).click()
    expect(widget.root.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate(CLIPBOARD) == widget.notebook.kernel_value("w.code()")
    widget.press("Hide code")
    expect(widget.root.locator("pre")).to_have_count(0)


def test_where_the_clipboard_is_forbidden_the_program_is_there_to_be_copied(widget: WidgetPage) -> None:
    page = widget.page
    page.evaluate("() => navigator.clipboard.writeText('something else')")
    page.evaluate(
        """() => {
            navigator.clipboard.writeText = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
            document.execCommand = () => false;
        }"""
    )
    try:
        widget.press("Copy code")
        expect(widget.root.get_by_role("button", name="Selected: press Ctrl+C")).to_be_visible()
        code = widget.notebook.kernel_value("w.code()")
        assert page.evaluate("() => getSelection().toString()").strip() == code.strip()
    finally:
        page.evaluate("() => { delete navigator.clipboard.writeText; delete document.execCommand; }")
    page.keyboard.press("Control+c")
    assert page.evaluate(CLIPBOARD).strip() == code.strip()
    widget.press("Hide code")


def test_a_page_that_is_loaded_again_saves_and_copies_nothing(widget: WidgetPage, tmp_path: Path) -> None:
    notebook, page = widget.notebook, widget.page
    saved(widget, "History JSON", tmp_path)
    widget.press("Copy code")
    expect(widget.root.get_by_role("button", name="Copied")).to_be_visible()
    page.evaluate("() => navigator.clipboard.writeText('something else')")
    notebook.save()
    files: list[str] = []
    page.on("download", lambda download: files.append(download.suggested_filename))
    notebook.reload()
    expect(widget.root.get_by_role("link", name="lrwidget-history.json")).to_be_visible(timeout=20_000)
    expect(widget.root.get_by_role("button", name="Copy", exact=True)).to_be_visible(timeout=20_000)
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    assert page.evaluate(CLIPBOARD) == "something else"
    assert files == []
