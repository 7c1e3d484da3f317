"""The whole path in real kernels: what a user's cells, clicks, drags and interrupts do while a job has the model."""

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from tests.kernel.kernels import Execution, Kernel, Result

IMPORTS = f"""
import copy, gc, random, signal, sys, threading, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import ipywidgets, numpy as np, torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from tests.engine import oracle
torch.set_num_threads(1)


class Valve:
    '''Holds a job at a step of the test's choice: `gauge` tells the test, `tap` is opened by it.'''

    def __init__(self):
        self.tap, self.gauge = ipywidgets.IntText(), ipywidgets.IntText()
        self.opened = threading.Condition()
        self.tap.observe(self.open, "value")

    def open(self, change):
        with self.opened:
            self.opened.notify_all()

    def wait(self):
        self.gauge.value += 1
        end = time.monotonic() + 60
        with self.opened:
            # In small waits: a signal that comes in the moment before one is seen when it is over.
            while not self.opened.wait_for(lambda: self.tap.value >= self.gauge.value, 0.05):
                assert time.monotonic() < end


def prints():
    return oracle.of_everything(model, optimizer, loaders=(train_dl,))


def bits():
    return oracle.digest(repr([
        [oracle.bits(tensor) for tensor in model.state_dict().values()],
        [oracle.bits(value) for entry in optimizer.state.values() for value in entry.values()],
        [group["lr"] for group in optimizer.param_groups],
        oracle.of_generators(),
    ]).encode())


def threads():
    '''Those of a job that go on: the last thing one does is to tell that its job is over.'''
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("lrwidget")]
    return [thread.name for thread in ours if thread.join(10) or thread.is_alive()]


def train(steps):
    while steps > 0:
        for x, y in train_dl:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            steps -= 1


%load_ext lrwidget
import lrwidget
"""

FRESH = """
if "w" in globals():
    w.close()
for name in ("other", "train_b"):
    globals().pop(name, None)
random.seed(0); np.random.seed(0); torch.manual_seed(0)
x = torch.randn(128, 6)
train_dl = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
optimizer = torch.optim.AdamW([
    {"params": model[:2].parameters(), "lr": 1e-4}, {"params": model[4].parameters(), "lr": 1e-3}])
train(3)
loss_fn = nn.CrossEntropyLoss()
valve = Valve()

def held_loss(output, target):
    valve.wait()
    return F.cross_entropy(output, target)

def broken_loss(output, target):
    valve.wait()
    raise ZeroDivisionError("in the user's loss")

w = lrwidget.attach(model, optimizer, train_dl, held_loss)
"""

FREE = 10**6
"""A tap this far open holds nothing back."""


class Notebook:
    """A kernel with a model, an optimizer, a loader and a widget `w` in it, whose job can be held at a step."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        kernel.execute(FRESH)
        self.tap, self.gauge, self.sweep_button, self.stop_button, *self.handles = kernel.value(
            "[thing.model_id for thing in (valve.tap, valve.gauge, w._toolbar.sweep, w._toolbar.stop,"
            " *(marker.handle for marker in w._chart._markers._each))]"
        )
        self.ok("before = prints()")

    def ok(self, code: str, **options: Any) -> Result:
        """Run a cell that must not fail."""
        result = self.kernel.execute(code, **options)
        assert result.status == "ok", result.traceback
        return result

    def send(self, code: str, **options: Any) -> Execution:
        return self.kernel.execute_async(code, **options)

    def run_all(self, *cells: str) -> list[Result]:
        """Send cells together and wait for all of them."""
        return [cell.wait() for cell in [self.send(cell) for cell in cells]]

    def hold_at(self, step: int) -> None:
        """Let the job go on to a step and hold it there.

        From step 2 on that takes a message to a widget, which the kernel reads after the cells that were sent before
        it: when this returns, they wait.
        """
        if step > 1:
            self.let_go(step - 1)
        self.kernel.wait_for(lambda: self.kernel.comms[self.gauge]["value"] >= step, 60, f"step {step}")

    def let_go(self, step: int = FREE) -> None:
        """Let the job go on to a step. A message to a widget: it arrives only in a kernel that is alive."""
        self.kernel.set_traits(self.tap, value=step)

    def interrupt_at_rest(self, *, held_at: int) -> None:
        """Interrupt a kernel that handles nothing just now, whose job is held: in a handler an interrupt ends that."""
        self.kernel.wait_handled(self.kernel.set_traits(self.tap, value=held_at - 1))
        self.kernel.interrupt()

    def until_idle(self) -> None:
        """Wait for the job to be over, as a user does: by looking at the screen."""
        self.kernel.wait_for(
            lambda: not any(c.get("description") == "Sweep" and c.get("disabled") for c in self.kernel.comms.values())
        )

    def drag(self, handle: int, *lrs: float) -> None:
        """What the browser sends when a marker is dragged over some LRs and dropped at the last of them."""
        events = [("drag_start", lrs[0]), *(("drag", lr) for lr in lrs), ("drag_end", lrs[-1])]
        for event, lr in events:
            content = {"event": event, "point": {"x": lr, "y": 0.1}, "index": 0}
            self.kernel.send_custom(self.handles[handle], content)

    def typed(self) -> list[float]:
        """The numbers that stand in the text fields on the screen."""
        texts = [c["value"] for c in self.kernel.comms.values() if c.get("_model_name") == "TextModel"]
        return [float(text) for text in texts if text[:1].isdigit() and "…" not in text]  # others are names

    def given_back(self) -> bool:
        """Whether all is bit for bit as before the job, and nothing of it is left."""
        changes, left, handler = self.kernel.value(
            "[oracle.changes(before, prints()), threads(),"
            " get_ipython().kernel.shell_handlers['execute_request'].__self__ is get_ipython().kernel]"
        )
        assert changes == []
        assert left == []
        assert handler
        return True


@pytest.fixture(scope="module")
def ready_kernel(shared_kernel: Kernel) -> Kernel:
    assert shared_kernel.execute(IMPORTS).status == "ok"
    return shared_kernel


@pytest.fixture
def nb(ready_kernel: Kernel) -> Iterator[Notebook]:
    notebook = Notebook(ready_kernel)
    yield notebook
    notebook.let_go()


def pngs(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contents of messages that carry a picture."""
    return [m["content"] for m in messages if "image/png" in m["content"].get("data", {})]


