"""The preview of a plan: its numbers are the plan's."""

import re
from typing import Any

import numpy as np
import pytest

from lrwidget.engine.plans.plan import Plan, one_cycle
from lrwidget.engine.words import format_lr
from lrwidget.look.colors import group_color
from lrwidget.state import LRState, Phase, Progress
from lrwidget.ui.chart.chart import LossChart
from lrwidget.ui.parts.palette import TEXT
from lrwidget.ui.views.schedule import SchedulePreview
from lrwidget.ui.views.schedule_numbers import ScheduleNumbers
from tests.ui.hands import INSTANCES, texts_of
from tests.ui.states import LRS, NAMES, a_state


class Preview(SchedulePreview):
    """Both views of a plan, one in the other, as on the screen."""

    def __init__(self) -> None:
        self.numbers = ScheduleNumbers()
        super().__init__(self.numbers.view)

    def render(self, state: LRState) -> None:
        super().render(state)
        self.numbers.render(state)


def shown(plan: Plan | None, **traits: Any) -> tuple["Preview", list[Any], list[Any]]:
    """A preview of the plan, its lines of LRs (of the axis in use), and its line of momentum."""
    preview = Preview()
    names = NAMES if plan is None else plan.names
    preview.render(a_state(names, LRS[: len(names)], plan=plan, **traits))
    return preview, *lines_of(preview)


def lines_of(preview: SchedulePreview) -> tuple[list[Any], list[Any]]:
    """Its lines of LRs (of the axis in use), and its line of momentum."""
    used = {axis.scale for axis in preview.figure.axes if axis.visible and axis.label == "lr"}
    lines = [mark for mark in preview.figure.marks if type(mark).__name__ == "Lines"]
    return (
        [line for line in lines if line.scales["y"] in used],
        [line for line in lines if line.line_style == "dashed" and len(line.x)],
    )


@pytest.mark.parametrize("steps", [1, 2, 7, 500, 100_000])
def test_every_point_is_the_plans_and_few_are_drawn(steps: int) -> None:
    plan = one_cycle([1e-3, 2e-3, 3e-3], steps, NAMES)
    _, (lines,), _ = shown(plan)
    assert len(lines.x) <= 200
    np.testing.assert_allclose(np.atleast_2d(lines.y), plan.lr_at(lines.x.astype(int)).T)


def test_the_peak_is_drawn_however_long_the_run() -> None:
    plan = one_cycle(3e-3, 99_991, 1, pct_start=0.37)
    _, (lines,), _ = shown(plan)
    assert lines.y.max() == pytest.approx(plan.lr_at(np.arange(plan.total_steps)).max(), rel=1e-7)


def test_groups_have_the_colours_of_the_chart() -> None:
    _, (lines,), _ = shown(one_cycle(list(LRS), 100, NAMES))
    assert lines.colors == [group_color(0), group_color(1), group_color(2)]


def test_groups_far_apart_are_shown_on_a_log_axis_and_near_ones_on_a_linear_one() -> None:
    for lrs, kind in ((LRS, "LogScale"), ((1e-3, 1e-3, 2e-3), "LinearScale")):
        _, (lines,), _ = shown(one_cycle(list(lrs), 100, NAMES))
        scale = lines.scales["y"]
        assert type(scale).__name__ == kind
        assert scale.min <= lines.y.min() and lines.y.max() <= scale.max


def test_momentum_is_shown_only_where_it_is_cycled() -> None:
    plan = one_cycle(1e-3, 100, 1, momentum=(0.85, 0.95))
    preview, _, (line,) = shown(plan)
    np.testing.assert_allclose(line.y, plan.momentum_at(line.x.astype(int))[:, 0])
    assert "momentum 0.95 to 0.85" in words_of(preview)
    preview, _, none = shown(one_cycle(1e-3, 100, 1))
    assert not none and "momentum" not in texts_of(preview.view)


@pytest.mark.parametrize("momentum", [None, (0.85, 0.95)])
def test_the_plot_ends_on_the_right_where_the_chart_of_the_sweep_does(momentum: tuple[float, float] | None) -> None:
    preview, *_ = shown(one_cycle(1e-3, 100, 1, momentum=momentum))
    sweep = LossChart(on_pick_max=repr, on_drag=repr, on_drop=repr).figure
    sides = ("left", "right")
    assert [preview.figure.fig_margin[side] for side in sides] == [sweep.fig_margin[side] for side in sides]


@pytest.mark.parametrize("lr", [0.01, 0.0054, 3e-5])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_axis_has_a_tick_at_the_peak(lr: float, groups: int) -> None:
    preview, _, _ = shown(one_cycle([lr / 100, lr / 10, lr][-groups:], 110, groups))
    axis = next(axis for axis in preview.figure.axes if axis.label == "lr" and axis.visible)
    assert lr in axis.tick_values and axis.scale.min <= lr <= axis.scale.max
    assert format_lr(lr) in axis.tick_labels.values()


