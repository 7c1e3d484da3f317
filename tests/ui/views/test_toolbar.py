"""The toolbar: what it shows of a state, and what it tells of a user."""

import re
from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest

from lrwidget.engine.sweeps.sweep import SweepConfig
from lrwidget.state import Phase, Progress
from lrwidget.ui.views.toolbar import Toolbar
from tests.ui.hands import INSTANCES, press, texts_of, type_into
from tests.ui.states import a_state


class Bar(Toolbar):
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.now = 0.0
        self.hand_takes = 1.0  # seconds from one thing it does to the next

        def clock() -> float:
            self.now += self.hand_takes
            return self.now

        super().__init__(
            on_sweep=lambda *range_: self.told.append(range_),
            on_stop=lambda: self.told.append("stop"),
            on_pause=lambda pause: self.told.append(pause),
            clock=clock,
        )


def every_widget(view: Any) -> Iterator[Any]:
    yield view
    for child in getattr(view, "children", ()):
        yield from every_widget(child)


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
    assert bar.told == [(1e-6, 2.0, 50, "exp"), (3e-4, 2.0, 200, "exp")]


@pytest.mark.parametrize("text", ["abc", "0", "1e9"])
def test_a_press_that_takes_the_focus_from_a_refused_text_does_not_sweep_with_what_was_there_before(
    bar: Bar, text: str
) -> None:
    bar.hand_takes = 0.01
    type_into(bar.steps, text)
    press(bar.sweep)
    assert not bar.told
    assert "Got" in texts_of(bar.view)
    bar.hand_takes = 1.0
    press(bar.sweep)
    assert bar.told == [(1e-7, 10.0, 100, "exp")]


def test_the_second_press_of_two_is_of_no_account(bar: Bar) -> None:
    press(bar.sweep)
    bar.render(a_state(phase=Phase.SWEEPING))
    press(bar.sweep)
    assert len(bar.told) == 1


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
    assert (not bar.sweep.disabled, not bar.stop.disabled, not bar.pause.disabled) == (sweep, stop, stop)


def test_nothing_is_disabled_before_what_takes_its_place_can_be_pressed(bar: Bar) -> None:
    """Each button's state travels by itself, and the focus leaves a disabled one for what it finds."""
    buttons = (bar.sweep, bar.pause, bar.stop)
    told: list[tuple[bool, ...]] = []
    for button in buttons:
        button.observe(lambda _: told.append(tuple(not button.disabled for button in buttons)), "disabled")
    bar.render(a_state(phase=Phase.SWEEPING))
    bar.render(a_state(phase=Phase.IDLE))
    starts = [(True, True, False), (True, True, True), (False, True, True)]
    ends = [(True, True, True), (True, False, True), (True, False, False)]
    assert told == starts + ends


def test_stop_tells_and_shows_that_it_was_heard(bar: Bar) -> None:
    bar.render(a_state(phase=Phase.SWEEPING))
    press(bar.stop)
    bar.render(a_state(phase=Phase.SWEEPING, stopping=True))
    press(bar.stop)  # the second press of two
    assert bar.told == ["stop"] and "Stopping" in bar.stop.description


def test_one_button_pauses_and_resumes(bar: Bar) -> None:
    bar.render(a_state(phase=Phase.TRAINING))
    assert (bar.pause.description, bar.pause.icon) == ("Pause", "pause")
    press(bar.pause)
    bar.render(a_state(phase=Phase.TRAINING, paused=True))
    assert (bar.pause.description, bar.pause.icon) == ("Resume", "play")
    press(bar.pause)
    assert bar.told == [True, False]


def test_the_mode_is_shown_and_told_with_the_next_sweep(bar: Bar) -> None:
    bar.render(a_state(config=SweepConfig(mode="linear")))
    assert bar.mode.label == "linear"
    bar.mode.label = "log"
    press(bar.sweep)
    assert bar.told[0][3] == "exp"


PROGRESS = Progress(step=62, total=100, loss=1.8321, lr=3.21e-4, steps_per_second=12.3, seconds_left=64.0)


def test_progress_tells_steps_loss_lr_pace_and_time_left(bar: Bar) -> None:
    bar.render(a_state(phase=Phase.SWEEPING, progress=PROGRESS))
    said = texts_of(bar.view)
    for word in ("62/100", "loss 1.832", "lr 0.00032", "12 steps/s", "1:04 left", "width: 62%"):
        assert word in said
    assert "role='progressbar' aria-label='Progress'" in said and "aria-valuenow='62'" in said
    bar.render(a_state())
    assert "62/100" not in texts_of(bar.view)


def test_progress_says_paused_where_the_time_left_stood(bar: Bar) -> None:
    bar.render(a_state(phase=Phase.SWEEPING, paused=True, progress=PROGRESS))
    assert "paused" in texts_of(bar.view) and "left" not in texts_of(bar.view)