# ---- the path --------------------------------------------------------------------------------------------------------


def test_from_the_magic_to_a_trained_model(nb: Notebook) -> None:
    shown = nb.ok("w = %lrfind model optimizer train_dl loss_fn --num-steps 40")
    view, picture = shown.outputs
    assert "application/vnd.jupyter.widget-view+json" in view["data"]
    assert view["data"]["application/vnd.jupyter.widget-view+json"]["model_id"] in nb.kernel.comms
    assert "lrwidget-picture" in picture["data"]["text/html"]

    nb.ok("assert w.state.phase == 'idle' and len(w.curve) >= 20, (w.state.phase, len(w.curve))")
    nb.ok("assert w.max_lr == max(w.lrs) and w.slice == slice(*w.lrs)")
    nb.ok("assert oracle.changes(before, prints()) == []")
    nb.ok("w.max_lr = 0.02; plan = w.plan(epochs=2)")
    nb.ok("assert plan.scheduler(copy.deepcopy(optimizer)).get_last_lr() == plan.lr_at(0).tolist()")
    shown = nb.ok("w.fine_tune(epochs=2)")
    assert "application/vnd.jupyter.widget-view+json" in shown.outputs[0]["data"]
    nb.ok("assert (w.history.lrs == plan.lr_at(np.arange(16))).all() and len(w.history.epochs) == 2")
    nb.ok("assert optimizer.param_groups[1]['lr'] == 1e-3 and oracle.changes(before, prints())")
    assert nb.ok("w").outputs


def test_bare_the_magic_finds_all_four_and_says_which(nb: Notebook) -> None:
    nb.ok("w.close(); w = %lrfind --num-steps 5")
    said = nb.kernel.value("w.state.title")
    assert "model = model" in said
    assert "loss_fn = loss_fn" in said


def test_run_all_gives_the_bits_of_cell_by_cell_and_those_of_a_notebook_without_a_sweep(nb: Notebook) -> None:
    find = "w.close()\nw = %lrfind model optimizer train_dl loss_fn --num-steps 60 --end-lr 1"
    tune = "w.lrs = (1e-3, 0.01)\nw.fine_tune(epochs=1)"
    plain = "lrwidget.fit(model, optimizer, train_dl, loss_fn, lrwidget.one_cycle([1e-3, 0.01], 8, 2))"
    train, again, own = "train(5)", "w.sweep(num_steps=30)", "print(bits())"
    cells = [FRESH, find, train, again, tune, own, train, own]

    together = nb.run_all(*cells)
    assert [result.status for result in together] == ["ok"] * len(cells)
    one_by_one = []
    for cell in cells:
        one_by_one.append(nb.ok(cell))
        nb.until_idle()
    without = [nb.ok(cell) for cell in (FRESH, train, plain, own, train, own)]

    printed = [result.stdout for result in together if result.stdout]
    assert len(set(printed)) == 2
    assert [result.stdout for result in one_by_one if result.stdout] == printed
    assert [result.stdout for result in without if result.stdout] == printed


