"""The chart of a sweep: what it shows of a state, and what it tells of a pointer."""

from typing import Any

import ipywidgets
import numpy as np
import pytest

from lrwidget.engine.curve import LossCurve, StopReason
from lrwidget.engine.suggest import Advice, Suggestion
from lrwidget.ui.chart import LossChart
from lrwidget.ui.palette import js_key
from tests.ui.states import LRS, a_curve, a_state, an_advice

INSTANCES = ipywidgets.widgets.widget._instances


class Listener:
    """A chart, and what it told."""

    def __init__(self, refresh_s: float = 0.0) -> None:
        self.now = 0.0
        self.told: list[tuple[Any, ...]] = []
        self.chart = LossChart(
            on_pick_max=lambda lr: self.told.append(("max", lr)),
            on_drag=lambda index, lr: self.told.append(("drag", index, lr)),
            on_drop=lambda index, lr: self.told.append(("drop", index, lr)),
            refresh_s=refresh_s,
            clock=lambda: self.now,
        )

    def marks(self, kind: str) -> list[Any]:
        return [mark for mark in self.chart.figure.marks if type(mark).__name__ == kind]

    @property
    def handles(self) -> list[Any]:
        return [mark for mark in self.marks("Scatter") if mark.enable_move]

    @property
    def ticks(self) -> Any:
        return next(mark for mark in self.marks("Scatter") if mark.marker == "triangle-down")

    @property
    def ground(self) -> Any:
        return self.marks("GridHeatMap")[0]

    @property
    def bands(self) -> Any:
        return self.marks("Lines")[3]

    @property
    def texts(self) -> list[str]:
        return [str(text) for label in self.marks("Label") if label.visible for text in label.text]

    def drag(self, index: int, *lrs: float) -> None:
        """A drag as the browser tells it, not let go yet."""
        message(self.handles[index], "drag_start", lr=float(self.handles[index].x[0]))
        for lr in lrs:
            message(self.handles[index], "drag", lr=lr)


def message(mark: Any, event: str, lr: float) -> None:
    mark._handle_custom_msg({"event": event, "point": {"x": lr, "y": 0.1}, "index": 0}, [])


def click(mark: Any, lr: float) -> None:
    mark._handle_custom_msg({"event": "element_click", "data": {"x": lr, "y": 0.1, "index": 0}}, [])


def click_column(ground: Any, index: int) -> None:
    """A click on a column, of which the browser tells where it begins."""
    data = {"column": float(ground.column[index]), "columnNum": index, "row": 0.5, "rowNum": 1}
    ground._handle_custom_msg({"event": "element_click", "data": data}, [])


def browser_writes_x(mark: Any, lr: float) -> None:
    raw = memoryview(np.array([lr]).tobytes())
    mark.set_state({"x": {"dtype": "float64", "shape": [1], "value": raw, "type": None}})


@pytest.fixture
def screen() -> Listener:
    screen = Listener()
    screen.chart.render(a_state())
    return screen


# What it shows ---------------------------------------------------------------------------------------------------


def test_before_a_sweep_there_is_a_hint_and_every_marker_stands(screen: Listener) -> None:
    assert any("Press Sweep" in text for text in screen.texts)
    assert [handle.x[0] for handle in screen.handles] == list(LRS)
    assert [line.x[0] for line in screen.marks("OHLC")] == list(LRS)
    assert all(handle.restrict_x and handle.update_on_move for handle in screen.handles)


def test_a_curve_takes_the_place_of_the_hint(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve()))
    assert not any("Press Sweep" in text for text in screen.texts)


def test_raw_and_smoothed_losses_are_drawn(screen: Listener) -> None:
    curve = a_curve(last=1e-2, noise=0.01)
    screen.chart.render(a_state(curve=curve))
    raw, tail, body = screen.marks("Lines")[:3]
    np.testing.assert_array_equal(raw.y, curve.losses)
    np.testing.assert_array_equal(body.y, curve.smoothed)
    assert raw.opacities[0] < 1 and raw.stroke_width < body.stroke_width
    assert len(tail.x) == 1  # nothing has diverged: only where it would begin


def test_the_diverged_part_is_drawn_apart_and_leaves_the_axis(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(stop_reason=StopReason.DIVERGED)))
    _, tail, body = screen.marks("Lines")[:3]
    assert body.x[-1] == tail.x[0]  # they meet
    assert tail.line_style == "dashed"
    top = screen.chart.figure.axes[1].scale.max
    assert body.y.max() < top < tail.y.max()


