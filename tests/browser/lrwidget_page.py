"""The widget as its user meets it in a notebook: what is on the screen, and what a hand does with it.

Places are in pixels of the page. An LR is read off the axis: from where its ticks are, and not from what the kernel
says. Charts are found by their order, a group's things by the colour that the table of groups gives it.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, NamedTuple

from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from lrwidget.engine.words import format_lr
from tests.browser.notebook_page import NotebookPage
from tests.browser.waiting import eventually

TOLERANCE_PX = 1.5
"""How far a mark may be from where it should: it is drawn, and its box is measured, at fractions of a pixel."""

WATCH = """output => {
    const film = window.lrwFilm = [];
    const look = () => {
        const charts = [...output.querySelectorAll('.lrw-chart')].map(chart => chart.querySelectorAll('.curve'));
        const smoothed = curves => [...curves ?? []].map(curve => curve.querySelector('path.line'))
            .filter(line => line?.style.stroke.includes('--jp-content-font-color1')).map(line => line.getBBox());
        const [sweep, , run] = charts.length > 1 ? charts : [[], [], charts[0]];
        const frame = {
            words: output.innerText,
            sweep: Math.max(0, ...smoothed(sweep).map(box => box.x + box.width)),
            train: Math.max(0, ...smoothed(run).map(box => box.x + box.width)),
            valid: [...run ?? []].flatMap(curve => [...curve.querySelectorAll('path.dot')]).length,
        };
        if (JSON.stringify(frame) !== JSON.stringify(film.at(-1))) film.push(frame);
    };
    look();
    window.lrwObserver?.disconnect();
    window.lrwObserver = new MutationObserver(look);
    window.lrwObserver.observe(output, {subtree: true, childList: true, characterData: true, attributes: true});
}"""
"""Keeps a film of the widget: a frame whenever what is looked at has changed, whoever changed it."""

TICKS = """(axis, across) => [...axis.querySelectorAll('.tick')].map(tick => {
    const box = tick.querySelector('line').getBoundingClientRect();
    return [tick.textContent, across ? box.x + box.width / 2 : box.y + box.height / 2];
})"""

CENTRE = """mark => {
    const box = mark.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""

NEAR = "(field, [lr, decades]) => Math.abs(Math.log10(field.value / lr)) < decades"


class Frame(NamedTuple):
    """One moment of a film.

    Attributes:
        words: all texts of the widget.
        step: of the running job; None when none was running.
        sweep: right end of the sweep's smoothed curve, px from the left of its chart.
        train: right end of the run's training curve, likewise.
        valid: points of the run's validation curve.
    """

    words: str
    step: int | None
    sweep: float
    train: float
    valid: int


class Axis:
    """A log axis as its ticks show it: px to value and back.

    Args:
        ticks: text and place of each.
    """

    def __init__(self, ticks: list[tuple[str, float]]) -> None:
        (self._first, self._start), *_, (last, self._end) = [(math.log10(float(text)), px) for text, px in ticks]
        self._decades = last - self._first

    @property
    def pixel(self) -> float:
        """Decades of a pixel."""
        return abs(self._decades / (self._end - self._start))

    def value(self, px: float) -> float:
        """What a place stands for."""
        return float(10 ** (self._first + (px - self._start) / (self._end - self._start) * self._decades))

    def px(self, value: float) -> float:
        """Where a value is."""
        return self._start + (math.log10(value) - self._first) / self._decades * (self._end - self._start)


class Marker:
    """The marker of one param group.

    Args:
        widget: whose.
        name: of the group.
        color: of its handle and its line, as a style sheet gives it.
        index: of the group.
    """

    def __init__(self, widget: "WidgetPage", name: str, color: str, index: int) -> None:
        self.name = name
        self.color = color
        self.field = widget.root.locator(f"input[title='Learning rate of {name}']")
        self.handle = widget.chart.locator(f"path.dot.element[style*='fill: {color}']")
        self.label = widget.chart.locator("text.label", has_text=re.compile(rf"^{name}\s+\d"))
        self.line = widget.chart.locator(f"g.stick[style*='stroke: {color}']")
        self._widget = widget

    @property
    def x(self) -> float:
        """Where its handle is."""
        return centre(self.handle)[0]

    @property
    def line_x(self) -> float:
        """Where its line is."""
        return centre(self.line)[0]

    @property
    def lr(self) -> float:
        """The LR that its handle is at, by the axis."""
        return self._widget.axis.value(self.x)

    def expect_lr(self, lr: float) -> None:
        """Wait until field, label, handle and line all say `lr`."""
        expect(self.field).to_have_value(format_lr(lr))
        expect(self.label).to_contain_text(format_lr(lr))

        def is_there() -> None:
            px, handle, line = self._widget.axis.px(lr), self.x, self.line_x
            assert abs(handle - px) < TOLERANCE_PX, f"{self.name}: handle at {handle:.1f} px, {lr:.2g} is at {px:.1f}"
            assert abs(line - px) < TOLERANCE_PX, f"{self.name}: line at {line:.1f} px, {lr:.2g} is at {px:.1f}"

        eventually(is_there)

    def says(self, lr: float) -> bool:
        """Whether the number field says `lr`: two digits, to a pixel."""
        return bool(self.field.evaluate(NEAR, [lr, self._tolerance]))

    def wait_says(self, lr: float) -> None:
        """Wait until it does."""
        field = self.field.element_handle()
        self._widget.page.wait_for_function(
            f"([field, ...near]) => ({NEAR})(field, near)", arg=[field, lr, self._tolerance]
        )

    @property
    def _tolerance(self) -> float:
        return math.log10(1.05) + TOLERANCE_PX * self._widget.axis.pixel


class WidgetPage:
    """One widget on a page.

    Args:
        notebook: the notebook it is in.
        cell: whose output shows it.

    Attributes:
        root: all of it.
        chart: the loss over the LR.
        schedule: the preview of the schedule.
        runs: the run; there once there was one.
        page: Playwright's.
    """

    def __init__(self, notebook: NotebookPage, cell: int) -> None:
        self.notebook = notebook
        self.page: Page = notebook.page
        self._output = notebook.outputs(cell)
        self.root = self._output.locator(".lrwidget")
        self.chart, self.schedule, self.runs = (self.root.locator(".lrw-chart").nth(i) for i in range(3))
        self.progress = self.root.locator(".widget-html-content", has_text=re.compile(r"^\d+/\d+"))
        self.status = self.root.locator("[role=status]")

    # What a user does

    def button(self, name: str) -> Locator:
        """A button by what is written on it."""
        # Beside its text a button has an icon, which is a letter of its own kind.
        return self.root.get_by_role("button", name=re.compile(rf"^\W*{name}\W*$"))

    def press(self, name: str) -> None:
        """Press a button, once it can be pressed."""
        self.button(name).click()

    def rest(self) -> None:
        """Stop a job, if one runs: what a failing test leaves behind is none of the next one's."""
        if self.button("Stop").is_enabled():
            with suppress(PlaywrightTimeoutError):  # it has ended meanwhile
                self.button("Stop").click(timeout=2000)
        self.wait_idle()

    def field(self, label: str) -> Locator:
        """A text field by what is written before it."""
        return self.root.get_by_label(label, exact=True)

    def enter(self, field: Locator, text: str) -> None:
        """Type a text into a field, over what is there, and press Enter."""
        field.fill(text)
        field.press("Enter")

    def click_curve(self, lr: float) -> None:
        """Click the smoothed curve where it passes an LR, found by its shape."""
        x, y = (
            self.chart.locator(".curve path.line")
            .nth(2)
            .evaluate(
                """(path, x) => {
                const box = path.ownerSVGElement.getScreenCTM(), here = path.getScreenCTM();
                const at = length => path.getPointAtLength(length).matrixTransform(here);
                let [low, high] = [0, path.getTotalLength()];
                for (let i = 0; i < 40; i++) {
                    const middle = (low + high) / 2;
                    if (at(middle).x < x) low = middle; else high = middle;
                }
                return [at(low).x, at(low).y];
            }""",
                self.axis.px(lr),
            )
        )
        self.page.mouse.click(x, y)

    @contextmanager
    def dragging(self, marker: Marker, lr: float, steps: int = 12) -> Iterator[None]:
        """Drag a marker to an LR, and hold it there until the end of the `with`."""
        marker.handle.scroll_into_view_if_needed()
        x, y = centre(marker.handle)
        to = self.axis.px(lr)
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(to, y, steps=steps)
        try:
            yield
        finally:
            mouse.up()

    def tremble(self, marker: Marker, lr: float) -> None:
        """Let the hand that holds a marker tremble until the number field says where it is."""
        (x, y), deadline = (self.axis.px(lr), centre(marker.handle)[1]), monotonic() + 10
        while not marker.says(lr):
            assert monotonic() < deadline, f"held at {lr:.1e}, {marker.name}'s field says {marker.field.input_value()}"
            self.page.mouse.move(x, y + 1)
            self.page.mouse.move(x, y)

    # What a user sees

    @property
    def axis(self) -> Axis:
        """The LR axis of the sweep's chart."""
        return Axis(self.chart.locator("g.axis").first.evaluate(TICKS, True))

    @property
    def names(self) -> Locator:
        """Where the schedule says the names and LRs of the groups, each beside a chip of its colour."""
        return self.root.locator(".widget-html-content span[style*='white-space']", has=self.page.locator("span"))

    @property
    def markers(self) -> list[Marker]:
        """One for each group, in the order of the table."""
        chips = self.names.locator("> span")
        chips.first.wait_for()
        found = chips.evaluate_all(
            "chips => chips.map(chip => [chip.parentNode.textContent, getComputedStyle(chip).backgroundColor])"
        )
        return [Marker(self, name, color, index) for index, (name, color) in enumerate(found)]

    @property
    def chart_top(self) -> float:
        """Where the sweep's chart begins, px from the top of the widget."""
        own, chart = self.root.evaluate(
            "root => [root, root.querySelector('.lrw-chart')].map(part => part.getBoundingClientRect().top)"
        )
        return round(float(chart - own), 1)

    @property
    def suggestions(self) -> list[Locator]:
        """The ticks above the curve."""
        colors = {marker.color for marker in self.markers}
        shown = self.chart.locator("path.dot.element:not([style*='opacity: 0;'])")
        return [dot for dot in shown.all() if dot.evaluate("dot => dot.style.fill") not in colors]

    def peak_on_preview(self, marker: Marker) -> tuple[float, float]:
        """The highest LR of a group on the preview's axis, and how far off it may be, as a factor."""
        axis = Axis(self.schedule.locator("g.axis:visible").nth(1).evaluate(TICKS, False))
        line = self.schedule.locator(f"path.line[style*='stroke: {marker.color}']:visible")
        # The bounding box of a path is that of its middle line, without the width of the stroke.
        top = line.evaluate("path => path.getBoundingClientRect().top")
        return axis.value(top), 10 ** (TOLERANCE_PX * axis.pixel)

    def wait_running(self) -> None:
        """Wait until a job shows its progress."""
        expect(self.progress).to_be_visible(timeout=30_000)

    def wait_idle(self, timeout: float = 30.0) -> None:
        """Wait until a job has given the model back; `timeout` in seconds."""
        expect(self.button("Sweep")).to_be_enabled(timeout=timeout * 1000)

    # The film

    def watch(self) -> None:
        """Begin a film of the widget; it may appear later."""
        self._output.evaluate(WATCH)

    def film(self) -> list[Frame]:
        """The film so far."""
        frames: list[dict[str, Any]] = self.page.evaluate("window.lrwFilm")
        return [frame_of(frame) for frame in frames]


def frame_of(frame: dict[str, Any]) -> Frame:
    """A frame as the browser keeps it, read."""
    step = re.search(r"(\d+)/\d+\s+loss", frame["words"])
    return Frame(frame["words"], int(step[1]) if step else None, frame["sweep"], frame["train"], frame["valid"])


def centre(mark: Locator) -> tuple[float, float]:
    """Where a mark is."""
    x, y = mark.evaluate(CENTRE)
    return float(x), float(y)