def test_a_cell_that_was_sent_with_the_sweep_waits_for_it_and_finds_it_done(nb: Notebook) -> None:
    sweep, use = nb.send("w.sweep(num_steps=30)"), nb.send("print(len(w.curve), w.state.phase, threads())")
    assert sweep.wait().status == "ok"
    nb.hold_at(10)
    assert not use.started
    nb.let_go()
    assert use.wait().stdout == "30 idle []\n"
    assert nb.given_back()


def test_cells_wait_for_every_one_of_many_jobs_in_a_row(nb: Notebook) -> None:
    """Jobs of a few milliseconds: they end while the next cell is on its way into the gate."""
    nb.let_go()
    check = "assert w.state.phase == 'idle' and not w._session.job.running, w.state.phase"
    cells = ["w.sweep(num_steps=2)", check, "w.sweep(num_steps=3)", "w.fine_tune(steps=2)", check] * 5
    assert [result.status for result in nb.run_all(*cells)] == ["ok"] * len(cells)
    nb.ok("assert len(w.history) == 2 and len(w.curve) == 3")
    nb.ok("before = prints()")
    assert nb.given_back()


# ---- where what follows may use the model, the job is over first -----------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "w.sweep(num_steps=4)\nprint(len(w.curve), threads())",
        "w.sweep(num_steps=4); print(len(w.curve), threads())",
        "for n in (2, 4):\n    w.sweep(num_steps=n)\nprint(len(w.curve), threads())",
        "def find():\n    w.sweep(num_steps=4)\n    print(len(w.curve), threads())\nfind()",
        "print(len(w.sweep(num_steps=4) or w.curve), threads())",
        "%%capture --no-stdout\nw.sweep(num_steps=4)\nprint(len(w.curve), threads())",
        "if True:\n    w.sweep(num_steps=4)\n    print(len(w.curve), threads())",
    ],
)
def test_a_sweep_that_is_not_the_cells_last_act_is_over_when_it_returns(nb: Notebook, cell: str) -> None:
    nb.let_go()
    nb.ok("valve.wait()")  # the tap is open
    assert nb.ok(cell).stdout == "4 []\n"
    assert nb.given_back()


@pytest.mark.parametrize(
    "cell",
    [
        "w.sweep(num_steps=4)",
        "pass; w.sweep(num_steps=4);",
        "result = w.sweep(\n    num_steps=4,\n)",
        "lrwidget.LRWidget.sweep(\n    w,\n    num_steps=4)",
        "(w\n    .sweep(num_steps=4))",
        "import asyncio\nawait asyncio.sleep(0)\nw.sweep(num_steps=4)",
    ],
)
def test_a_sweep_that_is_the_cells_last_act_goes_on_after_it(nb: Notebook, cell: str) -> None:
    assert nb.ok(cell).status == "ok"
    nb.hold_at(1)
    nb.let_go()
    assert nb.given_back()


def test_a_sweep_started_by_the_users_own_button_is_over_when_it_returns(nb: Notebook) -> None:
    nb.ok("def pressed(_):\n    w.sweep(num_steps=4)\n    print('over:', len(w.curve), threads())\n")
    button = nb.kernel.value("(mine := ipywidgets.Button()).on_click(pressed) or mine.model_id")
    nb.let_go()
    nb.kernel.click(button)
    nb.kernel.wait_for_stdout("over: 4 []")
    assert nb.given_back()


def test_without_a_person_the_sweep_is_over_with_its_cell_and_its_picture_is_there(nb: Notebook) -> None:
    """As nbclient and nbconvert run a notebook."""
    nb.let_go()
    nb.ok("valve.wait()")
    result = nb.ok("w = %lrfind model optimizer train_dl held_loss --num-steps 20", allow_stdin=False)
    updates = [m for m in result.messages if m["header"]["msg_type"] == "update_display_data"]
    assert pngs(updates)
    assert pngs(updates)[-1]["transient"]["display_id"] == result.outputs[1]["transient"]["display_id"]
    assert nb.given_back()


def test_an_exception_in_the_middle_of_a_cell_shows_the_frames_of_the_user_alone(nb: Notebook) -> None:
    nb.let_go()
    nb.ok("other = lrwidget.attach(model, optimizer, train_dl, broken_loss)")
    failed = nb.kernel.execute("other.sweep(num_steps=3)\nprint('never')")
    assert failed.error == "ZeroDivisionError: in the user's loss" and "in broken_loss" in failed.traceback
    assert "other.sweep(num_steps=3)" in failed.traceback and "lrwidget" not in failed.traceback
    assert nb.given_back()


