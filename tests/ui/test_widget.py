"""`LRWidget` without a kernel: what a script and a plain IPython get, and how code and screen follow each other."""

import gc
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from torch.nn import functional as F

import lrwidget
from lrwidget.engine.errors import InputError, InputTypeError, LRWidgetError
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.ui.widget import ROOT_CLASS, LRWidget
from tests.engine import oracle
from tests.engine.zoo import adam, loader, net
from tests.ui.hands import type_into


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Widgets live until they are closed: those of one test are none of the next one's."""
    torch.manual_seed(0)
    before = set(_instances)
    yield
    for name in set(_instances) - before:
        _instances[name].close()


def a_widget(**options: Any) -> LRWidget:
    model = options.pop("model", None) or net()
    optimizer = options.pop("optimizer", None) or adam(model)
    return lrwidget.attach(model, optimizer, options.pop("train_dl", None) or loader(), F.cross_entropy, **options)


def three_groups() -> LRWidget:
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 3))
    groups = [{"params": layer.parameters(), "lr": lr} for layer, lr in zip(model, (1e-5, 1e-4, 1e-3), strict=True)]
    return a_widget(model=model, optimizer=torch.optim.SGD(groups, lr=1.0))


def within(widget: ipywidgets.Widget) -> Iterator[Any]:
    """A widget and everything that is shown in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from within(child)


def button(w: LRWidget, label: str) -> ipywidgets.Button:
    return next(b for b in within(w.view) if isinstance(b, ipywidgets.Button) and b.description == label)


def said(w: LRWidget) -> str:
    """All text on the screen."""
    return "\n".join(part.value for part in within(w.view) if isinstance(part, ipywidgets.HTML))


# ---- attaching -------------------------------------------------------------------------------------------------------


def test_attaching_gives_a_widget_and_changes_nothing() -> None:
    model, train_dl = net(), loader()
    optimizer = adam(model)
    before = oracle.of_everything(model, optimizer, loaders=(train_dl,))
    w = lrwidget.attach(model, optimizer, train_dl, F.cross_entropy)
    assert isinstance(w, lrwidget.LRWidget)
    assert not oracle.changes(before, oracle.of_everything(model, optimizer, loaders=(train_dl,)))
    assert (w.curve, w.advice, w.history) == (None, None, None)


def test_an_option_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(InputTypeError, match=r"attach\(\) takes .*valid_dl.* Did you mean 'valid_dl'"):
        a_widget(val_loader=loader())


def test_what_cannot_be_attached_leaves_no_widget_behind() -> None:
    before = set(_instances)
    with pytest.raises(LRWidgetError, match="none of which is among"):
        a_widget(model=net(), optimizer=adam(net()))
    assert set(_instances) == before


def test_its_root_carries_the_class_that_styles_and_pictures_are_hung_on() -> None:
    assert ROOT_CLASS in a_widget().view._dom_classes


# ---- picking ---------------------------------------------------------------------------------------------------------


def test_max_lr_is_the_fastest_groups_and_assigning_it_keeps_the_ratios() -> None:
    w = three_groups()
    assert w.max_lr == 1e-3
    w.max_lr = 1e-2
    assert w.max_lr == 1e-2
    assert w.lrs == pytest.approx((1e-4, 1e-3, 1e-2))


def test_lrs_are_one_per_group_and_assigning_them_sets_each() -> None:
    w = three_groups()
    assert w.lrs == (1e-5, 1e-4, 1e-3)
    w.lrs = [1e-4, 5e-4, 1e-2]
    assert w.lrs == (1e-4, 5e-4, 1e-2)


def test_a_slice_is_what_fastai_means_by_it() -> None:
    w = three_groups()
    assert w.slice == slice(1e-5, 1e-3)
    w.slice = slice(1e-4, 1e-2)
    assert w.lrs == pytest.approx((1e-4, 1e-3, 1e-2))
    w.slice = slice(1e-2)
    assert w.lrs == pytest.approx((1e-3, 1e-3, 1e-2))


def test_what_is_picked_in_code_is_on_the_screen() -> None:
    w = three_groups()
    w.max_lr = 0.0123
    assert [marker.handle.x.item() for marker in w._chart._markers._each] == pytest.approx(w.lrs)
    fields = [part.value for part in within(w.view) if isinstance(part, ipywidgets.Text)]
    assert any(float(text) == pytest.approx(0.0123, rel=0.05) for text in fields if text)


def test_what_is_picked_on_the_screen_is_in_the_code() -> None:
    w = three_groups()
    handle = w._chart._markers._each[2].handle
    for event in ("drag_start", "drag", "drag_end"):
        handle._handle_custom_msg({"event": event, "point": {"x": 0.1, "y": 0.1}, "index": 0}, [])
    assert w.lrs == pytest.approx((1e-5, 1e-3, 1e-1))
    assert w.plan().max_lrs == w.lrs


def test_markers_that_one_takes_along_stop_with_the_first_at_the_end_of_the_axis() -> None:
    w = three_groups()
    w._session.set_together(True)
    handle = w._chart._markers._each[0].handle
    for event in ("drag_start", "drag", "drag_end"):  # what the end says has been picked already
        handle._handle_custom_msg({"event": event, "point": {"x": 1.0, "y": 0.1}, "index": 0}, [])
    assert w.lrs == pytest.approx((0.1, 1.0, 10.0))
    assert all(marker.label.visible for marker in w._chart._markers._each)


def test_code_on_the_screen_keeps_the_steps_of_the_loop_when_another_lr_is_picked() -> None:
    w = a_widget(accumulate=2, clip_grad_norm=1.0, amp="bf16")
    button(w, "Copy code").click()
    w.max_lr = 0.0123
    shown = next(part.value for part in within(w.view) if "lrw-program" in str(getattr(part, "value", "")))
    assert "0.0123" in shown
    assert all(word in shown for word in ("accumulate = 2", "clip_grad_norm", "autocast"))


@pytest.mark.parametrize(("name", "bad"), [("max_lr", 0.0), ("max_lr", "fast"), ("lrs", (1e-3,)), ("slice", "1:2")])
def test_what_is_no_pick_is_refused(name: str, bad: Any) -> None:
    w = three_groups()
    with pytest.raises(LRWidgetError, match=r"Got .*; expected"):
        setattr(w, name, bad)
    assert w.lrs == (1e-5, 1e-4, 1e-3)


# ---- sweeping and training ----------------------------------------------------------------------------------------


def test_in_a_script_a_sweep_has_been_done_when_it_returns() -> None:
    w = a_widget()
    w.sweep(num_steps=20)
    assert len(w.curve) == 20
    assert w.advice == w.curve.suggest()
    assert w.state.phase == "idle"
    w.wait()


def test_the_plan_is_that_of_one_cycle_and_its_code_runs_it() -> None:
    w = a_widget()
    w.max_lr = 0.02
    assert w.plan(epochs=2) == one_cycle(w.lrs, 12, [group.name for group in w.state.groups])
    assert compile(w.code(), "code", "exec")
    assert "OneCycleLR" in w.code()


def test_fine_tune_trains_with_what_is_on_the_screen() -> None:
    w = a_widget(valid_dl=loader(seed=4, shuffle=False))
    w.max_lr = 0.02
    wanted = w.plan(epochs=2).lr_at(range(12))
    w.fine_tune(epochs=2)
    assert w.history.lrs.tolist() == wanted.tolist()
    assert len(w.history.epochs) == 2
    assert w.restore_best() == w.history.best_epoch


@pytest.mark.parametrize("options", [{"num_it": 3}, {"start_lr": 1.0, "end_lr": 0.1}])
def test_a_sweep_that_cannot_be_is_refused_by_the_method(options: dict[str, Any]) -> None:
    with pytest.raises((InputError, InputTypeError)):
        a_widget().sweep(**options)


def test_the_sweep_button_sweeps_what_its_fields_say_and_a_refusal_is_said_in_words() -> None:
    w = a_widget()
    w.sweep(num_steps=10)
    button(w, "Sweep").click()
    assert len(w.curve) == 10
    assert "The model is as it was before" in said(w)


def test_a_sweep_from_code_goes_over_the_range_on_the_screen() -> None:
    w = a_widget()
    type_into(w._toolbar.start_lr, "1e-5")
    type_into(w._toolbar.steps, "12")
    w.sweep()
    assert len(w.curve) == 12 and w.curve.lrs[0] == 1e-5
    w.sweep(num_steps=8)
    assert len(w.curve) == 8 and w.curve.lrs[0] == 1e-5 and w._toolbar.steps.value == 8


def test_the_fine_tune_button_trains() -> None:
    w = a_widget()
    button(w, "Fine-tune").click()
    assert len(w.history) == 5 * 6


def test_a_press_that_takes_the_focus_from_a_refused_text_does_not_train_with_what_was_there_before() -> None:
    w = a_widget()
    for field, right in ((w._groups.fields[0], "3e-4"), (w._controls.epochs, "1")):
        type_into(field, "3e-")
        button(w, "Fine-tune").click()
        assert w.history is None and "Got &#x27;3e-&#x27;" in said(w)
        type_into(field, right)
    button(w, "Fine-tune").click()
    assert len(w.history) == 6 and w.history.plan.max_lrs[0] == 3e-4


@pytest.mark.parametrize("label", ["Fine-tune", "Copy code"])
def test_what_a_button_cannot_do_is_said_on_the_screen_and_raised_nowhere(label: str) -> None:
    w = a_widget(train_dl=iter([(torch.randn(4, 6), torch.zeros(4, dtype=torch.long))] * 3))
    button(w, label).click()
    assert "without a length" in said(w)


def test_what_is_told_the_screen_is_escaped() -> None:
    def broken(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ValueError("<b>bold</b>")

    w = lrwidget.attach(model := net(), adam(model), loader(), broken)
    with pytest.raises(ValueError, match="bold"):
        w.sweep()
    assert "&lt;b&gt;bold&lt;/b&gt;" in said(w)
    assert "<b>bold</b>" not in said(w)


# ---- showing and closing ---------------------------------------------------------------------------------------------


def test_its_repr_says_what_it_is_for_and_what_is_picked() -> None:
    w = three_groups()
    assert repr(w) == "<LRWidget Sequential · SGD · 3 groups: idle; 0 1e-5, 1 0.0001, 2 0.001>"


def test_showing_it_in_a_script_says_it_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    w = a_widget()
    w.show()
    said = capsys.readouterr().out
    assert "learning rates: 0 … 1 0.001, 1 … 4 0.01" in said
    assert "w.sweep() sweeps" in said
    w.sweep(num_steps=20)
    w._ipython_display_()
    assert str(w.advice) in capsys.readouterr().out


def test_closing_leaves_no_widget_and_no_watcher() -> None:
    before = set(_instances)
    w = a_widget()
    w.sweep(num_steps=20)
    w.fine_tune(1)
    w.close()
    assert set(_instances) == before
    assert not [callbacks for kinds in w.state._trait_notifiers.values() for callbacks in kinds.values() if callbacks]
    assert w.view.comm is None


def test_closing_twice_is_no_harm_and_the_results_stay() -> None:
    w = a_widget()
    w.sweep(num_steps=20)
    w.close()
    w.close()
    assert len(w.curve) == 20


def test_a_closed_widget_that_nobody_holds_is_gone_with_its_model() -> None:
    model = net()
    w = a_widget(model=model)
    w.sweep(num_steps=5)
    gone = [weakref.ref(w), weakref.ref(w.state), weakref.ref(model)]
    w.close()
    del w, model
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]


def run_script(tmp_path: Path, code: str, *command: str) -> str:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, *command, str(script)], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


SCRIPT = """
    import torch
    from torch import nn

    import lrwidget

    torch.manual_seed(0)
    x = torch.randn(64, 4)
    train_dl = [(x[i : i + 16], (x[i : i + 16, 0] > 0).long()) for i in range(0, 64, 16)]
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    w = lrwidget.attach(model, optimizer, train_dl, nn.functional.cross_entropy)
    w.sweep(num_steps=10)
    w.max_lr = 3e-3
    w.fine_tune(epochs=1)
    w.show()
    print("curve", len(w.curve), "history", len(w.history), "max_lr", w.max_lr)
    print(w)
    w.close()
"""


def test_a_plain_script_can_use_it_from_end_to_end(tmp_path: Path) -> None:
    out = run_script(tmp_path, SCRIPT)
    assert "curve 10 history 4 max_lr 0.003" in out
    assert "<LRWidget Sequential · AdamW · 1 group: idle; all layers 0.003>" in out


def test_a_plain_ipython_can_use_it_from_end_to_end(tmp_path: Path) -> None:
    out = run_script(
        tmp_path,
        SCRIPT,
        "-m",
        "IPython",
        "--HistoryManager.enabled=False",
        "--colors=NoColor",
        f"--ipython-dir={tmp_path}",
    )
    assert "curve 10 history 4 max_lr 0.003" in out
