"""Write the README's picture: the widget of the quickstart in JupyterLab, after its sweep and a drag.

Usage: python -m scripts.screenshot docs/widget.png
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

from tests.browser.conftest import FLAGS, OFFLINE, Lab, chromium
from tests.browser.lrwidget_page import WidgetPage
from tests.browser.server import JupyterServer

QUICKSTART = Path(__file__).parents[1] / "notebooks" / "1-quickstart.ipynb"
WIDTH, MARGIN = 900, 12
"""Of the picture, in pixels of the page; it is taken at two pixels for each of them, for screens that have those."""
PICKED = 3e-5
"""Where the first group's marker is dragged to."""

ALONE = """widget => {
    const app = window.jupyterapp;
    void app.commands.execute('application:toggle-left-area');
    app.shell.currentWidget.content.activeCellIndex = 0;
    widget.closest('.jp-Cell').querySelector('.jp-Cell-inputWrapper').style.visibility = 'hidden';
}"""
"""Nothing but the widget is in the picture: no file browser, no frame of an active cell, no edge of the code."""


def take_picture(lab: Lab, target: Path) -> None:
    """Run the quickstart up to its sweep, drag a marker, and keep the widget."""
    source = nbformat.read(QUICKSTART, as_version=4)
    sweep = next(index for index, cell in enumerate(source.cells) if "%lrfind" in cell.source and "w =" in cell.source)
    notebook = lab.open_notebook(source, viewport=(WIDTH, 3000))
    for index, cell in enumerate(source.cells[: sweep + 1]):
        if cell.cell_type == "code":
            notebook.run_cell(index)
            notebook.wait_done(index)
    notebook.wait_output(sweep, "suggested")
    widget = WidgetPage(notebook, sweep)
    widget.wait_idle()

    widget.root.evaluate(ALONE)
    missing = WIDTH - 2 * MARGIN - widget.root.evaluate("widget => widget.getBoundingClientRect().width")
    notebook.page.set_viewport_size({"width": round(WIDTH + missing), "height": 3000})
    notebook.page.wait_for_function(
        "([chart, width]) => chart.querySelector('svg').getBoundingClientRect().width > width",
        arg=[widget.chart.element_handle(), WIDTH - 3 * MARGIN],
    )
    first = widget.markers[0]
    with widget.dragging(first, PICKED):
        widget.tremble(first, PICKED)
    widget.notebook.wait_idle()
    box = widget.root.bounding_box()
    assert box is not None
    clip = {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN, "width": WIDTH, "height": box["height"] + 2 * MARGIN}
    target.parent.mkdir(parents=True, exist_ok=True)
    notebook.page.mouse.move(0, 0)
    notebook.page.screenshot(path=target, clip=clip)  # type: ignore[arg-type]


def main(target: Path) -> None:
    """Start a server and a browser for it."""
    server = JupyterServer(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, OFFLINE])
            with browser.new_context(device_scale_factor=2) as context:
                take_picture(Lab(server, context), target)
            browser.close()
    finally:
        server.close()
    print(f"the widget's picture: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
