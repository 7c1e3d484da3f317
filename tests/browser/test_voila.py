"""The widget in Voilà: a notebook as a page, without cells; all of them have run before it shows.

Cells run as nbconvert runs them, so `%lrfind` in one has swept when the page comes. A button pressed on the page starts
a job on a thread, as in JupyterLab, and no cell ever waits for it.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.lrwidget_page import TOLERANCE_PX, WidgetPage
from tests.browser.test_widget import SETUP

ATTACHED = "import lrwidget\npause = 0.02\nw = lrwidget.attach(model, optimizer, train_dl, loss_fn)\nw"
SWEPT = "%lrfind model optimizer train_dl loss_fn --num-steps 60"


class VoilaPage:
    """The page that Voilà makes of a notebook, as `WidgetPage` needs it.

    Attributes:
        page: Playwright's.
        errors: uncaught JavaScript exceptions.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.set_viewport_size({"width": 1300, "height": 1800})
        page.goto(url, timeout=120_000, wait_until="domcontentloaded")

    def outputs(self, index: int) -> Locator:
        """All outputs: there is one widget."""
        return self.page.locator("body")


class Voila:
    """`voila NOTEBOOK`, for as long as a test needs it."""

    def __init__(self, folder: Path, cells: list[str]) -> None:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
        nbformat.write(notebook, folder / "app.ipynb")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]  # Voilà takes the next one that is free, and says which
        private = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
        self._log = folder / "voila.log"
        command = [sys.executable, "-m", "voila", "app.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--token="],
                cwd=folder,
                env={**os.environ, **private, "IPYTHONDIR": str(folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = self._wait_for_url(60)

    def _wait_for_url(self, timeout: float) -> str:
        deadline = monotonic() + timeout
        while monotonic() < deadline and self._process.poll() is None:
            if said := re.search(r"http://127\.0\.0\.1:\d+/", self._log.read_text()):
                return said[0]
            sleep(0.05)
        self.close()
        raise RuntimeError(f"Voilà did not start within {timeout:g} s. Its log:\n{self._log.read_text()}")

    def close(self) -> None:
        """End it and its kernels."""
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def voila(tmp_path: Path, context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[VoilaPage]:
    """The page of the notebook whose last cell the test names."""
    server = Voila(tmp_path, [SETUP, request.param])
    page = context.new_page()
    try:
        yield VoilaPage(page, server.url)
    finally:
        page.close()
        server.close()


@pytest.mark.parametrize("voila", [ATTACHED], indirect=True)
def test_the_curve_grows_a_marker_drags_the_schedule_follows_stop_stops_and_the_picked_lrs_train(
    voila: VoilaPage,
) -> None:
    widget = WidgetPage(voila, 0)  # type: ignore[arg-type]
    widget.watch()
    widget.enter(widget.field("steps"), "2000")
    widget.press("Sweep")
    widget.wait_running()
    head = widget.markers[2]
    with widget.dragging(head, 2e-3):
        head.wait_says(2e-3)
    head.wait_says(2e-3)
    expect(widget.progress).to_be_visible()
    voila.page.wait_for_function("new Set(lrwFilm.map(frame => frame.sweep)).size > 5")
    widget.press("Stop")
    widget.wait_idle()
    expect(widget.status).to_contain_text("The model is as it was before")
    for marker in widget.markers:
        drawn, factor = widget.peak_on_preview(marker)
        lr = float(marker.field.input_value())
        assert lr / factor / 1.1 < drawn < lr * factor * 1.1, marker.name
    assert abs(head.x - widget.axis.px(2e-3)) < TOLERANCE_PX + 2

    widget.enter(widget.field("epochs"), "1")
    widget.press("Fine-tune")
    expect(widget.status).to_contain_text("Trained all 22 steps", timeout=30_000)
    assert {frame.valid for frame in widget.film()} >= {0}
    expect(voila.page.locator(".lrwidget-picture:visible")).to_have_count(0)
    assert not voila.errors


@pytest.mark.parametrize("voila", [SWEPT], indirect=True)
def test_a_sweep_in_a_cell_is_over_when_the_page_comes_and_the_widget_is_alive(voila: VoilaPage) -> None:
    widget = WidgetPage(voila, 0)  # type: ignore[arg-type]
    expect(widget.root).to_contain_text("suggested", timeout=60_000)
    body = widget.markers[1]
    widget.enter(body.field, "3e-4")
    body.expect_lr(3e-4)
    expect(voila.page.locator(".lrwidget-picture:visible")).to_have_count(0)
    assert not voila.errors