def test_groups_that_end_apart_are_shown_to_end_apart() -> None:
    plan = one_cycle(list(LRS), 110, NAMES)
    _, (lines,), _ = shown(plan)
    ends = lines.y[:, -1]
    np.testing.assert_allclose(ends, plan.lr_at(109))
    assert ends[1] / ends[0] == pytest.approx(10)
    assert lines.scales["y"].min == pytest.approx(ends[0])


def test_a_frozen_group_has_no_line_while_it_is_frozen() -> None:
    _, (lines,), _ = shown(one_cycle(list(LRS), 100, NAMES, freeze_steps=40))
    frozen = lines.x < 40
    assert np.isnan(lines.y[:2, frozen]).all()
    assert np.isfinite(lines.y[2]).all() and np.isfinite(lines.y[:, ~frozen]).all()


def test_a_group_that_never_trains_has_no_line_and_no_part_in_the_axis() -> None:
    plan = one_cycle(list(LRS), 100, NAMES)
    preview, (lines,), _ = shown(plan, frozen=(False, False, True))
    np.testing.assert_allclose(lines.y, plan.lr_at(lines.x.astype(int)).T[:2])
    assert lines.colors == [group_color(0), group_color(1)]
    axis = next(axis for axis in preview.figure.axes if axis.label == "lr" and axis.visible)
    assert LRS[1] in axis.tick_values and LRS[2] not in axis.tick_values
    _, (lines,), _ = shown(plan, frozen=(True, True, True))
    assert len(lines.y) == 0 and lines.scales["y"].min < lines.scales["y"].max


@pytest.mark.parametrize("lrs", [LRS, (1e-3, 1e-3, 2e-3)], ids=["far apart", "near"])
def test_another_axis_can_be_chosen_and_stays_with_the_next_plans(lrs: tuple[float, ...]) -> None:
    preview, (before,), _ = shown(one_cycle(list(lrs), 100, NAMES))
    was_log = preview.log_axis.value
    assert was_log == (type(before.scales["y"]).__name__ == "LogScale")
    preview.log_axis.set_state({"value": not was_log})
    for lr in (*lrs, 1e-2):
        plan = one_cycle([lrs[0], lrs[1], lr], 100, NAMES)
        preview.render(a_state(plan=plan))
        (lines,), _ = lines_of(preview)
        assert lines is not before and len(before.x) == 0
        np.testing.assert_allclose(lines.y, plan.lr_at(lines.x.astype(int)).T)
        assert preview.log_axis.value == (not was_log)


def test_the_axis_of_ones_own_choice_can_be_taken_back() -> None:
    plan = one_cycle(list(LRS), 100, NAMES)
    preview, (before,), _ = shown(plan)
    for log in (False, True):
        preview.log_axis.set_state({"value": log})
    assert lines_of(preview) == ([before], [])
    np.testing.assert_allclose(before.y, plan.lr_at(before.x.astype(int)).T)


def words_of(preview: SchedulePreview) -> str:
    """All that is to be read, without tags."""
    return re.sub(r"<style>.*?</style>|<[^>]*>", "", texts_of(preview.view), flags=re.DOTALL)


def training(plan: Plan, step: int) -> Any:
    return a_state(
        plan.names,
        LRS[: plan.n_groups],
        plan=plan,
        phase=Phase.TRAINING,
        progress=Progress(step=step, total=plan.total_steps),
    )


def cursor_of(preview: SchedulePreview) -> Any:
    """The one line in the colour of texts."""
    return next(m for m in preview.figure.marks if type(m).__name__ == "Lines" and m.colors == [TEXT])


@pytest.mark.parametrize("done", [0, 1, 30, 100])
def test_a_run_is_shown_where_it_is_with_the_numbers_of_its_last_step(done: int) -> None:
    plan = one_cycle(list(LRS), 100, NAMES, momentum=(0.85, 0.95))
    preview = Preview()
    preview.render(training(plan, done))
    step = max(0, done - 1)
    assert list(cursor_of(preview).x) == [step, step]
    said = words_of(preview)
    for name, lr in zip(NAMES, plan.lr_at(step), strict=True):
        assert f"{name} {format_lr(lr)}" in said
    assert f"momentum {plan.momentum_at(step)[0]:.3g}" in said


def test_a_frozen_group_is_said_to_be_frozen_while_it_is() -> None:
    plan = one_cycle(list(LRS), 100, NAMES, freeze_steps=40)
    preview = Preview()
    preview.render(training(plan, 40))
    assert re.findall(r"\w+ frozen", words_of(preview)) == ["stem frozen", "body frozen"]
    preview.render(training(plan, 41))
    assert not re.findall(r"\w+ frozen", words_of(preview))