# ---- the screen while a cell waits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["main", "subshell"])
def test_stop_is_heard_while_a_cell_waits(nb: Notebook, shell: str) -> None:
    subshell = nb.kernel.create_subshell() if shell == "subshell" else None
    if shell == "subshell":
        if subshell is None:
            pytest.skip("ipykernel 6 has no subshells")
    nb.ok("w.sweep(num_steps=300)")
    use = nb.send("print(w.curve.stop_reason, len(w.curve))")
    nb.hold_at(3)
    nb.kernel.click(nb.stop_button, subshell=subshell)
    nb.kernel.wait_for(lambda: nb.kernel.comms[nb.stop_button].get("description") == "Stopping …")
    assert not use.started
    nb.let_go()
    assert use.wait().stdout == "stopped 3\n"
    assert nb.given_back()


def test_stop_ends_a_run_while_a_cell_waits(nb: Notebook) -> None:
    nb.ok("w.fine_tune(epochs=50)")
    use = nb.send("print(w.history.stop_reason, len(w.history), optimizer.param_groups[1]['lr'])")
    nb.hold_at(3)
    nb.kernel.click(nb.stop_button)
    nb.kernel.wait_for(lambda: nb.kernel.comms[nb.stop_button].get("description") == "Stopping …")
    nb.let_go()
    assert use.wait().stdout == "stopped 3 0.001\n"


def test_a_drag_while_a_cell_waits_is_on_the_screen_at_once_and_in_w_lrs(nb: Notebook) -> None:
    nb.ok("w.sweep(num_steps=10)")
    use = nb.send("print(w.lrs, w.plan().max_lrs == w.lrs)")
    nb.hold_at(3)
    nb.drag(1, 0.01, 0.02, 0.05)
    nb.kernel.wait_for(lambda: 0.05 in nb.typed(), 10, "the LR in its field")
    assert not use.started
    nb.let_go()
    assert use.wait().stdout == "(0.0001, 0.05) True\n"
    assert nb.given_back()


def test_a_drag_between_cells_is_in_w_lrs(nb: Notebook) -> None:
    nb.drag(0, 1e-5)
    nb.kernel.wait_for(lambda: 1e-5 in nb.typed(), 10, "the LR in its field")
    assert nb.kernel.value("w.lrs") == [1e-5, 1e-3]


def test_sweep_pressed_while_one_runs_and_a_cell_waits_is_of_no_account(nb: Notebook) -> None:
    nb.ok("w.sweep(num_steps=10)")
    use = nb.send("print(len(w.curve))")
    nb.hold_at(2)
    nb.kernel.click(nb.sweep_button)
    nb.drag(0, 1e-5)  # answered after the press
    nb.kernel.wait_for(lambda: 1e-5 in nb.typed(), 10, "the LR in its field")
    assert not any("Got a request" in str(comm.get("value")) for comm in nb.kernel.comms.values())
    nb.let_go()
    assert use.wait().stdout == "10\n"
    assert nb.given_back()


@pytest.mark.parametrize("shell", ["main", "subshell"])
def test_a_sweep_from_its_button_holds_the_next_cell_and_can_be_interrupted(nb: Notebook, shell: str) -> None:
    subshell = nb.kernel.create_subshell() if shell == "subshell" else None
    if shell == "subshell":
        if subshell is None:
            pytest.skip("ipykernel 6 has no subshells")
    nb.ok(
        "lrwidget.ui.notebook.kernel.unload()"
    )  # nothing is installed yet, as in a kernel whose first job comes from a button
    pressed = nb.kernel.click(nb.sweep_button, subshell=subshell)
    nb.hold_at(1)
    nb.kernel.wait_handled(pressed)
    nb.interrupt_at_rest(held_at=1)  # what the press left to the main thread has been done as well
    nb.let_go()
    assert nb.ok("print(w.curve.stop_reason, len(w.curve) < 100)").stdout == "interrupted True\n"
    assert nb.given_back()


def test_sweep_pressed_while_a_cell_is_running_is_refused_because_the_cell_may_use_the_model(nb: Notebook) -> None:
    subshell = nb.kernel.create_subshell()
    if subshell is None:
        pytest.skip("ipykernel 6 hears of it only when the cell is over")
    training = nb.send(
        "print('training', flush=True)\nwhile 'a cell is running' not in w._toolbar._note.view.value: pass"
    )
    nb.kernel.wait_for(lambda: training.stdout == "training\n")
    nb.kernel.click(nb.sweep_button, subshell=subshell)
    assert training.wait().status == "ok"
    assert nb.kernel.value("[w.curve, w.state.phase]") == [None, "idle"]
    assert nb.given_back()


def test_the_best_weights_are_not_put_into_a_model_that_a_running_cell_may_use(nb: Notebook) -> None:
    subshell = nb.kernel.create_subshell()
    if subshell is None:
        pytest.skip("ipykernel 6 hears of it only when the cell is over")
    nb.let_go()
    nb.ok("w.fine_tune(epochs=2)")
    nb.until_idle()
    nb.ok("w._runs.view.children = (*w._runs.view.children, w._runs.restore)")  # as after a run that ended worse
    nb.ok("for p in model.parameters(): p.data.zero_()\nbefore = bits()")
    button = nb.kernel.value("w._runs.restore.model_id")
    training = nb.send("print('training', flush=True)\nwhile 'a cell is running' not in w.state.message: pass")
    nb.kernel.wait_for(lambda: training.stdout == "training\n")
    nb.kernel.click(button, subshell=subshell)
    assert training.wait().status == "ok"
    nb.ok("untouched = bits() == before; w.restore_best()")
    assert nb.kernel.value("[untouched, bits() == before]") == [True, False]


