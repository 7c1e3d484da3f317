"""One notebook open in a browser: what a user does and sees. Methods wait on conditions, never on the clock."""

import json
from ast import literal_eval
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.waiting import eventually

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.isReady && panel?.sessionContext?.session?.kernel?.status === 'idle';
}"""
IDLE = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel;
    return kernel?.status === 'idle' && !prompts.some(prompt => prompt.textContent.includes('[*]'));
}"""
# A promise is not awaited where the command's ends with the cell: the test must go on while the cell runs.
RUN_CELL = """index => {
    const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    void app.commands.execute('notebook:run-cell');
}"""
TAKEN = """() => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    window.lrwTaken = 0;
    kernel.iopubMessage.connect((_, {header, content, parent_header}) => {
        window.lrwTaken += header.msg_type === 'status' && content.execution_state === 'busy'
            && parent_header.msg_type === 'execute_request';
    });
}"""
RUN_ALL = "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
EVALUATE = """async expression => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const request = {code: '', silent: false, store_history: false, stop_on_error: false,
                     user_expressions: {value: `__import__('json').dumps(${expression})`}};
    const late = new Promise((_, fail) => setTimeout(fail, 60_000, Error('no answer from the kernel for a minute')));
    const reply = await Promise.race([kernel.requestExecute(request, true).done, late]);
    return reply.content.user_expressions?.value ?? reply.content;
}"""
RESTART = """async () => {
    await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart();
}"""


class NotebookPage:
    """An open notebook. Cells are counted from 0, whatever their kind.

    Attributes:
        page: Playwright's page, for what is not here.
        errors: uncaught JavaScript exceptions since the notebook was ready; a test that ends with
            `assert not notebook.errors` says that nothing broke unseen.
        console_errors: what was written to the browser's console as an error, since then.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.console_errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda entry: entry.type == "error" and self.console_errors.append(entry.text))
        page.goto(url)
        self._wait_ready()

    def _wait_ready(self) -> None:
        self.page.wait_for_function(READY, timeout=60_000)
        # Notebook 7 throws while it starts, of its own accord; that is not a widget's doing.
        self.errors.clear()
        self.console_errors.clear()

    # What a user does

    def run_cell(self, index: int) -> None:
        """Run one cell and return at once."""
        self.page.evaluate(RUN_CELL, index)

    def run_all(self) -> None:
        """Send every cell to the kernel and return at once."""
        self.page.evaluate(RUN_ALL)

    def interrupt(self) -> None:
        """Press the interrupt button of the toolbar."""
        self.page.locator("[data-command='notebook:interrupt-kernel'], [data-jp-item-name='interrupt']").first.click()

    def restart(self) -> None:
        """Restart the kernel: every model in it is gone, the page is as it was."""
        self.page.evaluate(RESTART)
        self.page.wait_for_function(READY, timeout=60_000)

    def save(self) -> None:
        """Save the notebook, with its outputs and widget state."""
        self.page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.context.save(); }")

    def reload(self) -> None:
        """Load the page again; the kernel goes on."""
        self.page.reload()
        self._wait_ready()

    def drag(self, handle: Locator, dx: float, dy: float = 0.0, *, steps: int = 10, release: bool = True) -> None:
        """Take `handle` with the mouse and move it by `dx`, `dy` pixels; `release=False` keeps the button down."""
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        assert box is not None, "the handle is not visible"
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=steps)
        if release:
            self.page.mouse.up()

    # What a user sees

    def cell(self, index: int) -> Locator:
        """The whole cell: input and output."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def outputs(self, index: int) -> Locator:
        """The output area of a code cell; widgets live here."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def output(self, index: int) -> str:
        """The text now in a cell's output, widgets' labels included."""
        return "\n".join(self.outputs(index).locator(".jp-OutputArea-output").all_inner_texts())

    def prompt(self, index: int) -> str:
        """`"[ ]"` not run, `"[*]"` running or waiting, `"[3]"` done."""
        return self.cell(index).locator(".jp-InputPrompt").inner_text().removesuffix(":")

    def wait_output(self, index: int, text: str, timeout: float = 30.0) -> None:
        """Wait until a cell's output contains `text`; `timeout` in seconds."""
        expect(self.outputs(index)).to_contain_text(text, timeout=timeout * 1000)

    def wait_prompt(self, index: int, text: str, timeout: float = 30.0) -> None:
        """Wait until a cell's prompt is `text`, as `prompt` gives it."""
        expect(self.cell(index).locator(".jp-InputPrompt")).to_have_text(f"{text}:", timeout=timeout * 1000)

    def count_taken(self) -> None:
        """Begin to count the cells that the kernel has taken, for `wait_taken`; a prompt tells only what was sent."""
        self.page.evaluate(TAKEN)

    def wait_taken(self, cells: int) -> None:
        """Wait until the kernel has taken so many cells: run them, or begun to let them wait."""
        self.page.wait_for_function("cells => window.lrwTaken >= cells", arg=cells)

    def wait_done(self, index: int, timeout: float = 60.0) -> None:
        """Wait until a cell has run, whichever number it got."""
        self.page.wait_for_function(
            "index => /\\[\\d+\\]/.test(document.querySelectorAll('.jp-Notebook .jp-Cell')[index]"
            ".querySelector('.jp-InputPrompt').textContent)",
            arg=index,
            timeout=timeout * 1000,
        )

    def wait_idle(self, timeout: float = 60.0) -> None:
        """Wait until the kernel is idle and no cell is running or waiting."""
        self.page.wait_for_function(IDLE, timeout=timeout * 1000)

    def kernel_value(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, if JSON can express it.

        To the kernel it is a cell: while another runs, or waits behind a gate, it waits too. What must be seen
        meanwhile is read from the page (a number field), or from a file in the server's `root`.
        """
        answer = self.page.evaluate(EVALUATE, expression)
        assert answer["status"] == "ok", f"{expression!r} in the kernel: {answer}"
        return json.loads(literal_eval(answer["data"]["text/plain"]))

    def wait_value(self, expression: str, value: Any) -> None:
        """Wait until an expression in the kernel has a value.

        What a user does may be heard on another thread than what is asked here, in ipykernel 7, and so later.
        """

        def has_come() -> None:
            assert self.kernel_value(expression) == value

        eventually(has_come)

    def screenshot(self, name: str) -> Path:
        """A picture of the page, in build/screenshots/NAME.png; returns its path."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path
