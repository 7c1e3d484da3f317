"""More groups than a hand has fingers: each can be seen, told and taken, wherever its LR is."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Lab
from tests.browser.lrwidget_page import TOLERANCE_PX, WidgetPage, centre

SETUP = """
import lrwidget, torch
from pathlib import Path
from time import sleep

torch.manual_seed(0)
layers = [torch.nn.Linear(8, 8) for _ in range({count})]
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.SGD(
    [dict(params=layer.parameters(), lr=1e-3, name=f"layer {{k}}") for k, layer in enumerate(layers)]
)
x = torch.randn(64, 8)
w = lrwidget.attach(model, optimizer, [(x, x)] * 4, torch.nn.functional.mse_loss)
w
"""
BUSY = "while not Path('{go}').exists(): sleep(0.01)"
SPREAD = "setattr(w, 'lrs', tuple(3e-5 * 100 ** (k / ({count} - 1)) for k in range({count})))"
ALIKE = "setattr(w, 'lrs', (1e-3,) * {count})"

MET = """handle => {
    const {x, y, width, height} = handle.getBoundingClientRect();
    return document.elementFromPoint(x + width / 2, y + height / 2) === handle;
}"""
SEEN = """label => {
    const {width, height} = label.getBoundingClientRect();
    return width * height > 0;
}"""


@pytest.fixture(scope="module", params=[12, 30])
def many(request: pytest.FixtureRequest, shared_lab: Lab) -> Iterator[WidgetPage]:
    """A widget with so many groups, and a cell that keeps the kernel busy until there is a file."""
    count = request.param
    notebook = shared_lab.open([SETUP.format(count=count), BUSY.format(go=f"go{count}")], viewport=(1300, 2600))
    notebook.run_cell(0)
    notebook.wait_done(0)
    widget = WidgetPage(notebook, 0)
    assert len(widget.markers) == count
    yield widget
    assert not notebook.errors


@pytest.mark.parametrize("lrs", [SPREAD, ALIKE])
def test_the_pointer_meets_every_handle_at_its_middle(many: WidgetPage, lrs: str) -> None:
    count = len(many.markers)
    many.notebook.kernel_value(lrs.format(count=count))
    first, last = many.markers[0], many.markers[-1]
    last.wait_says(many.notebook.kernel_value("w.lrs[-1]"))
    first.wait_says(many.notebook.kernel_value("w.lrs[0]"))
    many.chart.scroll_into_view_if_needed()
    missed = [marker.name for marker in many.markers if not marker.handle.evaluate(MET)]
    assert not missed


def test_one_among_many_at_one_lr_is_named_and_dragged_while_the_kernel_is_busy(
    many: WidgetPage, shared_lab: Lab
) -> None:
    notebook, count = many.notebook, len(many.markers)
    notebook.kernel_value(ALIKE.format(count=count))
    above, marker, below = many.markers[4:7]
    for each in (above, marker, below):
        each.wait_says(1e-3)
    notebook.run_cell(1)
    notebook.wait_prompt(1, "[*]")

    marker.handle.hover()
    expect(marker.label).to_contain_text("0.001")
    many.page.wait_for_function(SEEN, arg=marker.label.element_handle())
    assert above.label.evaluate(SEEN) == (count == 12)

    with many.dragging(marker, 1e-2):
        px = many.axis.px(1e-2)
        assert abs(marker.x - px) < TOLERANCE_PX and abs(marker.line_x - px) < TOLERANCE_PX
        assert abs(centre(marker.label)[0] - px) < 200  # it is beside the handle
        assert all(abs(each.x - many.axis.px(1e-3)) < TOLERANCE_PX for each in (above, below))
    (shared_lab.root / f"go{count}").touch()
    notebook.wait_idle()
    marker.wait_says(1e-2)
    marker.expect_lr(notebook.kernel_value("w.lrs[5]"))
    assert notebook.kernel_value("[w.lrs[4], w.lrs[6]]") == [1e-3, 1e-3]