def test_a_second_widgets_button_is_refused_while_the_first_ones_sweep_runs(nb: Notebook) -> None:
    nb.ok("other = lrwidget.attach(model, optimizer, train_dl, loss_fn)")
    button = nb.kernel.value("other._toolbar.sweep.model_id")
    nb.ok("w.sweep(num_steps=10)")
    nb.hold_at(1)
    nb.kernel.click(button)
    nb.kernel.wait_for(lambda: any("another widget" in str(c.get("value")) for c in nb.kernel.comms.values()))
    nb.let_go()
    assert nb.ok("print(len(w.curve), other.curve); other.close()").stdout == "10 None\n"
    assert nb.given_back()


def test_a_cell_in_a_subshell_waits_as_well(nb: Notebook) -> None:
    subshell = nb.kernel.create_subshell()
    if subshell is None:
        pytest.skip("ipykernel 6 has no subshells")
    nb.ok("w.sweep(num_steps=5)")
    nb.hold_at(1)
    client = nb.kernel._client
    message = client.session.msg("execute_request", {"code": "print('sub', w.state.phase)", "silent": False})
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)
    nb.hold_at(2)
    assert "sub " not in nb.kernel.stdout
    nb.let_go()
    nb.kernel.wait_for_stdout("sub idle\n")
    assert nb.given_back()


# ---- the cell that shows the widget runs again -----------------------------------------------------------------------

ATTACH = "w = lrwidget.attach(model, optimizer, train_dl, held_loss)\nw"


@pytest.mark.parametrize("began", ["by its button", "by another cell"])
def test_a_sweep_ends_when_the_one_cell_that_shows_its_widget_runs_again(nb: Notebook, began: str) -> None:
    """Its front end has taken away the screen, and Stop with it."""
    nb.ok(ATTACH, cell="shows it")
    if began == "by its button":
        nb.kernel.click(nb.kernel.value("[globals().update(first=w), w._toolbar.sweep.model_id][1]"))
    else:
        nb.ok("first = w\nw.sweep()", cell="sweeps")
    nb.hold_at(1)
    again = nb.send(ATTACH, cell="shows it")
    nb.let_go()
    assert again.wait().status == "ok"
    assert nb.kernel.value("[first.curve.stop_reason, len(first.curve), w is first]") == ["stopped", 1, False]
    assert nb.given_back()


def test_a_sweep_goes_on_when_a_cell_runs_again_and_another_one_still_shows_its_widget(nb: Notebook) -> None:
    nb.ok(ATTACH, cell="shows it")
    nb.ok("first = w\nw", cell="shows it, too")
    nb.kernel.click(nb.kernel.value("first._toolbar.sweep.model_id"))
    nb.hold_at(1)
    again = nb.send(ATTACH, cell="shows it")
    nb.hold_at(3)
    assert not again.started
    nb.let_go()
    assert again.wait().status == "ok"
    assert nb.kernel.value("first.curve.stop_reason") != "stopped"
    assert nb.ok("first.close()")
    assert nb.given_back()


def test_a_training_goes_on_when_the_cell_that_shows_its_widget_runs_again(nb: Notebook) -> None:
    """One press too many must not end it."""
    nb.ok(ATTACH, cell="shows it")
    nb.ok("first = w; w.fine_tune(steps=6)")
    nb.hold_at(1)
    again = nb.send(ATTACH, cell="shows it")
    nb.hold_at(3)
    assert not again.started
    nb.let_go()
    assert again.wait().status == "ok"
    assert nb.kernel.value("[first.history.stop_reason, len(first.history)]") == ["finished", 6]


# ---- the interrupt button --------------------------------------------------------------------------------------------


def test_interrupting_an_idle_kernel_ends_the_job(nb: Notebook) -> None:
    nb.ok("w.sweep(num_steps=300)")
    nb.hold_at(3)
    nb.interrupt_at_rest(held_at=3)
    nb.let_go()
    assert nb.ok("print(w.curve.stop_reason, len(w.curve) < 300)").stdout == "interrupted True\n"
    assert nb.given_back()


