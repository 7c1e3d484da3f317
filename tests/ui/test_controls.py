"""Buttons and fields: what they show of a state, and what they tell of a user."""

from collections.abc import Callable
from typing import Any

import ipywidgets
import pytest

from lrwidget.engine.errors import InputError
from lrwidget.engine.groups import Group
from lrwidget.engine.plan import PRESETS, one_cycle
from lrwidget.engine.sweep import SweepConfig
from lrwidget.state import LRState, Phase, Progress, RunOptions
from lrwidget.ui.controls import UNSEEN, GroupTable, RunControls, StatusLine, Toolbar
from lrwidget.ui.fields import WARNING
from tests.ui.states import NAMES, a_state

INSTANCES = ipywidgets.widgets.widget._instances


def type_into(field: Any, text: str) -> None:
    """What the browser sends when a text is entered."""
    field.view.set_state({"value": text})


def press(button: ipywidgets.Button) -> None:
    """What the browser sends when a button is pressed."""
    button._handle_custom_msg({"event": "click"}, [])


def texts_of(view: ipywidgets.Widget) -> str:
    """All HTML below a widget."""
    found = view.value if isinstance(view, ipywidgets.HTML) else ""
    return found + "".join(map(texts_of, getattr(view, "children", ())))


# Toolbar ---------------------------------------------------------------------------------------------------------


class Bar(Toolbar):
    def __init__(self) -> None:
        self.told: list[Any] = []
        super().__init__(on_sweep=lambda *range_: self.told.append(range_), on_stop=lambda: self.told.append("stop"))


@pytest.fixture
def bar() -> Bar:
    bar = Bar()
    bar.render(a_state())
    return bar


def test_sweep_tells_the_range_on_the_screen(bar: Bar) -> None:
    bar.render(a_state(config=SweepConfig(start_lr=1e-6, end_lr=2.0, num_steps=50)))
    press(bar.sweep)
    type_into(bar.start_lr, "3e-4")
    type_into(bar.steps, "200")
    press(bar.sweep)
    assert bar.told == [(1e-6, 2.0, 50), (3e-4, 2.0, 200)]


def test_the_exact_range_is_kept_behind_a_short_text(bar: Bar) -> None:
    bar.render(a_state(config=SweepConfig(start_lr=1.23456789e-6)))
    assert bar.start_lr.view.value == "1.2e-6"
    press(bar.sweep)
    assert bar.told[0][0] == 1.23456789e-6


@pytest.mark.parametrize(
    ("phase", "stopping", "sweep", "stop"),
    [
        (Phase.IDLE, False, True, False),
        (Phase.SWEEPING, False, False, True),
        (Phase.SWEEPING, True, False, False),
        (Phase.TRAINING, False, False, True),
    ],
)
def test_buttons_can_be_pressed_when_they_would_do_something(
    bar: Bar, phase: Phase, stopping: bool, sweep: bool, stop: bool
) -> None:
    bar.render(a_state(phase=phase, stopping=stopping))
    assert (not bar.sweep.disabled, not bar.stop.disabled) == (sweep, stop)


def test_stop_tells_and_shows_that_it_was_heard(bar: Bar) -> None:
    press(bar.stop)
    assert bar.told == ["stop"]
    bar.render(a_state(phase=Phase.SWEEPING, stopping=True))
    assert "Stopping" in bar.stop.description


def test_progress_tells_steps_loss_and_time_left(bar: Bar) -> None:
    bar.render(a_state(phase=Phase.SWEEPING, progress=Progress(step=62, total=100, loss=1.8321, seconds_left=64.0)))
    said = texts_of(bar.view)
    assert "62/100" in said and "1.832" in said and "1:04 left" in said
    bar.render(a_state())
    assert "62/100" not in texts_of(bar.view)


def test_a_backward_range_is_answered_and_not_swept(bar: Bar) -> None:
    type_into(bar.start_lr, "10")
    type_into(bar.end_lr, "1e-3")
    press(bar.sweep)
    assert not bar.told
    assert "expected to go upwards" in texts_of(bar.view)


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "nan", "inf", "1001", "1e30", "<b>1</b>"])
def test_a_text_that_is_no_lr_is_answered_and_the_field_has_its_value_again(bar: Bar, text: str) -> None:
    type_into(bar.start_lr, text)
    assert bar.start_lr.view.value == "1e-7"
    said = texts_of(bar.view)
    assert "expected a number above 0" in said
    assert "<b>1" not in said
    press(bar.sweep)
    assert bar.told == [(1e-7, 10.0, 100)]


@pytest.mark.parametrize("text", ["1", "100001", "1e9", "2.5"])
def test_steps_that_no_sweep_should_have_are_answered(bar: Bar, text: str) -> None:
    type_into(bar.steps, text)
    assert "2 to 100000" in texts_of(bar.view) and bar.steps.view.value == "100"
    type_into(bar.steps, "100000")
    assert bar.steps.value == 100_000


def test_the_longest_texts_have_room_in_their_fields(bar: Bar) -> None:
    for field, longest in ((bar.start_lr, "1.2e-17"), (bar.end_lr, "0.00012"), (bar.steps, "100000")):
        width = int(field.view.layout.width.removesuffix("px"))
        assert width > 9 * len(longest) + 8 * len(field.view.description) + 18, field.view.description


def test_a_good_text_takes_the_answer_to_a_bad_one_away(bar: Bar) -> None:
    type_into(bar.steps, "1.5")
    assert "whole number" in texts_of(bar.view)
    type_into(bar.steps, "15")
    assert "whole number" not in texts_of(bar.view)


