import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets.widget import _instances
from traitlets.config import Config

from lrwidget.ui.widget import LRWidget

SETUP = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(64, 4)
train_dl = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.AdamW(model.parameters())
loss_fn = nn.CrossEntropyLoss()
"""


class Notebook:
    """IPython's shell without a kernel: cells by their source, and what they printed."""

    def __init__(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell, self._capsys = shell, capsys

    def run(self, cell: str) -> str:
        """Output of a cell that must not fail."""
        result = self.shell.run_cell(cell)
        result.raise_error()
        return self._capsys.readouterr().out

    def fail(self, cell: str) -> str:
        """What the user sees of a cell that must fail, without the colours."""
        assert not self.shell.run_cell(cell).success
        return re.sub(r"\x1b\[[0-9;]*m", "", "".join(self._capsys.readouterr()))

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False
    widgets = set(_instances)
    notebook = Notebook(InteractiveShell.instance(config=config), capsys)
    yield notebook
    for name in set(_instances) - widgets:
        _instances[name].close()
    notebook.shell.reset(new_session=False)
    InteractiveShell.clear_instance()


@pytest.fixture
def notebook(bare: Notebook) -> Notebook:
    bare.run(SETUP)
    bare.run("%load_ext lrwidget")
    return bare


def traces(shell: InteractiveShell) -> dict[str, Any]:
    """Everything of a shell that an extension can leave something in."""
    manager = shell.magics_manager
    return {
        # By name: IPython makes its own at their first use.
        "lines": set(manager.magics["line"]),
        "cells": set(manager.magics["cell"]),
        "registry": {n for n, m in manager.registry.items() if not type(m).__module__.startswith("IPython.")},
        "events": {name: list(callbacks) for name, callbacks in shell.events.callbacks.items()},
        "transformers": list(shell.input_transformers_post + shell.ast_transformers),
        "formatters": {kind: set(f.type_printers) for kind, f in shell.display_formatter.formatters.items()},
        "names": {name for name in shell.user_ns if not name.startswith("_")},
    }


# ---- loading and unloading -------------------------------------------------------------------------------------------


def test_loading_and_unloading_leaves_no_trace(bare: Notebook) -> None:
    before = traces(bare.shell)
    bare.run("%load_ext lrwidget")
    assert "lrfind" in bare.shell.magics_manager.magics["line"]
    bare.run("%unload_ext lrwidget")
    assert traces(bare.shell) == before
    assert "Line magic function `%lrfind` not found" in bare.fail("%lrfind")


def test_no_trace_is_left_after_the_magic_was_used_either(bare: Notebook) -> None:
    bare.run(SETUP)
    before = traces(bare.shell)
    bare.run("%load_ext lrwidget")
    bare.run("w = %lrfind --num-steps 5")
    bare.run("w.close(); del w")
    bare.run("%unload_ext lrwidget")
    assert traces(bare.shell) == before


def test_it_can_be_loaded_again(notebook: Notebook) -> None:
    notebook.run("%unload_ext lrwidget")
    notebook.run("%load_ext lrwidget")
    notebook.run("%reload_ext lrwidget")
    notebook.run("w = %lrfind --no-sweep")


def test_a_magic_of_the_users_own_by_that_name_is_left_alone(notebook: Notebook) -> None:
    notebook.shell.register_magic_function(lambda line: 42, "line", "lrfind")
    notebook.run("%unload_ext lrwidget")
    notebook.run("answer = %lrfind")
    assert notebook["answer"] == 42


# ---- using it --------------------------------------------------------------------------------------------------------


def test_it_gives_the_widget_and_its_sweep_is_over_where_there_is_no_kernel(notebook: Notebook) -> None:
    notebook.run("w = %lrfind model optimizer train_dl loss_fn --num-steps 20")
    w = notebook["w"]
    assert isinstance(w, LRWidget)
    assert w.state.phase == "idle"
    assert len(w.curve) == 20


def test_where_no_widget_can_be_shown_it_says_in_words_what_the_sweep_found_and_once(notebook: Notebook) -> None:
    said = notebook.run("w = %lrfind model optimizer train_dl loss_fn --num-steps 20\nw")
    w = notebook["w"]
    assert said.count("lrwidget: Sequential · AdamW · 1 group") == 1
    assert f"{w.curve.note} The model is as it was before." in said
    assert str(w.advice) in said
    assert "A picture of the result" not in said


def test_bare_it_finds_all_four_and_says_which_it_took(notebook: Notebook) -> None:
    notebook.run("w = %lrfind --no-sweep")
    title = notebook["w"].state.title
    for said in ("model = model", "optimizer = optimizer", "train_dl = train_dl", "loss_fn = loss_fn"):
        assert said in title


def test_named_in_full_it_has_nothing_to_say_of_what_it_took(notebook: Notebook) -> None:
    notebook.run("w = %lrfind model optimizer train_dl loss_fn --no-sweep")
    assert notebook["w"].state.title == "Sequential · AdamW · 1 group"


def test_a_validation_loader_is_found_and_said_or_named(notebook: Notebook) -> None:
    notebook.run("valid_dl = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16)")
    notebook.run("w = %lrfind --no-sweep")
    assert "valid_dl = valid_dl" in notebook["w"].state.title
    assert notebook["w"]._session.loop.valid_dl is notebook["valid_dl"]
    notebook.run("v = %lrfind --no-sweep --valid-dl None")
    assert notebook["v"]._session.loop.valid_dl is None


def test_options_are_those_of_a_sweep_and_of_a_step(notebook: Notebook) -> None:
    notebook.run(
        "w = %lrfind model optimizer train_dl loss_fn --start-lr 1e-5 --end-lr=0.5 --num-steps 7 --mode linear "
        "--smoothing 0.2 --diverge-ratio 9 --accumulate 2 --clip-grad-norm 1.5 --amp 'bf16'  # and a comment"
    )
    config, loop = notebook["w"].state.config, notebook["w"]._session.loop
    assert (config.start_lr, config.end_lr, config.num_steps, config.mode) == (1e-5, 0.5, 7, "linear")
    assert (config.smoothing, config.diverge_ratio) == (0.2, 9.0)
    assert (loop.accumulate, loop.clip_grad_norm, loop.amp) == (2, 1.5, "bf16")
    assert len(notebook["w"].curve) == 7


def test_options_that_name_objects_are_looked_up(notebook: Notebook) -> None:
    notebook.run("def step(model, batch): return loss_fn(model(batch[0]), batch[1])")
    notebook.run("w = %lrfind model optimizer train_dl loss_fn --loss-step step --names ['all'] --num-steps 3")
    assert notebook["w"].state.groups[0].name == "all"
    assert notebook["w"]._session.loop.loss_step is notebook["step"]


def test_expressions_may_hold_quotes_and_brackets(notebook: Notebook) -> None:
    notebook.run("parts = {'model': model, 'dl': [train_dl]}")
    notebook.run("""w = %lrfind parts['model'] optimizer parts["dl"][0] loss_fn --no-sweep""")
    assert notebook["w"]._session.loop.model is notebook["model"]
    assert notebook["w"]._session.loop.train_dl is notebook["train_dl"]


def test_no_sweep_only_attaches(notebook: Notebook) -> None:
    notebook.run("w = %lrfind --no-sweep")
    assert notebook["w"].curve is None


def test_the_model_is_as_it_was(notebook: Notebook) -> None:
    before = {name: value.clone() for name, value in notebook["model"].state_dict().items()}
    notebook.run("w = %lrfind --num-steps 20")
    assert all(torch.equal(value, before[name]) for name, value in notebook["model"].state_dict().items())
    assert not notebook["optimizer"].state


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("modle optimizer train_dl loss_fn", "NamespaceError: Got 'modle' as model, and there is no 'modle' here"),
        ("model optimizer train_dl loss_fn extra", "InputTypeError: Got 5 arguments"),
        ("--num-it 5", "Got the option 'num_it'; %lrfind takes"),
        ("--num-it 5", "Did you mean 'num_steps'?"),
        ("--num-stps 5", "Did you mean 'num_steps'?"),
        ("--num-steps many", "Got 'many'; expected a whole number"),
        ("--start-lr low", "Got 'low'; expected a number"),
        ("--num-steps", "Got --num-steps without a value"),
        ("--valid-dl --no-sweep", "Got --valid-dl without a value"),
        ("--start-lr 1 --end-lr 0.1", "InputError: Got start_lr=1 and end_lr=0.1; expected start_lr below end_lr"),
        ("--num-steps 1", "InputError: Got num_steps=1"),
        ("--mode log", "InputError: Got mode='log'"),
        ("--amp half", "InputError: Got amp='half'"),
        ("--valid-dl no_such_dl", "Got 'no_such_dl' as valid_dl, and there is no 'no_such_dl' here"),
        ("nn.Linear(4,2) optimizer train_dl loss_fn", "ModelMismatchError: Got an optimizer (AdamW) with 4 parameters"),
        ("model optimizer [] loss_fn", "EmptyLoaderError: Got a list as train_dl that yields no batch"),
        ("model train_dl optimizer loss_fn", "InputTypeError: Got a DataLoader as optimizer"),
        ("model optimizer 5 loss_fn", "InputTypeError: Got a int as train_dl"),
    ],
)
def test_bad_input_is_one_clear_error_and_shows_nothing_of_how_lrwidget_is_built(
    notebook: Notebook, line: str, says: str
) -> None:
    widgets = len(_instances)
    seen = notebook.fail(f"%lrfind {line}")
    assert says in seen
    assert "magics.py" not in seen
    assert seen.count("Error") <= 2  # its name, and perhaps the line that names it
    assert len(_instances) == widgets