@pytest.mark.parametrize("times", [1, 3])
def test_interrupting_a_cell_that_waits_ends_the_job_and_the_cell_and_runs_none_behind_it(
    nb: Notebook, times: int
) -> None:
    nb.ok("w.sweep(num_steps=300)")
    waiting, behind = nb.send("print('not run')"), nb.send("print('not run either')")
    nb.hold_at(3)
    for _ in range(times):
        nb.kernel.interrupt()
    nb.let_go()
    result = waiting.wait()
    assert result.error is not None
    assert result.error.startswith("KeyboardInterrupt: The sweep this cell waited for was interrupted")
    assert "Run this cell again" in result.error
    assert result.stdout == ""
    assert behind.wait().status == "aborted"
    nb.kernel.wait_for(lambda: nb.kernel.execute("1").status == "ok")
    assert nb.ok("print(w.curve.stop_reason, len(w.curve) < 300)").stdout == "interrupted True\n"
    assert nb.given_back()


def test_interrupting_the_cell_that_started_the_job_before_it_has_ended_ends_both(nb: Notebook) -> None:
    nb.ok("""
def hold():
    get_ipython().events.unregister("post_execute", hold)
    print("holding", flush=True)
    while True:
        time.sleep(0.01)
""")
    cell = nb.send("get_ipython().events.register('post_execute', hold)\nw.sweep(num_steps=300)")
    nb.kernel.wait_for(lambda: "holding" in cell.stdout)
    nb.kernel.interrupt()
    cell.wait()
    nb.let_go()
    assert nb.ok("print(w.curve.stop_reason, len(w.curve) < 300)").stdout == "interrupted True\n"
    assert nb.given_back()


@pytest.mark.parametrize("person", [True, False])
def test_interrupting_an_inline_sweep_ends_it_as_stop_does_and_the_cell_goes_on(nb: Notebook, person: bool) -> None:
    cell = nb.send("w.sweep(num_steps=300)\nprint(w.curve.stop_reason, len(w.curve))", allow_stdin=person)
    nb.hold_at(1)
    nb.kernel.interrupt()
    result = cell.wait()
    assert (result.status, result.stdout, result.stderr) == ("ok", "interrupted 0\n", "")
    assert nb.given_back()


def test_interrupting_with_no_job_at_all_is_no_harm(nb: Notebook) -> None:
    nb.let_go()
    nb.ok("w.sweep(num_steps=3)")
    nb.ok("pass")
    for _ in range(3):
        nb.kernel.interrupt()
    assert nb.ok("print('alive')").stdout == "alive\n"
    assert nb.given_back()


def test_after_a_job_the_interrupt_button_ends_a_users_own_cell_as_ever(nb: Notebook) -> None:
    nb.let_go()
    nb.ok("w.sweep(num_steps=3)")
    own = nb.send("print('running', flush=True)\nwhile True: pass")
    nb.kernel.wait_for(lambda: own.stdout == "running\n")
    nb.kernel.interrupt()
    assert own.wait().error == "KeyboardInterrupt: "
    assert nb.given_back()


def test_interrupting_a_run_keeps_what_was_trained_and_gives_the_lrs_back(nb: Notebook) -> None:
    nb.ok("w.fine_tune(epochs=50)")
    nb.hold_at(3)
    nb.interrupt_at_rest(held_at=3)
    nb.let_go()
    printed = nb.ok("print(w.state.phase, 3 <= len(w.history) < 400, optimizer.param_groups[1]['lr'])").stdout
    assert printed == "idle True 0.001\n"
    nb.ok("before = prints()")
    assert nb.given_back()


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_an_exception_in_the_users_loss_is_on_the_screen_and_is_raised_in_the_cell_that_waits(nb: Notebook) -> None:
    nb.ok("w.close(); w = lrwidget.attach(model, optimizer, train_dl, broken_loss); before = prints()")
    nb.ok("w.sweep()")
    waiting, behind = nb.send("print('not run')"), nb.send("print('not run either')")
    nb.hold_at(1)
    nb.let_go()
    result = waiting.wait()
    assert result.error == "ZeroDivisionError: in the user's loss"
    assert 'raise ZeroDivisionError("in the user\'s loss")' in result.traceback
    assert result.stdout == ""
    assert behind.wait().status == "aborted"
    nb.kernel.wait_for(lambda: nb.kernel.execute("1").status == "ok")
    message, traceback = nb.kernel.value("[w.state.message, w.state.error]")
    assert message == "ZeroDivisionError: in the user's loss"
    assert 'raise ZeroDivisionError("in the user\'s loss")' in traceback
    assert nb.given_back()


def test_an_exception_that_no_cell_waited_for_is_on_the_screen_and_the_next_cell_runs(nb: Notebook) -> None:
    nb.ok("w.close(); w = lrwidget.attach(model, optimizer, train_dl, broken_loss); before = prints()")
    nb.ok("w.sweep()")
    nb.hold_at(1)
    nb.let_go()
    nb.until_idle()
    assert "ZeroDivisionError" in nb.kernel.value("w.state.message")
    failed = nb.kernel.execute("w.wait()")
    assert failed.error == "ZeroDivisionError: in the user's loss"
    assert nb.given_back()


