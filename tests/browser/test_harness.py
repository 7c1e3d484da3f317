"""The browser harness itself: a slider, a button, an interrupt, in both applications."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import App, Lab

SLIDER_AND_BUTTON = """
import ipywidgets
slider, button = ipywidgets.IntSlider(value=3), ipywidgets.Button(description="press")
seen = ipywidgets.Label("nothing yet")
def say(_):
    seen.value = f"pressed at {slider.value}"
button.on_click(say)
ipywidgets.VBox([slider, button, seen])
"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_click_and_a_drag_travel_to_the_kernel_and_back(lab: Lab, app: App) -> None:
    notebook = lab.open([SLIDER_AND_BUTTON, "print('value', slider.value)"], app=app)
    assert notebook.prompt(1) == "[ ]"
    notebook.run_cell(0)
    notebook.wait_output(0, "nothing yet")

    notebook.outputs(0).get_by_role("button", name="press").click()
    notebook.wait_output(0, "pressed at 3")

    notebook.drag(notebook.outputs(0).locator(".noUi-handle"), dx=400)
    expect(notebook.outputs(0).locator(".widget-readout")).to_have_text("100")
    notebook.wait_value("slider.value", 100)  # the page shows it before the kernel has it
    notebook.run_cell(1)
    notebook.wait_output(1, "value 100")
    notebook.wait_idle()
    assert notebook.prompt(1) == "[2]"
    assert notebook.kernel_value("[slider.value, button.description]") == [100, "press"]
    assert not notebook.errors


@pytest.mark.parametrize("generation", [6, 7])
def test_the_interrupt_button_ends_a_cell_and_the_one_waiting_behind_it(lab: Lab, generation: int) -> None:
    notebook = lab.open(
        ["import ipykernel; print(ipykernel.__version__)\nwhile True: pass", "print('never')"], generation=generation
    )
    notebook.run_all()
    notebook.wait_output(0, f"{generation}.")
    assert (notebook.prompt(0), notebook.prompt(1)) == ("[*]", "[*]")
    notebook.interrupt()
    notebook.wait_output(0, "KeyboardInterrupt")
    notebook.wait_idle()
    assert notebook.output(1) == ""


def test_a_saved_notebook_shows_its_output_after_a_reload_and_a_restart(lab: Lab) -> None:
    notebook = lab.open(["print('kept'); here = True", "print('here' in globals())"])
    notebook.run_cell(0)
    notebook.wait_output(0, "kept")
    notebook.save()
    notebook.reload()
    notebook.wait_output(0, "kept")
    assert notebook.kernel_value("here") is True
    notebook.restart()
    assert notebook.kernel_value("'here' in globals()") is False


def test_every_cell_of_a_long_notebook_is_in_the_page(lab: Lab) -> None:
    notebook = lab.open([f"print('cell', {i})" + "\n" * 30 for i in range(30)], viewport=(1300, 700))
    notebook.run_all()
    notebook.wait_output(29, "cell 29")
    assert [notebook.output(i).strip() for i in range(30)] == [f"cell {i}" for i in range(30)]


def test_an_uncaught_exception_in_the_page_is_kept(lab: Lab) -> None:
    notebook = lab.open([])
    notebook.page.evaluate("() => { setTimeout(() => { throw new Error('on purpose'); }); }")
    notebook.page.wait_for_function("() => true")
    notebook.page.evaluate("() => new Promise(resolve => setTimeout(resolve))")
    assert notebook.errors == ["on purpose"]


def test_nothing_outside_this_machine_can_be_reached(lab: Lab) -> None:
    notebook = lab.open([])
    reached = notebook.page.evaluate("() => fetch('https://example.org').then(() => true, () => false)")
    assert reached is False


CHART = """
import bqplot, ipywidgets
x, y = bqplot.LogScale(min=1e-6, max=1.0), bqplot.LinearScale(min=0.0, max=1.0)
point = bqplot.Scatter(x=[1e-3], y=[0.5], scales={"x": x, "y": y}, enable_move=True, restrict_x=True)
seen = ipywidgets.Label("nothing yet")
def say(_, event):
    seen.value = f"dropped at {event['point']['x']:.0e}"  # half a pixel is 1 %
point.on_drag_end(say)
ipywidgets.VBox([bqplot.Figure(marks=[point], axes=[bqplot.Axis(scale=x)]), seen])
"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_point_dragged_on_a_log_axis_lands_under_the_pointer(lab: Lab, app: App) -> None:
    notebook = lab.open([CHART], app=app)
    notebook.run_cell(0)
    handle = notebook.outputs(0).locator(".bqplot .dot.element")
    handle.wait_for()
    first, last = (
        notebook.outputs(0).locator(".bqplot .tick", has_text=re.compile(f"^{label}$")).bounding_box()
        for label in ("1e-6", "1e\\+0")
    )
    assert first is not None and last is not None
    width = last["x"] + last["width"] / 2 - first["x"] - first["width"] / 2

    notebook.drag(handle, dx=width / 6)
    notebook.wait_output(0, "dropped at 1e-02")
    assert not notebook.errors
