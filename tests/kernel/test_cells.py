"""A cell that runs again, and again: what it showed before is closed, and nothing of it is left."""

from collections.abc import Iterator

import pytest

from tests.kernel.kernels import Kernel, Result

SETUP = """
import gc, threading, weakref
import comm, ipywidgets, torch
from ipywidgets.widgets.widget import _instances
from torch import nn
torch.set_num_threads(1)
x = torch.randn(64, 4)
train_dl = [(x[i : i + 16], (x[i : i + 16, 0] > 0).long()) for i in range(0, 64, 16)]
loss_fn = nn.CrossEntropyLoss()
models = []

def make_model():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    models.append(weakref.ref(model))
    return model, torch.optim.AdamW(model.parameters())

def left():
    '''Open comms, widgets, threads, and models that live.'''
    for thread in threading.enumerate():
        if thread.name.startswith("lrwidget"):
            thread.join(10)
    gc.collect()
    return [len(comm.get_comm_manager().comms), len(_instances), threading.active_count(),
            sum(model() is not None for model in models)]

def forget():
    '''End one test.'''
    for _, things in lrwidget.ui.notebook.cells._shown.values():
        for thing in list(things):
            thing.close()
    for name in ("w", "first", "model", "optimizer"):
        globals().pop(name, None)

%load_ext lrwidget
import lrwidget
"""

SHOWN = "w = lrwidget.attach(*make_model(), train_dl, loss_fn)\nw"
SWEPT = "model, optimizer = make_model()\nw = %lrfind model optimizer train_dl loss_fn --num-steps 4"
RETURNED = "model, optimizer = make_model()\n%lrfind model optimizer train_dl loss_fn --num-steps 4"
TRAINED = SHOWN.removesuffix("w") + "w.sweep(num_steps=4)\nw.show()\nw.fine_tune(steps=3)"


@pytest.fixture(scope="module")
def ready_kernel(shared_kernel: Kernel) -> Kernel:
    assert shared_kernel.execute(SETUP).status == "ok"
    return shared_kernel


@pytest.fixture
def kernel(ready_kernel: Kernel) -> Iterator[Kernel]:
    yield ready_kernel
    assert ready_kernel.execute("forget()").status == "ok"


def left(kernel: Kernel) -> list[int]:
    value: list[int] = kernel.value("left()")
    return value


def run(kernel: Kernel, code: str, cell: str | None) -> Result:
    result = kernel.execute(code, cell=cell)
    assert result.status == "ok", result.traceback
    return result


@pytest.mark.parametrize(
    ("code", "times"),
    [(SHOWN, 50), (SWEPT, 50), (RETURNED, 10), (TRAINED, 10)],
    ids=["shown", "swept", "out", "trained"],
)
def test_a_cell_that_runs_again_leaves_as_much_as_one_that_ran_once(kernel: Kernel, code: str, times: int) -> None:
    """Although `Out` keeps every widget that a cell has returned."""
    run(kernel, code, "a")
    once = left(kernel)
    assert once[3] == 1
    for _ in range(times):
        run(kernel, code, "a")
    assert left(kernel) == once


def test_a_widget_lives_while_it_is_on_the_screen_in_any_cell(kernel: Kernel) -> None:
    run(kernel, SHOWN + "\nfirst = w", "a")
    run(kernel, "first", "b")
    run(kernel, "first", "b")
    run(kernel, SHOWN, "a")
    assert kernel.value("first.plan(steps=3).total_steps") == 3
    run(kernel, "w", "b")
    assert "is closed" in str(kernel.execute("first.plan(steps=3)").error)
    assert kernel.value("w.plan(steps=3).total_steps") == 3


def test_where_the_front_end_does_not_say_which_cell_it_is_nothing_is_closed(kernel: Kernel) -> None:
    run(kernel, SHOWN + "\nfirst = w", None)
    run(kernel, SHOWN + "\nfirst = w", None)
    assert kernel.value("first.plan(steps=3).total_steps") == 3
    run(kernel, "first.close()", None)


def test_a_closed_widget_keeps_its_results_and_answers_all_else_with_one_clear_error(kernel: Kernel) -> None:
    run(kernel, SHOWN, "a")
    run(kernel, "w.sweep(num_steps=4)", None)
    run(kernel, "w.close()", None)
    assert kernel.value("[len(w.curve), w.history, len(w.lrs), w.max_lr > 0]") == [4, None, 1, True]
    for request in (
        "w.sweep()",
        "w.fine_tune(steps=2)",
        "w.max_lr = 1e-3",
        "w.plan(1)",
        "w.code()",
        "w.split(2)",
        "w.show()",
    ):
        result = kernel.execute(request)
        assert str(result.error).startswith("LRWidgetError: Got a request to a widget that is closed"), request
        assert "session" not in result.traceback
    run(kernel, "w.stop(); w.wait(); w.close()", None)
    (shown,) = run(kernel, "w", None).outputs
    assert shown["data"]["text/plain"].startswith("<LRWidget Sequential · AdamW · 1 group: closed; ")


LONG = """
import time
def slow(output, target):
    time.sleep(0.01)
    return loss_fn(output, target)
model, optimizer = make_model()
w = %lrfind model optimizer train_dl slow --num-steps 100_000 --start-lr 1e-9 --end-lr 1e-6
"""


def test_a_sweep_whose_cell_runs_again_ends_and_the_new_one_begins(kernel: Kernel) -> None:
    run(kernel, LONG, "the cell")
    run(kernel, SWEPT, "the cell")  # would wait for a quarter of an hour
    assert kernel.value("[w.curve.stop_reason, w.curve.num_steps]") == ["finished", 4]


def test_another_cell_waits_for_a_sweep_as_ever(kernel: Kernel) -> None:
    run(kernel, LONG.replace("100_000", "30"), "the cell")
    run(kernel, "after = len(w.curve)", "another cell")
    assert kernel.value("after") == 30