BAD = [
    ("%lrfind modle optimizer train_dl loss_fn", "NamespaceError: Got 'modle'", "Did you mean model"),
    ("%lrfind --num-it 5", "InputTypeError: Got the option 'num_it'", "Did you mean 'num_steps'?"),
    ("%lrfind --start-lr 1 --end-lr 0.1", "InputError: Got start_lr=1 and end_lr=0.1", "Exchange them"),
    ("%lrfind other optimizer train_dl loss_fn", "ModelMismatchError: Got an optimizer", "Make the optimizer"),
    ("%lrfind model optimizer [] loss_fn", "EmptyLoaderError: Got a list", "expected at least"),
    ("train_b = DataLoader(train_dl.dataset)\n%lrfind",
     "NamespaceError: Got 2 objects that could be the training loader", "train_dl, train_b"),
    ("%lrfind model optimizer ['text'] loss_fn\npass", "BatchError: Got a batch of type str", "loss_step"),
    ("%lrfind model optimizer [(x*float('nan'),(x[:,0]>0).long())] loss_fn\npass",
     "LossError: Got a loss of nan at the first step", "Look for NaN"),
    ("w.sweep(start_lr=1.0, end_lr=0.1)", "InputError: Got start_lr=1", "Exchange them"),
    ("w.fine_tune(epoch=3)", "InputTypeError: Got the option 'epoch'", "a plan takes"),
    ("w.fine_tune(1, checkpoint_every=5)", "InputError: Got checkpoint_every=5", "Give checkpoint_dir"),
    ("w.max_lr = 0", "InputError: Got a learning rate of 0", "above 0"),
]  # fmt: skip


def test_bad_input_is_one_clear_error_each_and_the_notebook_goes_on(nb: Notebook) -> None:
    nb.ok("other = nn.Linear(6, 2); before = prints()")
    for cell, got, do in BAD:
        result = nb.kernel.execute(cell)
        assert result.status == "error", cell
        assert result.error is not None
        assert result.error.startswith(got), cell
        assert do in result.error, cell
        assert "lrwidget/" not in result.traceback, cell  # nothing of how it is built
        assert not (cell.startswith("w.fine_tune") and result.outputs), "no training is shown that does not begin"
    assert nb.given_back()


def test_a_first_loss_that_is_not_finite_is_raised_in_the_cell_that_waits_without_lrwidgets_insides(
    nb: Notebook,
) -> None:
    find, use = nb.run_all("%lrfind model optimizer [(x*float('nan'),(x[:,0]>0).long())] loss_fn", "print('not run')")
    assert find.status == "ok"
    assert use.error is not None
    assert use.error.startswith("LossError: Got a loss of nan at the first step")
    assert "lrwidget/" not in use.traceback
    nb.kernel.wait_for(lambda: nb.kernel.execute("1").status == "ok")
    assert nb.given_back()


# ---- what stays ------------------------------------------------------------------------------------------------------


def test_the_picture_behind_the_widget_is_drawn_when_the_sweep_is_over_and_again_for_another_pick(nb: Notebook) -> None:
    nb.let_go()
    shown = nb.ok("w = %lrfind model optimizer train_dl held_loss --num-steps 20")
    place = shown.outputs[1]["transient"]["display_id"]

    def drawn() -> list[dict[str, Any]]:
        updates = [m for m in nb.kernel.iopub if m["header"]["msg_type"] == "update_display_data"]
        return [content for content in pngs(updates) if content["transient"]["display_id"] == place]

    nb.kernel.wait_for(drawn, 30, "the picture")
    first = drawn()[-1]["data"]
    pixels = imread(io.BytesIO(base64.b64decode(first["image/png"])))
    assert pixels.std() > 0.05
    assert first["text/plain"].startswith("Loss over learning rate.")
    assert first["image/png"] in first["text/html"]
    nb.ok("w.max_lr = 0.0321; from lrwidget.engine.words import format_lr")
    told = nb.kernel.value("format_lr(w.max_lr)")
    nb.kernel.wait_for(lambda: told in drawn()[-1]["data"]["text/plain"], 30, f"a picture with {told}")
    assert drawn()[-1]["data"]["image/png"] != first["image/png"]


def test_a_widget_that_nobody_holds_any_more_finishes_its_sweep_and_gives_all_back(nb: Notebook) -> None:
    nb.ok("w.sweep(num_steps=10)")
    forget = nb.send("model_of = w._session.loop.model; del w; _ = gc.collect()")
    nb.hold_at(2)
    nb.let_go()
    assert forget.wait().status == "ok"
    assert nb.given_back()


