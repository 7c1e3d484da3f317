"""A Jupyter server and a Chromium for all browser tests, and notebooks opened in them."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import nbformat
import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests import kernelspecs
from tests.browser.notebook_page import NotebookPage
from tests.browser.server import JupyterServer
from tests.browser.waiting import SECONDS

# Quiet, and cut off: a test that needs a content-delivery network would pass here and fail behind a firewall.
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --no-proxy-server --disable-dev-shm-usage
""".split()
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
expect.set_options(timeout=1000 * SECONDS)

URLS = {"lab": "/lab/workspaces/{workspace}/tree/{path}?reset&", "notebook": "/notebooks/{path}?"}

App = Literal["lab", "notebook"]


def chromium() -> str:
    """The browser's program: $LRWIDGET_CHROMIUM, or the first of Debian's and Google's names on the PATH."""
    names = [os.environ.get("LRWIDGET_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if found is None:
        raise RuntimeError("No Chromium on the PATH: `make chromium` installs one or says what to install.")
    return found


class Lab:
    """Writes notebooks into the server's folder and opens them; closes what it opened."""

    def __init__(self, server: JupyterServer, context: BrowserContext) -> None:
        self.server = server
        self.pages: list[NotebookPage] = []
        self._context = context
        self._paths: list[str] = []

    @property
    def root(self) -> Path:
        """The folder that notebooks and their cells are in: a cell's `open("x")` is `lab.root / "x"`."""
        return self.server.root

    def open(
        self,
        cells: Sequence[str],
        *,
        app: App = "lab",
        generation: int | None = None,
        viewport: tuple[int, int] = (1300, 1800),
    ) -> NotebookPage:
        """A new notebook of code cells, open with its kernel ready and no cell run.

        Args:
            cells: the sources.
            app: "lab" for JupyterLab, "notebook" for Notebook 7.
            generation: ipykernel 6 or 7; None for the environment's own `python3`.
            viewport: width and height in pixels; tall, because what is below the fold cannot be dragged.
        """
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        return self.open_notebook(notebook, app=app, generation=generation, viewport=viewport)

    def open_notebook(
        self,
        notebook: nbformat.NotebookNode,
        *,
        app: App = "lab",
        generation: int | None = None,
        viewport: tuple[int, int] = (1300, 1800),
    ) -> NotebookPage:
        """The same for a notebook that already is one, such as a file read with `nbformat.read`."""
        kernel = "python3" if generation is None else kernelspecs.NAMES[generation]
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        name = next(f"test{i}" for i in count() if not (self.root / f"test{i}.ipynb").exists())
        nbformat.write(notebook, self.root / f"{name}.ipynb")
        path = URLS[app].format(workspace=name, path=quote(f"{name}.ipynb"))
        self._paths.append(f"{name}.ipynb")
        page = self._context.new_page()
        page.set_viewport_size({"width": viewport[0], "height": viewport[1]})
        opened = NotebookPage(page, f"{self.server.url}{path}token={self.server.token}")
        self.pages.append(opened)
        return opened

    def close(self) -> None:
        """Close the pages and end their kernels."""
        for opened in self.pages:
            opened.page.close()
        self.server.shut_down_kernels(self._paths)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """One Jupyter server for all tests; it serves JupyterLab and Notebook 7."""
    server = JupyterServer(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, OFFLINE])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for all tests: the cache saves each of them the loading of JupyterLab."""
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        yield context


@pytest.fixture
def lab(server: JupyterServer, context: BrowserContext) -> Iterator[Lab]:
    """Opens notebooks: `lab.open(["import lrwidget", ...])` gives a `NotebookPage`."""
    lab = Lab(server, context)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def shared_lab(server: JupyterServer, context: BrowserContext) -> Iterator[Lab]:
    """The same for notebooks that a module's tests share: saves each of them a kernel's start and importing torch."""
    lab = Lab(server, context)
    yield lab
    lab.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed browser test leaves pictures of its pages in build/screenshots."""
    report = yield
    if report.when == "call" and report.failed:
        labs = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Lab)]
        for number, opened in enumerate(page for lab in labs for page in lab.pages):
            name = re.sub(r"[^\w-]+", "_", item.name)
            path = opened.screenshot(f"FAILED-{name}-{number}")
            report.sections.append((f"page {number}", f"{path}\nJavaScript errors: {opened.errors}"))
    return report
