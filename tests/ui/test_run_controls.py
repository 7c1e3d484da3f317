"""The fields of a run: what they show, and what they tell."""

from typing import Any

import pytest

from lrwidget.engine.errors import InputError
from lrwidget.engine.plan import PRESETS, one_cycle
from lrwidget.state import Phase, RunOptions
from lrwidget.ui.run_controls import RunControls
from tests.ui.hands import INSTANCES, press, texts_of, type_into
from tests.ui.states import NAMES, a_state


class Run(RunControls):
    def __init__(self, refuse: bool = False, code: str | None = "print('a < b')") -> None:
        self.told: list[Any] = []

        def options(asked: RunOptions) -> None:
            if refuse:
                raise InputError("Got that; expected this.")
            self.told.append(asked)

        super().__init__(
            on_fine_tune=lambda: self.told.append("fine-tune"), on_options=options, on_copy_code=lambda: code
        )


@pytest.fixture
def run() -> Run:
    run = Run()
    run.render(a_state())
    return run


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("epochs", "12", {"epochs": 12}),
        ("freeze_epochs", "2", {"freeze_epochs": 2}),
        ("pct_start", "0.4", {"pct_start": 0.4}),
        ("div", "10", {"div": 10.0}),
        ("div_final", "1e3", {"div_final": 1000.0}),
    ],
)
def test_a_field_tells_the_options_with_its_change(run: Run, name: str, text: str, changed: dict[str, Any]) -> None:
    type_into(getattr(run, name), text)
    assert run.told == [RunOptions(**changed)]


def test_an_emptied_field_is_the_presets_again(run: Run) -> None:
    run.render(a_state(options=RunOptions(div=7.0)))
    assert run.div.view.value == "7"
    type_into(run.div, "")
    assert run.told == [RunOptions(div=None)]


@pytest.mark.parametrize("preset", PRESETS)
def test_empty_fields_show_what_the_preset_takes(run: Run, preset: str) -> None:
    run.render(a_state(options=RunOptions(preset=preset)))
    assert run.preset.value == preset
    assert float(run.pct_start.view.placeholder) == PRESETS[preset].pct_start
    assert float(run.div.view.placeholder) == PRESETS[preset].div
    assert run.pct_start.view.value == ""


def test_another_preset_brings_its_own_numbers(run: Run) -> None:
    run.render(a_state(options=RunOptions(div=7.0, epochs=3)))
    run.preset.set_state({"index": list(PRESETS).index("fastai")})
    assert run.told == [RunOptions(preset="fastai", epochs=3)]


def test_refused_options_are_answered_and_taken_back() -> None:
    run = Run(refuse=True)
    run.render(a_state())
    run.preset.set_state({"index": list(PRESETS).index("fastai")})
    type_into(run.div, "0.5")
    assert run.preset.value == "torch" and run.div.view.value == ""
    assert "expected this" in texts_of(run.view)


@pytest.mark.parametrize("phase", Phase)
def test_fine_tune_can_be_pressed_only_when_nothing_runs(run: Run, phase: Phase) -> None:
    run.render(a_state(phase=phase))
    assert run.fine_tune.disabled == (phase is not Phase.IDLE)
    press(run.fine_tune)
    assert run.told == ["fine-tune"]


def test_the_code_is_shown_escaped_and_taken_away_again(run: Run) -> None:
    assert run.code.description == "Show code"
    press(run.code)
    assert "print(&#x27;a &lt; b&#x27;)" in texts_of(run.view)
    assert run.code.description == "Hide code"
    press(run.code)
    assert "print" not in texts_of(run.view)
    assert run.code.description == "Show code"


def test_code_on_the_screen_follows_the_plan(run: Run) -> None:
    press(run.code)
    run.render(a_state(plan=one_cycle(0.125, 40, NAMES)))
    assert "0.125" in texts_of(run.view)


def test_a_single_group_has_nothing_to_freeze(run: Run) -> None:
    assert run.freeze_epochs.view.layout.display != "none"
    run.render(a_state(names=("all",), lrs=(1e-3,)))
    assert run.freeze_epochs.view.layout.display == "none"


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    view = Run()
    view.render(a_state())
    view.close()
    assert set(INSTANCES) == before
