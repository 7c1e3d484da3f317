"""The fields of a run: what they show, and what they tell."""

import html
import re
from typing import Any

import pytest

from lrwidget.engine.errors import InputError
from lrwidget.engine.plans.plan import PRESETS, one_cycle
from lrwidget.state import Phase, RunOptions
from lrwidget.ui.views.run_controls import Choice, RunControls
from tests.ui.hands import INSTANCES, press, texts_of, type_into
from tests.ui.states import NAMES, a_state


def choose(choice: Choice, value: Any) -> None:
    """What the browser sends when an entry of a dropdown is chosen."""
    choice.view.set_state({"index": [known for _, known in choice.view.options].index(value)})


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
        ("steps", "500", {"steps": 500}),
        ("freeze_epochs", "2", {"freeze_epochs": 2}),
        ("pct_start", "0.4", {"pct_start": 0.4}),
        ("div", "10", {"div": 10.0}),
        ("div_final", "1e3", {"div_final": 1000.0}),
        ("momentum", "0.8–0.9", {"momentum": (0.8, 0.9)}),
        ("momentum", "0.95 to 0.85", {"momentum": (0.85, 0.95)}),
        ("momentum", "Off", {"momentum": None}),
    ],
)
def test_a_field_tells_the_options_with_its_change(run: Run, name: str, text: str, changed: dict[str, Any]) -> None:
    type_into(getattr(run, name), text)
    assert run.told == [RunOptions(**changed)]


@pytest.mark.parametrize(("name", "value"), [("anneal", "linear"), ("anneal", "linear-cos"), ("phases", 3)])
def test_a_choice_tells_the_options_with_its_change(run: Run, name: str, value: Any) -> None:
    choose(getattr(run, name), value)
    assert run.told == [RunOptions(**{name: value})]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("div", 7.0, "7"), ("momentum", (0.85, 0.95), "0.85–0.95"), ("momentum", None, "off")],
)
def test_an_emptied_field_is_the_presets_again(run: Run, name: str, value: Any, text: str) -> None:
    run.render(a_state(options=RunOptions(**{name: value})))
    assert getattr(run, name).view.value == text
    type_into(getattr(run, name), "")
    assert run.told == [RunOptions()]


@pytest.mark.parametrize("text", ["0.85", "0.9–1", "-0.1–0.9", "0.8–0.9–0.95", "none", "0.8.1–0.9"])
def test_what_is_no_momentum_is_answered(run: Run, text: str) -> None:
    type_into(run.momentum, text)
    assert not run.told
    assert f"Got {html.escape(repr(text))}; expected two momenta" in texts_of(run.view)


@pytest.mark.parametrize("preset", PRESETS)
def test_empty_fields_show_what_the_preset_takes(run: Run, preset: str) -> None:
    run.render(a_state(options=RunOptions(preset=preset)))
    assert run.preset.view.value == preset
    assert float(run.pct_start.view.placeholder) == PRESETS[preset].pct_start
    assert float(run.div.view.placeholder) == PRESETS[preset].div
    assert run.pct_start.view.value == run.momentum.view.value == ""
    momentum = PRESETS[preset].momentum
    assert run.momentum.view.placeholder == ("off" if momentum is None else "0.85–0.95")
    assert run.anneal.view.label == f"{PRESETS[preset].anneal} (preset's)"
    assert run.phases.view.label == f"{PRESETS[preset].phases} (preset's)"
    assert run.told == []