def test_the_title_is_escaped(bar: Bar) -> None:
    bar.render(a_state(title="Net<img src=x>"))
    assert "Net&lt;img" in texts_of(bar.view) and "<img" not in texts_of(bar.view)


# Groups ----------------------------------------------------------------------------------------------------------


class Table(GroupTable):
    def __init__(self, answer: Callable[[int, float], object] = lambda index, lr: None) -> None:
        self.told: list[tuple[int, float]] = []
        super().__init__(on_lr=lambda index, lr: (self.told.append((index, lr)), answer(index, lr)))


def test_a_row_tells_name_size_and_lr() -> None:
    table = Table()
    table.render(a_state())
    assert [field.view.value for field in table.fields] == ["3e-5", "0.0003", "0.003"]
    said = texts_of(table.view)
    assert all(name in said for name in NAMES)
    assert "9\u2009408" in said
    assert "title='stem.0'" in said


def test_an_entered_lr_is_told_exactly_and_with_its_group() -> None:
    table = Table()
    table.render(a_state())
    type_into(table.fields[1], " 3.14159e-4 ")
    assert table.told == [(1, 3.14159e-4)]


def test_what_was_not_edited_is_not_told() -> None:
    table = Table()
    table.render(a_state(lrs=(3.14159e-5, 3e-4, 3e-3)))
    type_into(table.fields[0], "3.1e-5")
    assert not table.told


def test_the_field_follows_the_pick_that_its_edit_caused() -> None:
    state = a_state()
    table = Table(lambda index, lr: (setattr(state, "lrs", (lr, 3e-4, 3e-3)), table.render(state)))
    table.render(state)
    type_into(table.fields[0], "0.000047")
    assert table.fields[0].view.value == "4.7e-5"


def test_a_refused_lr_is_answered_and_taken_back() -> None:
    def refuse(index: int, lr: float) -> None:
        raise InputError(f"Got {lr} <here>; expected less.")

    table = Table(refuse)
    table.render(a_state())
    type_into(table.fields[0], "5")
    assert table.fields[0].view.value == "3e-5"
    assert "&lt;here&gt;" in texts_of(table.view)


def test_the_fastest_group_is_marked_as_max_lr() -> None:
    table = Table()
    table.render(a_state())
    cells = [cell.value if isinstance(cell, ipywidgets.HTML) else "" for cell in table.view.children[0].children]
    assert cells.index("max_lr") == len(cells) - 1


def test_names_and_layers_are_escaped() -> None:
    group = Group(name="<b>bold</b>", n_params=1, layers=("a'><script>",), lr=1e-3)
    table = Table()
    table.render(LRState(groups=(group,), config=SweepConfig(), options=RunOptions(), lrs=(1e-3,)))
    said = texts_of(table.view)
    assert "&lt;b&gt;bold" in said
    assert "<script>" not in said and "a'>" not in said


def test_other_groups_get_other_rows_and_old_ones_are_closed() -> None:
    table = Table()
    table.render(a_state())
    old = table.fields[0].view
    table.render(a_state(names=("one",), lrs=(1e-2,)))
    assert [field.view.value for field in table.fields] == ["0.01"]
    assert old.comm is None


# The run ---------------------------------------------------------------------------------------------------------


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


# Status ----------------------------------------------------------------------------------------------------------


def test_the_message_is_announced_and_escaped() -> None:
    line = StatusLine()
    line.render(a_state(message="Got <b>; stop."))
    assert "role='status'" in line.view.value and "&lt;b&gt;" in line.view.value
    assert "<pre" not in line.view.value


def test_the_users_traceback_is_shown_as_it_is() -> None:
    line = StatusLine()
    line.render(a_state(message="ValueError", error='File "<stdin>", line 1\n    x < y'))
    assert "role='alert'" in line.view.value
    assert "&lt;stdin&gt;" in line.view.value and "    x &lt; y" in line.view.value


def test_an_error_is_told_in_red_with_its_notes_and_its_traceback_folded_away() -> None:
    line = StatusLine()
    line.render(a_state(failed=True, message="TypeError: no <x>\nlrwidget read the batch as y", error="one\ntwo"))
    head, _, rest = line.view.value.partition("lrwidget read the batch as y")
    assert WARNING in head and "role='alert'" in head and "<b>TypeError: no &lt;x&gt;</b>" in head
    assert "<pre" not in head
    assert rest.index("<details>") < rest.index("one\ntwo") < rest.index("</details>")


def test_an_error_of_one_line_is_not_folded() -> None:
    line = StatusLine()
    line.render(a_state(error="A part could not be drawn."))
    assert "<details>" not in line.view.value and "A part could not be drawn." in line.view.value


def test_a_refused_request_is_red_without_a_traceback_and_the_next_message_is_not() -> None:
    line = StatusLine()
    line.render(a_state(failed=True, message="Got that; expected this."))
    assert WARNING in line.view.value and "<details>" not in line.view.value
    line.render(a_state(message="Sweeping."))
    assert WARNING not in line.view.value and "role='status'" in line.view.value


@pytest.mark.parametrize("where", ["sweep_message", "run_message"])
def test_what_stands_below_a_chart_is_not_seen_twice_but_announced(where: str) -> None:
    line = StatusLine()
    line.render(a_state(message="It ended."))
    assert UNSEEN not in line.view.value
    line.render(a_state(message="It ended.", **{where: "It ended."}))
    assert UNSEEN in line.view.value and "role='status'" in line.view.value and "It ended." in line.view.value


@pytest.mark.parametrize("make", [Bar, Table, Run, StatusLine])
def test_closing_leaves_no_widget_behind(make: Callable[[], Any]) -> None:
    before = set(INSTANCES)
    view = make()
    view.render(a_state())
    view.close()
    assert set(INSTANCES) == before