def test_a_widget_closed_while_its_sweep_runs_stops_it_and_gives_all_back(nb: Notebook) -> None:
    nb.ok("closer = ipywidgets.Button(); closer.on_click(lambda _: w.close())")
    closer = nb.kernel.value("closer.model_id")
    nb.ok("w.sweep(num_steps=300)")
    nb.hold_at(1)
    nb.kernel.click(closer)
    nb.kernel.wait_for(lambda: nb.stop_button not in nb.kernel.comms)
    nb.let_go()
    assert nb.ok("print(w.curve.stop_reason, w.state.phase)").stdout == "stopped idle\n"
    assert nb.given_back()


def test_unloading_leaves_the_kernel_as_it_was_found(nb: Notebook) -> None:
    nb.let_go()
    nb.ok("w.sweep(num_steps=3)")
    nb.ok("w.sweep(num_steps=3)")
    nb.ok("%unload_ext lrwidget")
    nb.ok("assert signal.getsignal(signal.SIGINT) is signal.default_int_handler")
    nb.ok(
        "assert get_ipython().kernel.saved_sigint_handler is signal.SIG_IGN, get_ipython().kernel.saved_sigint_handler"
    )
    assert nb.given_back()
    missing = nb.kernel.execute("%lrfind")
    assert missing.error is not None
    assert "not found" in missing.error
    nb.kernel.interrupt()
    assert nb.ok("print('alive')").stdout == "alive\n"
    nb.ok("%load_ext lrwidget")
    nb.ok("w.sweep(num_steps=3)")
    assert nb.given_back()


def test_a_run_trains_with_the_lr_that_was_typed_before_its_button_was_pressed(kernel: Kernel) -> None:
    if kernel.generation == 6:
        pytest.skip("ipykernel 6 has no subshells")
    assert kernel.execute(IMPORTS).status == "ok"
    nb = Notebook(kernel)
    nb.let_go()
    nb.ok("busy = Valve(); foreign = ipywidgets.IntText(); foreign.observe(lambda _: busy.wait(), 'value')")
    field, button, foreign, tap = kernel.value(
        "[thing.model_id for thing in (w._views[3].rows[-1].lr.view, w._controls.fine_tune, foreign, busy.tap)]"
    )
    page = kernel.create_subshell()
    assert page is not None
    for thing, value in ((field, "0.5"), (foreign, 0)):  # ipykernel 7.4 sends the next where the first was answered
        kernel.wait_handled(kernel.set_traits(thing, subshell=page, value=value))
    kernel.set_traits(foreign, subshell=page, value=1)  # keeps the thread that hears the page
    kernel.set_traits(field, subshell=page, value="0.02")
    pressed = kernel.click(button, subshell=page)
    kernel.wait_handled(kernel.set_traits(tap, value=1))  # by way of the main thread, which is free
    kernel.wait_handled(pressed)
    nb.until_idle()
    assert kernel.value("[w.lrs[-1], w.history.plan.max_lrs[-1]]") == [0.02, 0.02]


def test_a_page_that_comes_later_is_heard_when_the_subshell_of_the_first_is_gone(kernel: Kernel) -> None:
    if kernel.generation == 6:
        pytest.skip("ipykernel 6 has no subshells")
    assert kernel.execute(IMPORTS).status == "ok"
    nb = Notebook(kernel)
    nb.let_go()
    field = kernel.value("w._views[3].rows[-1].lr.view.model_id")
    foreign = kernel.value("(foreign := ipywidgets.Text()).model_id")
    for lr in ("0.02", "0.03"):
        page = kernel.create_subshell()
        assert page is not None
        kernel.wait_handled(kernel.set_traits(foreign, subshell=page, value=lr))
        kernel.set_traits(field, subshell=page, value=lr)
        kernel.wait_for(lambda lr=lr: kernel.comms[field]["placeholder"] == lr, what=f"an answer to {lr}")
        kernel.click(nb.sweep_button, subshell=page)
        kernel.wait_for(lambda: nb.kernel.comms[nb.sweep_button].get("disabled"))
        nb.until_idle()
        kernel.delete_subshell(page)
    assert kernel.value("[w.lrs[-1], len(w.sweeps), foreign.value]") == [0.03, 2, "0.03"]


def test_a_kernel_that_is_shut_down_while_a_sweep_runs_and_a_cell_waits_ends_by_itself(kernel: Kernel) -> None:
    assert kernel.execute(IMPORTS).status == "ok"
    nb = Notebook(kernel)
    nb.ok("w.sweep(num_steps=300)")
    nb.send("print('never')")
    nb.hold_at(3)
    manager = kernel._manager
    manager.request_shutdown()
    deadline = time.monotonic() + 60
    while manager.is_alive() and time.monotonic() < deadline:
        kernel.pump(0.1)
    assert not manager.is_alive()
