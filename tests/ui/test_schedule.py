"""The preview of a plan: its numbers are the plan's."""

from typing import Any

import ipywidgets
import numpy as np
import pytest

from lrwidget.engine.plan import Plan, one_cycle
from lrwidget.look import format_lr, group_color
from lrwidget.ui.chart import LossChart
from lrwidget.ui.schedule import SchedulePreview
from tests.ui.states import LRS, NAMES, a_state

INSTANCES = ipywidgets.widgets.widget._instances


def shown(plan: Plan | None) -> tuple[SchedulePreview, list[Any], list[Any]]:
    """A preview of the plan, its lines of LRs (of the axis in use), and its line of momentum."""
    preview = SchedulePreview()
    preview.render(a_state(plan=plan))
    used = {axis.scale for axis in preview.view.axes if axis.visible and axis.label == "lr"}
    says = [mark for mark in preview.view.marks if type(mark).__name__ == "Label" and "momentum" in str(mark.text)]
    momentum = {mark.scales["y"] for mark in says}
    lines = [mark for mark in preview.view.marks if type(mark).__name__ == "Lines"]
    return (
        preview,
        [line for line in lines if line.scales["y"] in used],
        [line for line in lines if line.scales["y"] in momentum],
    )


def names_in(preview: SchedulePreview) -> list[str]:
    return [str(text) for mark in preview.view.marks if type(mark).__name__ == "Label" for text in mark.text]


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
    assert {"momentum 0.95", "0.85"} <= set(names_in(preview))
    preview, _, none = shown(one_cycle(1e-3, 100, 1))
    assert not none and not any("momentum" in name for name in names_in(preview))


@pytest.mark.parametrize("momentum", [None, (0.85, 0.95)])
def test_the_plot_ends_on_the_right_where_the_chart_of_the_sweep_does(momentum: tuple[float, float] | None) -> None:
    preview, *_ = shown(one_cycle(1e-3, 100, 1, momentum=momentum))
    sweep = LossChart(on_pick_max=repr, on_drag=repr, on_drop=repr).figure
    sides = ("left", "right")
    assert [preview.view.fig_margin[side] for side in sides] == [sweep.fig_margin[side] for side in sides]


@pytest.mark.parametrize("lr", [0.01, 0.0054, 3e-5])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_axis_has_a_tick_at_the_peak(lr: float, groups: int) -> None:
    preview, _, _ = shown(one_cycle([lr / 100, lr / 10, lr][-groups:], 110, groups))
    axis = next(axis for axis in preview.view.axes if axis.label == "lr" and axis.visible)
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


def test_phases_are_named_where_there_is_room() -> None:
    plan = one_cycle(1e-3, 200, 2, preset="smith", freeze_steps=20)
    preview, _, _ = shown(plan)
    boundaries = [(step, name) for step, name in plan.boundaries() if step > 0]
    phases = next(m for m in preview.view.marks if type(m).__name__ == "Lines" and len(m.x) == len(boundaries))
    assert [x[0] for x in phases.x] == [step for step, _ in boundaries]
    assert names_in(preview)[-4:] == ["frozen", "warm-up", "cool-down", "annihilate"]


def test_without_a_plan_there_is_no_preview_and_with_one_there_is_again() -> None:
    preview, _, _ = shown(None)
    assert preview.view.layout.display in (None, "")  # never drawn, never hidden
    state = a_state(plan=one_cycle(1e-3, 10, 1))
    preview.render(state)
    state.plan = None
    preview.render(state)
    assert preview.view.layout.display == "none"
    state.plan = one_cycle(1e-3, 10, 1)
    preview.render(state)
    assert preview.view.layout.display != "none"


def test_the_same_plan_is_sent_once() -> None:
    state = a_state(plan=one_cycle(1e-3, 10, 1))
    preview = SchedulePreview()
    preview.render(state)
    changes: list[Any] = []
    for mark in preview.view.marks:
        mark.observe(changes.append)
    preview.render(state)
    assert not changes


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    preview, _, _ = shown(one_cycle(1e-3, 10, 1))
    preview.close()
    assert set(INSTANCES) == before