@pytest.mark.parametrize("reason", [StopReason.FINISHED, StopReason.STOPPED, None])
def test_a_rise_that_the_sweep_does_not_call_diverged_is_not_drawn_as_such(
    screen: Listener, reason: StopReason | None
) -> None:
    curve = a_curve(stop_reason=reason)
    screen.chart.render(a_state(curve=curve))
    _, tail, body = screen.marks("Lines")[:3]
    assert body.x[-1] == curve.lrs[-1] and len(tail.x) == 1


def test_a_loss_that_is_not_finite_leaves_a_finite_axis(screen: Listener) -> None:
    curve = a_curve(last=1.0)
    losses = curve.losses.copy()
    losses[80:] = np.nan
    losses[79] = np.inf
    screen.chart.render(a_state(curve=LossCurve(curve.lrs, losses)))
    scale = screen.chart.figure.axes[1].scale
    assert 0 < scale.max - scale.min < 10


def test_a_curve_without_a_finite_loss_draws_nothing_and_does_not_fail(screen: Listener) -> None:
    screen.chart.render(a_state(curve=LossCurve(np.array([1e-3, 1e-2]), np.array([np.nan, np.inf]))))
    assert not len(screen.marks("Lines")[0].x)


def test_a_long_curve_travels_as_few_points(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(points=20_000)))
    assert all(len(line.x) <= 600 for line in screen.marks("Lines"))


def test_labels_tell_name_and_lr_and_which_group_is_max_lr(screen: Listener) -> None:
    assert {"stem  3e-5", "body  0.0003", "head  0.003 · max_lr"} <= set(screen.texts)
    assert screen.chart.figure.axes[0].label == "learning rate of the fastest group"


def test_a_single_group_has_no_faster_one_to_be_told_from(screen: Listener) -> None:
    screen.chart.render(a_state(names=("all layers",), lrs=(0.0054,)))
    assert "max_lr  0.0054" in screen.texts
    assert screen.chart.figure.axes[0].label == "learning rate"


@pytest.mark.parametrize(("lr", "align"), [(1e-6, "start"), (1e-4, "start"), (1e-2, "end"), (5.0, "end")])
def test_labels_hang_towards_the_middle(screen: Listener, lr: float, align: str) -> None:
    screen.chart.render(a_state(names=("all layers",), lrs=(lr,)))
    label = next(mark for mark in screen.marks("Label") if "max_lr" in str(mark.text))
    assert label.align == align and (label.x_offset > 0) == (align == "start")


def test_groups_with_one_lr_have_handles_apart(screen: Listener) -> None:
    screen.chart.render(a_state(lrs=(1e-3, 1e-3, 1e-3)))
    assert len({float(handle.y[0]) for handle in screen.handles}) == 3


def test_markers_change_with_the_groups_and_old_ones_are_closed(screen: Listener) -> None:
    gone = screen.handles
    screen.chart.render(a_state(names=("everything",), lrs=(1e-3,)))
    assert [handle.x[0] for handle in screen.handles] == [1e-3]
    assert all(handle.comm is None for handle in gone)


def test_the_axis_holds_the_range_of_the_sweep_and_every_marker(screen: Listener) -> None:
    scale = screen.chart.figure.axes[0].scale
    assert (scale.min, scale.max) == (1e-7, 10.0)
    screen.chart.render(a_state(lrs=(1e-9, 1e-3, 50.0)))
    assert (scale.min, scale.max) == (1e-9, 50.0)


def test_labels_of_ticks_are_there_before_their_ticks(screen: Listener) -> None:
    axis = screen.chart.figure.axes[0]
    unlabelled: list[Any] = []
    axis.observe(
        lambda _: unlabelled.extend({js_key(v) for v in axis.tick_values} - {*axis.tick_labels}), "tick_values"
    )
    for fastest in (1e9, 3e-3):  # so long an axis that only every other power has a tick, and back
        screen.chart.render(a_state(lrs=(1e-9, 1e-3, fastest)))
    assert axis.tick_labels["1"] == "1" and not unlabelled


def test_the_loss_axis_settles_while_a_sweep_runs(screen: Listener) -> None:
    whole = a_curve(noise=0.02)
    tops = []
    for points in range(2, 101):
        grown = LossCurve(whole.lrs[:points], whole.losses[:points], num_steps=100, stop_reason=None)
        screen.chart.render(a_state(phase="sweeping", curve=grown))
        tops.append(screen.chart.figure.axes[1].scale.max)
    changes = np.count_nonzero(np.diff(tops))
    assert changes <= 12