CHANGES: list[dict[str, Any]] = [
    {"pct_start": 0.4},
    {"div": 7.0},
    {"div_final": 100.0},
    {"momentum": None},
    {"anneal": "linear"},
    {"phases": 3},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("preset", ["torch", "fastai"])
def test_a_changed_preset_says_so_and_any_preset_empties_the_fields(
    run: Run, preset: str, changes: dict[str, Any]
) -> None:
    run.render(a_state(options=RunOptions(preset=preset, epochs=3, **changes)))
    assert run.preset.view.label == f"{preset}, changed"
    for chosen in (preset, "smith"):
        choose(run.preset, chosen)
    assert run.told == [RunOptions(preset=preset, epochs=3), RunOptions(preset="smith", epochs=3)]
    run.told.clear()
    run.render(a_state(options=RunOptions(preset=preset)))
    assert run.preset.view.label == preset
    assert run.told == []


def test_epochs_are_no_change_of_the_preset(run: Run) -> None:
    run.render(a_state(options=RunOptions(epochs=3, freeze_epochs=1)))
    assert run.preset.view.label == "torch"


def label_and_hint(field: Any) -> tuple[str, str]:
    found = re.fullmatch('<span title="([^"]*)">([^<]*)</span>', field.view.description)
    assert found is not None and field.view.description_allow_html
    return found[2], html.unescape(found[1])


def test_every_field_has_a_label_and_says_what_it_does_by_which_formula(run: Run) -> None:
    fields = [run.epochs, run.freeze_epochs, run.pct_start, run.div, run.div_final]
    labels = ["epochs", "frozen", "warm-up", "div", "final div", "momentum", "annealing", "phases", "preset"]
    said = [label_and_hint(field) for field in (*fields, run.momentum, run.anneal, run.phases, run.preset)]
    assert [label for label, _ in said] == labels
    assert all(len(hint) > 30 for _, hint in said)
    assert all("=" in hint for _, hint in said[: len(fields)])


@pytest.mark.parametrize("preset", PRESETS)
def test_the_formula_of_the_last_lr_is_the_presets(run: Run, preset: str) -> None:
    run.render(a_state(options=RunOptions(preset=preset)))
    formula = (
        label_and_hint(run.div_final)[1].partition("last lr = ")[2].partition(",")[0].replace("final div", "div_final")
    )
    shape = PRESETS[preset]
    last = eval(formula, {"max_lr": 0.1, "div": shape.div, "div_final": shape.div_final})
    assert last == pytest.approx(shape.levels(0.1)[-1])


def test_refused_options_are_answered_and_taken_back() -> None:
    run = Run(refuse=True)
    run.render(a_state())
    type_into(run.div, "0.5")
    assert run.div.view.value == ""
    for choice, value in ((run.preset, "fastai"), (run.phases, 3)):
        before = choice.view.label
        choose(choice, value)
        assert choice.view.label == before
        assert "expected this" in texts_of(run.view)


@pytest.mark.parametrize("phase", Phase)
def test_fine_tune_can_be_pressed_only_when_nothing_runs(run: Run, phase: Phase) -> None:
    run.render(a_state(phase=phase))
    assert run.fine_tune.disabled == (phase is not Phase.IDLE)
    press(run.fine_tune)
    assert run.told == (["fine-tune"] if phase is Phase.IDLE else [])


def test_the_code_is_shown_escaped_and_taken_away_again(run: Run) -> None:
    assert run.code.description == "Copy code"
    press(run.code)
    assert "print(&#x27;a &lt; b&#x27;)" in texts_of(run.view)
    assert run.code.description == "Hide code"
    press(run.code)
    assert "print" not in texts_of(run.view)
    assert run.code.description == "Copy code"


def test_code_on_the_screen_follows_the_plan_and_only_a_press_copies_it(run: Run) -> None:
    press(run.code)
    assert "onerror" in texts_of(run.view)
    run.render(a_state(plan=one_cycle(0.125, 40, NAMES)))
    assert "0.125" in texts_of(run.view)
    assert "onerror" not in texts_of(run.view)


def test_without_code_nothing_is_shown() -> None:
    run = Run(code=None)
    run.render(a_state())
    press(run.code)
    assert run.code.description == "Copy code"


def test_a_single_group_has_nothing_to_freeze(run: Run) -> None:
    run.render(a_state(plan=one_cycle(1e-3, 100, 3)))
    assert run.freeze_epochs.view.layout.display != "none"
    run.render(a_state(names=("all",), lrs=(1e-3,), plan=one_cycle(1e-3, 100, 1)))
    assert run.freeze_epochs.view.layout.display == "none"


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    view = Run()
    view.render(a_state())
    view.close()
    assert set(INSTANCES) == before


@pytest.mark.parametrize(
    ("steps", "planned", "by_steps"), [(None, True, False), (None, False, True), (500, True, True)]
)
def test_steps_are_asked_for_where_epochs_say_nothing(steps: int | None, planned: bool, by_steps: bool) -> None:
    run = Run()
    plan = one_cycle(1e-3, 500, 3) if planned else None
    run.render(a_state(plan=plan, options=RunOptions(steps=steps)))
    shown = [field for field in (run.epochs, run.steps, run.freeze_epochs) if field.view.layout.display != "none"]
    assert shown == ([run.steps] if by_steps else [run.epochs, run.freeze_epochs])
    assert run.steps.view.value == ("" if steps is None else str(steps))


def test_emptied_steps_are_epochs_again() -> None:
    run = Run()
    run.render(a_state(options=RunOptions(steps=500)))
    type_into(run.steps, "")
    assert run.told == [RunOptions()]