def test_progress_says_that_a_run_validates_where_the_time_left_stood(bar: Bar) -> None:
    progress = Progress(step=22, total=110, loss=0.5, lr=1e-3, steps_per_second=34.0, seconds_left=3.0)
    bar.render(a_state(phase=Phase.TRAINING, progress=progress, validating=True))
    assert "validating" in texts_of(bar.view) and "left" not in texts_of(bar.view)


def test_what_progress_does_not_know_yet_it_does_not_tell(bar: Bar) -> None:
    bar.render(a_state(phase=Phase.SWEEPING, progress=Progress(step=0, total=100)))
    said = texts_of(bar.view)
    assert "0/100 &nbsp; loss –<" in said


def test_progress_has_its_place_before_there_is_any(bar: Bar) -> None:
    def layouts() -> list[object]:
        boxes = [widget for widget in every_widget(bar.view) if isinstance(widget, ipywidgets.Box)]
        return [(box.get_state(), box.layout.get_state()) for box in boxes]

    before = layouts()
    bar.render(a_state(phase=Phase.SWEEPING, progress=PROGRESS))
    assert before == layouts()


def test_an_answer_stands_where_progress_does_and_a_sweep_takes_it_away(bar: Bar) -> None:
    type_into(bar.steps, "1.5")
    note = next(widget for widget in every_widget(bar.view) if "whole number" in getattr(widget, "value", ""))
    place = next(box for box in every_widget(bar.view) if note in getattr(box, "children", ()))
    progress = next(child for child in place.children if child is not note)
    assert (note.layout.display, progress.layout.display) == (None, "none")
    bar.render(a_state(phase=Phase.SWEEPING, progress=PROGRESS))
    assert (note.value, note.layout.display, progress.layout.display) == ("", "none", None)


def test_every_control_has_a_hint(bar: Bar) -> None:
    assert all(button.tooltip for button in (bar.sweep, bar.pause, bar.stop))
    for control in (bar.start_lr.view, bar.end_lr.view, bar.steps.view, bar.mode):
        assert re.fullmatch(r'<span title="[^"]+">\w+</span>', control.description)


def test_a_backward_range_is_answered_and_not_swept(bar: Bar) -> None:
    type_into(bar.start_lr, "10")
    type_into(bar.end_lr, "1e-3")
    press(bar.sweep)
    assert not bar.told
    assert "expected to go upwards" in texts_of(bar.view)


def test_a_range_that_no_sweep_can_take_is_answered_beside_its_fields(bar: Bar) -> None:
    type_into(bar.start_lr, "1")
    type_into(bar.end_lr, "1.00000000001")
    press(bar.sweep)
    assert not bar.told
    assert "told apart" in texts_of(bar.view)
    type_into(bar.end_lr, "2")
    press(bar.sweep)
    assert len(bar.told) == 1
    assert "told apart" not in texts_of(bar.view)


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "nan", "inf", "1001", "1e30", "<b>1</b>"])
def test_a_text_that_is_no_lr_is_answered_and_the_field_has_its_value_again(bar: Bar, text: str) -> None:
    type_into(bar.start_lr, text)
    assert bar.start_lr.view.value == "1e-7"
    said = texts_of(bar.view)
    assert "expected a number above 0" in said
    assert "<b>1" not in said
    press(bar.sweep)
    assert bar.told == [(1e-7, 10.0, 100, "exp")]


@pytest.mark.parametrize("text", ["1", "100001", "1e9", "2.5"])
def test_steps_that_no_sweep_should_have_are_answered(bar: Bar, text: str) -> None:
    type_into(bar.steps, text)
    assert "2 to 100000" in texts_of(bar.view) and bar.steps.view.value == "100"
    type_into(bar.steps, "100000")
    assert bar.steps.value == 100_000


def test_the_longest_texts_have_room_in_their_fields(bar: Bar) -> None:
    for field, label, longest in (
        (bar.start_lr, "from", "1.2e-17"),
        (bar.end_lr, "to", "0.00012"),
        (bar.steps, "steps", "100000"),
    ):
        assert f">{label}<" in field.view.description
        width = int(field.view.layout.width.removesuffix("px"))
        assert width > 9 * len(longest) + 8 * len(label) + 18, label


def test_a_good_text_takes_the_answer_to_a_bad_one_away(bar: Bar) -> None:
    type_into(bar.steps, "1.5")
    assert "whole number" in texts_of(bar.view)
    type_into(bar.steps, "15")
    assert "whole number" not in texts_of(bar.view)


def test_the_title_is_escaped(bar: Bar) -> None:
    bar.render(a_state(title="Net<img src=x>"))
    assert "Net&lt;img" in texts_of(bar.view) and "<img" not in texts_of(bar.view)


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    view = Bar()
    view.render(a_state())
    view.close()
    assert set(INSTANCES) == before