def test_the_same_state_is_sent_once(screen: Listener) -> None:
    state = a_state(curve=a_curve(), advice=an_advice(valley=1e-3))
    screen.chart.render(state)
    changes: list[Any] = []
    for mark in screen.chart.figure.marks:
        mark.observe(changes.append)
    screen.chart.render(state)
    assert not changes


def test_every_rule_with_an_answer_has_a_tick_and_the_recommended_one_stands_out(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3, steepest=None, minimum_10=1e-2)))
    assert list(screen.ticks.x) == [2e-3, 1e-2]
    assert {"valley", "minimum/10"} <= set(screen.texts)
    assert "steepest" not in screen.texts
    assert screen.ticks.colors[0] != screen.ticks.colors[1]


def test_rules_that_agree_share_a_tick(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3, steepest=2e-3)))
    assert "valley = steepest" in screen.texts


def test_no_bar_strikes_a_name_through(screen: Listener) -> None:
    advice = an_advice(valley=2e-3, steepest=2.5e-3, minimum_10=3e-3)
    screen.chart.render(a_state(curve=a_curve(), advice=advice))
    (names, *_) = [mark for mark in screen.marks("Label") if "valley" in str(mark.text)]
    bars = np.atleast_2d(screen.bands.y)[:, 0]
    assert len(bars) == 3
    letter = 11 / 270 / 2  # half the height of a letter, as a share of the plot's
    assert np.abs(bars[:, None] - names.y).min() > letter
    assert len({*names.y.tolist()}) == 3  # whose bars overlap, stand in rows of their own


def test_a_name_at_the_right_edge_hangs_to_the_left(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3, steepest=9.0)))
    sides = {str(text): mark.align for mark in screen.marks("Label") for text in mark.text}
    assert (sides["valley"], sides["steepest"]) == ("start", "end")


def test_a_new_sweep_takes_the_old_ticks_away(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3)))
    screen.chart.render(a_state(curve=None, advice=None, phase="sweeping"))
    assert not len(screen.ticks.x)
    assert "valley" not in screen.texts


def test_the_evidence_is_there_as_text_and_escaped(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(**{"<b>": 2e-3})))
    said = screen.chart.view.children[-1].value
    assert "0.002" in said and "why &lt;b&gt; says so" in said
    assert "<b> says" not in said


def test_what_all_rules_say_is_said_once(screen: Listener) -> None:
    why = "The loss never fell: raise end_lr."
    advice = Advice({rule: Suggestion(rule, None, None, None, why) for rule in ("valley", "steepest", "recommended")})
    screen.chart.render(a_state(curve=a_curve(), advice=advice))
    assert screen.chart.view.children[-1].value.count(why) == 1


def test_how_the_sweep_ended_stands_below_it_and_escaped(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), sweep_message="It diverged <there>."))
    assert "It diverged &lt;there&gt;." in screen.chart.view.children[-1].value


def test_a_curve_that_cannot_answer_says_why(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=None)))
    assert "no suggestion" in screen.chart.view.children[-1].value
    assert not len(screen.ticks.x)


# What it tells ---------------------------------------------------------------------------------------------------


def test_a_drag_is_told_with_group_and_lr_and_so_is_its_end(screen: Listener) -> None:
    screen.drag(1, 4e-4, 5e-4)
    message(screen.handles[1], "drag_end", lr=5e-4)
    assert screen.told == [("drag", 1, 4e-4), ("drag", 1, 5e-4), ("drop", 1, 5e-4)]


def test_drags_are_told_at_a_limited_rate_and_the_drop_always() -> None:
    screen = Listener(refresh_s=0.05)
    screen.chart.render(a_state())
    message(screen.handles[0], "drag_start", lr=3e-5)
    for step in range(20):
        screen.now += 0.01
        message(screen.handles[0], "drag", lr=3e-5 * 1.1**step)
    message(screen.handles[0], "drag_end", lr=1e-4)
    assert sum(kind == "drag" for kind, *_ in screen.told) == 4
    assert screen.told[-1] == ("drop", 0, 1e-4)


def test_an_lr_beyond_the_axis_is_told_as_the_end_of_the_axis(screen: Listener) -> None:
    screen.drag(2, 1e4)
    message(screen.handles[2], "drag_end", lr=1e-30)
    assert screen.told == [("drag", 2, 10.0), ("drop", 2, 1e-7)]


