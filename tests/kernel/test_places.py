"""Places that a test cannot go to, by what they are known by: Google Colab and VS Code."""

import pytest

from tests.kernel.kernels import Kernel
from tests.kernel.test_cells import SETUP

COLAB = """
import sys, types
asked = []
google, colab, output = (types.ModuleType(name) for name in ("google", "google.colab", "google.colab.output"))
output.enable_custom_widget_manager = lambda: asked.append(threading.current_thread().name)
google.colab, colab.output = colab, output
"""
PRETEND = "sys.modules.update({module.__name__: module for module in (google, colab, output)})"
ATTACH = "w = lrwidget.attach(*make_model(), train_dl, loss_fn)"


@pytest.fixture
def colab(kernel: Kernel) -> Kernel:
    """A kernel with a stand-in for Colab's module, which its shell has always imported."""
    assert kernel.execute(SETUP + COLAB + PRETEND).status == "ok"
    return kernel


def test_in_colab_jobs_run_in_place_because_it_shows_no_update_from_a_thread(colab: Kernel) -> None:
    """Issue 3373 of colabtools."""
    assert colab.execute(f"{ATTACH}\nw").status == "ok"
    assert colab.execute("w.sweep(num_steps=4)").status == "ok"
    started = "[thread.name for thread in threading.enumerate() if thread.name.startswith('lrwidget')]"
    assert colab.value(f"[len(w.curve), w.state.phase, {started}]") == [4, "idle", []]
    colab.execute("here = []\nw.state.observe(lambda change: here.append(threading.current_thread().name), 'advice')")
    colab.click(colab.value("w._toolbar.sweep.model_id"))
    colab.wait_for(lambda: colab.value("len(here)") >= 2, 30, "a sweep by its button")
    assert colab.value("set(here) == {threading.main_thread().name}")


def test_colab_is_asked_once_for_widgets_that_are_not_its_own(colab: Kernel) -> None:
    for _ in range(3):
        assert colab.execute(ATTACH).status == "ok"
    assert colab.value("asked") == ["MainThread"]


def test_another_colab_than_the_one_we_know_is_no_reason_to_fail(colab: Kernel) -> None:
    assert colab.execute("del output.enable_custom_widget_manager").status == "ok"
    assert colab.execute(f"{ATTACH}\nw.sweep(num_steps=3)\nw").status == "ok"
    assert colab.value("len(w.curve)") == 3


def test_in_vs_code_it_is_as_in_jupyterlab(kernel: Kernel) -> None:
    """Its ipykernel is an ordinary one; it says which cell it is by an URI, and shows updates from threads.

    The latter by what its maintainers report.
    """
    cell = "vscode-notebook-cell:/home/me/a.ipynb#W0sZmlsZQ%3D%3D"
    setup = SETUP + "import os; os.environ.update(VSCODE_PID='1', VSCODE_CWD='/')"
    assert kernel.execute(setup).status == "ok"
    for _ in range(3):
        assert kernel.execute(f"{ATTACH}\nw", cell=cell).status == "ok"
    assert kernel.value("left()[3]") == 1
    kernel.execute("thread = []\nw.state.observe(lambda _: thread.append(threading.current_thread().name), 'advice')")
    kernel.execute("w.sweep(num_steps=4)")
    assert kernel.value("'lrwidget sweep' in thread")


def test_a_press_on_sweep_while_a_cell_runs_is_answered_when_the_cell_is_over(kernel: Kernel) -> None:
    """The kernel reads no message meanwhile; with ipykernel 7.0 to 7.3 and a subshell it does, and refuses in words."""
    assert kernel.execute(SETUP + ATTACH).status == "ok"
    button = kernel.value("w._toolbar.sweep.model_id")
    cell = kernel.execute_async(
        "print('running', flush=True)\nthreading.Event().wait(2)\nprint(w.curve, w.state.phase)"
    )
    kernel.wait_for(lambda: "running" in cell.stdout)
    kernel.click(button)
    assert cell.wait().stdout == "running\nNone idle\n"
    kernel.wait_for(lambda: kernel.value("w.curve is not None and w.state.phase == 'idle'"), 30, "the sweep")