def test_objects_it_cannot_choose_between_are_named(notebook: Notebook) -> None:
    notebook.run("more_dl = DataLoader(train_dl.dataset)")
    del notebook.shell.user_ns["train_dl"]
    notebook.run("dl_a = DataLoader(more_dl.dataset)")
    seen = notebook.fail("%lrfind")
    assert "Got 2 objects that could be the training loader (a DataLoader): more_dl, dl_a" in seen
    assert "%lrfind model optimizer train_dl loss_fn" in seen


def test_an_error_of_the_users_own_code_has_its_own_traceback(notebook: Notebook) -> None:
    notebook.run("def broken(output, target): return output.nonsense()")
    seen = notebook.fail("%lrfind model optimizer train_dl broken")
    assert "AttributeError: 'Tensor' object has no attribute 'nonsense'" in seen
    assert "return output.nonsense()" in seen


def test_in_a_terminal_all_of_it_works_in_words_and_with_matplotlib(tmp_path: Path) -> None:
    """`ipython script.ipy`: magics, the widget as the last expression of a cell, a figure."""
    script = tmp_path / "script.ipy"
    script.write_text(
        f"{SETUP}\n%load_ext lrwidget\nw = %lrfind model optimizer train_dl loss_fn --num-steps 20\n"
        "w.show()\nw.max_lr = 3e-3\nw.fine_tune(epochs=1)\nprint(w)\nprint(w.history)\n"
        "w.curve.plot().savefig('curve.png')\nw.close()\nfrom IPython.display import display\ndisplay(w)\n"
    )
    command = [sys.executable, "-m", "IPython", "--HistoryManager.enabled=False", "--colors=NoColor"]
    done = subprocess.run(
        [*command, f"--ipython-dir={tmp_path}", str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert said.count("w.sweep() sweeps") == 2  # %lrfind, and w.show()
    assert "<LRWidget Sequential · AdamW · 1 group: idle; all layers 0.003>" in said
    assert said.rstrip().endswith("<LRWidget Sequential · AdamW · 1 group: closed; all layers 0.003>")
    for nonsense in ("Traceback", "Warning", "not found", "VBox(", "A picture of the result"):
        assert nonsense not in said
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
