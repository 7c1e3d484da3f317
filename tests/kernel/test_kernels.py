"""The kernel harness itself: without these, a test that finds nothing wrong may have looked at nothing."""

from pathlib import Path

import pytest

from tests.kernel.kernels import Kernel, KernelTimeoutError


def test_each_kernel_is_of_its_generation_and_has_the_widgets(shared_kernel: Kernel) -> None:
    assert shared_kernel.execute("import ipykernel, ipywidgets").status == "ok"
    version = shared_kernel.value("ipykernel.__version__")
    assert version.startswith(f"{shared_kernel.generation}.")
    assert shared_kernel.value("ipywidgets.__version__").startswith("8.")


def test_a_cell_gives_its_output_in_order(shared_kernel: Kernel) -> None:
    result = shared_kernel.execute("import sys\nprint('a'); print('b', file=sys.stderr); print('c')\n1 + 1")
    assert (result.status, result.error) == ("ok", None)
    assert (result.stdout, result.stderr) == ("a\nc\n", "b\n")
    assert [output["data"]["text/plain"] for output in result.outputs] == ["2"]


def test_an_error_names_itself(shared_kernel: Kernel) -> None:
    result = shared_kernel.execute("1 / 0")
    assert result.status == "error"
    assert result.error == "ZeroDivisionError: division by zero"
    assert "1 / 0" in result.traceback


def test_interrupt_ends_a_running_cell(shared_kernel: Kernel) -> None:
    running = shared_kernel.execute_async("print('started', flush=True)\nwhile True: pass")
    shared_kernel.wait_for(lambda: running.stdout == "started\n")
    assert not running.done
    shared_kernel.interrupt()
    assert running.wait(10).error == "KeyboardInterrupt: "


def test_a_click_reaches_its_button(shared_kernel: Kernel) -> None:
    shared_kernel.execute("""
import ipywidgets
button, slider = ipywidgets.Button(), ipywidgets.IntSlider()
button.on_click(lambda _: print('clicked', flush=True))
""")
    button, slider = shared_kernel.value("[button.model_id, slider.model_id]")
    assert shared_kernel.comms[button]["_model_name"] == "ButtonModel"

    shared_kernel.click(button)
    shared_kernel.set_traits(slider, value=7)
    shared_kernel.wait_for_stdout("clicked")
    assert shared_kernel.value("slider.value") == 7
    shared_kernel.execute("slider.value = 8")
    assert shared_kernel.comms[slider]["value"] == 8


def test_a_click_through_a_subshell_reaches_its_button(shared_kernel: Kernel) -> None:
    subshell = shared_kernel.create_subshell()
    assert (subshell is None) == (shared_kernel.generation == 6)
    shared_kernel.execute("""
import ipywidgets
other = ipywidgets.Button()
other.on_click(lambda _: print('from a subshell', flush=True))
""")
    shared_kernel.click(shared_kernel.value("other.model_id"), subshell=subshell)
    shared_kernel.wait_for_stdout("from a subshell")


def test_cells_sent_together_run_in_order_and_one_can_be_watched_while_it_waits(
    shared_kernel: Kernel, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    waits = f"while not os.path.exists({str(go)!r}): pass"
    first = shared_kernel.execute_async(f"import os; print('one', flush=True)\n{waits}")
    second = shared_kernel.execute_async("print('two')")
    shared_kernel.wait_for(lambda: first.stdout == "one\n")
    assert not second.started
    go.touch()
    assert second.wait().stdout == "two\n"
    assert first.done


def test_waiting_for_what_never_comes_says_what_came_instead(shared_kernel: Kernel) -> None:
    shared_kernel.execute("print('something else')")
    with pytest.raises(KernelTimeoutError, match="something else"):
        shared_kernel.wait_for_stdout("never printed", timeout=0.1)