def test_a_mere_click_on_a_handle_picks_nothing(screen: Listener) -> None:
    message(screen.handles[0], "drag_start", lr=3e-5)
    message(screen.handles[0], "drag_end", lr=3.0000000001e-5)
    assert not screen.told


def test_what_is_held_stays_and_the_rest_follows_the_state(screen: Listener) -> None:
    screen.drag(2, 1e-2)
    browser_writes_x(screen.handles[2], 1.1e-2)  # the pointer has moved on
    screen.chart.render(a_state(lrs=(1e-4, 1e-3, 1e-2), curve=a_curve()))
    assert [handle.x[0] for handle in screen.handles] == [1e-4, 1e-3, 1.1e-2]
    assert "head  0.01 · max_lr" in screen.texts


def test_the_lr_axis_does_not_move_under_the_pointer(screen: Listener) -> None:
    screen.drag(0, 2e-5)
    screen.chart.render(a_state(lrs=(1e-9, 1e-3, 50.0)))
    assert screen.chart.figure.axes[0].scale.max == 10.0


def test_a_handle_let_go_stands_where_the_state_says(screen: Listener) -> None:
    state = a_state()
    screen.drag(2, 0.5)
    browser_writes_x(screen.handles[2], 0.5)
    message(screen.handles[2], "drag_end", lr=0.5)  # and nobody takes the pick
    screen.chart.render(state)
    assert screen.handles[2].x[0] == LRS[2]


def test_a_position_that_comes_late_from_the_browser_is_corrected(screen: Listener) -> None:
    browser_writes_x(screen.handles[0], 0.7)
    assert screen.handles[0].x[0] == LRS[0]


def test_a_drag_that_never_ends_is_over_after_a_while(screen: Listener) -> None:
    screen.drag(0, 2e-5)
    screen.now += 60
    screen.chart.render(a_state(lrs=(5e-5, 1e-3, 1e-2)))
    assert screen.handles[0].x[0] == 5e-5


def test_a_click_on_a_tick_or_on_its_name_picks_max_lr(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3, steepest=7e-2)))
    click(screen.ticks, 2e-3)
    names = next(mark for mark in screen.marks("Label") if "valley" in str(mark.text))
    names._handle_custom_msg({"event": "drag_end", "point": {"x": 0.07000001, "y": 0.9}, "index": 1}, [])
    assert screen.told == [("max", 2e-3), ("max", 7e-2)]
    assert names.enable_move and names.restrict_x and names.restrict_y  # what makes it tell, and stay


@pytest.mark.parametrize("curve", [None, a_curve()], ids=["before a sweep", "after it"])
def test_a_click_anywhere_picks_the_lr_that_is_there(screen: Listener, curve: LossCurve | None) -> None:
    screen.chart.render(a_state(lrs=(1e-8, 1e-3, 1e-2), curve=curve))
    lr_axis, ground = screen.chart.figure.axes[0].scale, screen.ground
    assert (ground.column[0], ground.column[-1]) == pytest.approx((lr_axis.min, lr_axis.max))
    assert (ground.row[0], ground.row[-1]) == (0, 1)
    assert (ground.scales["row"].min, ground.scales["row"].max) == (0, 1)
    for index in (0, 123, len(ground.column) - 2):
        click_column(ground, index)
        kind, lr = screen.told[-1]
        assert kind == "max" and ground.column[index] < lr < ground.column[index + 1]
    a_pixel = (lr_axis.max / lr_axis.min) ** (1 / 800)
    assert ground.column[1] / ground.column[0] < a_pixel**2


def test_what_takes_the_clicks_is_not_seen_and_lies_below_handles_and_suggestions(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3)))
    marks = screen.chart.figure.marks
    assert {screen.ground.stroke, *screen.ground.scales["color"].colors} == {"rgba(0, 0, 0, 0)"}
    assert marks.index(screen.ground) > max(map(marks.index, screen.marks("OHLC")))
    assert marks.index(screen.ground) < min(map(marks.index, screen.marks("Scatter")))


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    screen = Listener()
    screen.chart.render(a_state(curve=a_curve(), advice=an_advice(valley=2e-3)))
    screen.chart.render(a_state(names=("other",), lrs=(1e-3,)))
    screen.chart.close()
    assert set(INSTANCES) == before