def test_long_names_are_shortened_and_every_number_is_written_out() -> None:
    names = tuple(f"backbone.encoder.layers.{i}.self_attention.projection_weights" for i in range(6))
    plan = one_cycle(slice(1e-5, 1e-3), 100, names)
    preview = Preview()
    preview.render(a_state(names, plan.max_lrs, plan=plan, phase=Phase.TRAINING, progress=Progress(step=9, total=100)))
    said = words_of(preview)
    for group, lr in enumerate(plan.lr_at(8)):
        assert re.search(rf"…\S*\.{group}\.\S*… {re.escape(format_lr(lr))}", said)
    assert all(f"title='{name}'" in texts_of(preview.view) for name in names)


def test_before_a_run_the_peaks_stand_where_the_numbers_of_a_run_will_and_tell_the_colours() -> None:
    preview, _, _ = shown(one_cycle(list(LRS), 100, NAMES), frozen=(True, False, False))
    said = words_of(preview)
    assert "peak" in said and re.findall(r"\w+ frozen", said) == ["stem frozen"]
    assert all(f"{name} {format_lr(lr)}" in said for name, lr in zip(NAMES[1:], LRS[1:], strict=True))
    preview.render(training(one_cycle(list(LRS), 100, NAMES), 50))
    assert "now" in words_of(preview) and "peak" not in words_of(preview)


def test_of_many_groups_the_range_is_said() -> None:
    names = tuple(f"layer {i}" for i in range(40))
    plan = one_cycle(slice(1e-5, 1e-3), 100, names, pct_start=0.3)
    preview = Preview()
    state = a_state(names, plan.max_lrs, plan=plan, phase=Phase.TRAINING, progress=Progress(step=30, total=100))
    preview.render(state)
    assert "lr 1e-5 to 0.001" in words_of(preview)


def test_a_step_of_a_run_sends_a_few_numbers_and_not_the_plan() -> None:
    plan = one_cycle(list(LRS), 1000, NAMES)
    preview = Preview()
    preview.render(training(plan, 1))
    changes: list[Any] = []
    for part in (*preview.figure.marks, *preview.figure.axes, *preview.numbers.view.children):
        part.observe(changes.append)
    preview.render(training(plan, 500))
    assert {change["name"] for change in changes} == {"x", "value"}
    assert sum(np.size(change["new"]) for change in changes) == 3
    assert all(len(change["new"]) < 500 for change in changes)


def test_after_a_run_nothing_is_left_of_where_it_was() -> None:
    plan = one_cycle(list(LRS), 100, NAMES)
    preview, before, _ = shown(plan)
    texts = texts_of(preview.view)
    preview.render(training(plan, 50))
    assert texts_of(preview.view) != texts
    preview.render(a_state(plan=plan))
    assert len(cursor_of(preview).x) == 0
    assert texts_of(preview.view) == texts
    assert lines_of(preview)[0] == before


def test_phases_are_divided_on_the_plot_and_named_above_it() -> None:
    plan = one_cycle(1e-3, 201, 2, preset="smith", freeze_steps=20)
    preview, _, _ = shown(plan)
    boundaries = [(step, name) for step, name in plan.boundaries() if step > 0]
    phases = next(m for m in preview.figure.marks if type(m).__name__ == "Lines" and len(m.x) == len(boundaries))
    assert [x[0] for x in phases.x] == [step for step, _ in boundaries]
    said = texts_of(preview.view.children[1])
    names = [name for _, name in plan.boundaries()]
    assert re.findall("title='([^']*)'", said) == names
    assert re.findall(r">([\w:][^<]*)</div>", said) == ["frozen: warm-up", "warm-up", "cool-down", "annihilate"]
    ends = np.cumsum([float(share) for share in re.findall(r"flex: 0 0 ([\d.]+)%", said)])
    assert ends == pytest.approx([100 * step / 200 for step in (*(step for step, _ in boundaries), 200)], abs=0.1)


def test_without_a_plan_there_is_no_preview_and_with_one_there_is_again() -> None:
    preview, _, _ = shown(None)
    assert "does not tell its length" in words_of(preview) and "steps=500" in words_of(preview)
    state = a_state(plan=one_cycle(1e-3, 10, 1))
    preview.render(state)
    assert preview.figure in preview.view.children
    assert "length" not in words_of(preview)
    state.plan = None
    preview.render(state)
    assert "length" in words_of(preview) and preview.figure not in preview.view.children


def test_the_same_plan_is_sent_once() -> None:
    state = a_state(plan=one_cycle(1e-3, 10, 1))
    preview = Preview()
    preview.render(state)
    changes: list[Any] = []
    for mark in preview.figure.marks:
        mark.observe(changes.append)
    preview.render(state)
    assert not changes


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    preview, _, _ = shown(one_cycle(1e-3, 10, 1))
    preview.close()
    assert set(INSTANCES) == before
