"""The chart of a sweep: what it shows of a state, and what it tells of a pointer."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import comm
import ipywidgets
import numpy as np
import pytest
from comm.base_comm import BaseComm

from lrwidget.engine.sweeps.curve import LossCurve, StopReason
from lrwidget.engine.sweeps.suggest import Advice, Suggestion
from lrwidget.engine.sweeps.tracker import beta_for
from lrwidget.engine.words import format_lr
from lrwidget.ui.chart.chart import LossChart
from lrwidget.ui.parts.palette import js_key
from tests.ui.kept_sweeps import kept
from tests.ui.states import LRS, a_curve, a_state, an_advice

INSTANCES = ipywidgets.widgets.widget._instances


class Listener:
    """A chart, and what it told."""

    def __init__(self, refresh_s: float = 0.0, clicked_at: Callable[[], float] | None = None) -> None:
        self.now = 0.0
        self.told: list[tuple[Any, ...]] = []
        self.chart = LossChart(
            on_pick_max=lambda lr: self.told.append(("max", lr)),
            on_drag=lambda index, lr: self.told.append(("drag", index, lr)),
            on_drop=lambda index, lr: self.told.append(("drop", index, lr)),
            on_take_back=lambda: self.told.append(("take back",)),
            on_reset=lambda: self.told.append(("reset",)),
            refresh_s=refresh_s,
            clock=lambda: self.now,
            clicked_at=clicked_at,
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
    def tail(self) -> Any:
        """What has diverged."""
        return self.marks("Lines")[0]

    @property
    def losses(self) -> Any:
        """Raw and smoothed, as the rows of one mark."""
        return self.marks("Lines")[1]

    @property
    def bands(self) -> Any:
        return self.marks("Lines")[2]

    @property
    def others(self) -> list[Any]:
        """Lines of kept sweeps beside the chosen one."""
        return [line for line in self.marks("Lines")[3:] if line.visible]

    @property
    def names(self) -> Any:
        """The names at those lines."""
        return self.marks("Label")[-1]

    def label(self, text: str) -> Any:
        return next(mark for mark in self.marks("Label") if text in str(mark.text))

    @property
    def texts(self) -> list[str]:
        seen = [label for label in self.marks("Label") if label.visible and label.default_size]
        return [str(text) for label in seen for text in label.text]

    def drag(self, index: int, *lrs: float) -> None:
        """A drag as the browser tells it, not let go yet."""
        message(self.handles[index], "drag_start", lr=float(self.handles[index].x[0]))
        for lr in lrs:
            message(self.handles[index], "drag", lr=lr)


def message(mark: Any, event: str, lr: float) -> None:
    mark._handle_custom_msg({"event": event, "point": {"x": lr, "y": 0.1}, "index": 0}, [])


def click(mark: Any, lr: float) -> None:
    mark._handle_custom_msg({"event": "element_click", "data": {"x": lr, "y": 0.1, "index": 0}}, [])


def tap(handle: Any, lr: float) -> None:
    """A click on a handle that does not move it."""
    message(handle, "drag_start", lr)
    message(handle, "drag_end", lr)


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


@pytest.mark.parametrize(("reason", "drawn"), [(None, "smoothed"), (StopReason.FINISHED, "centred")])
def test_raw_and_smoothed_losses_are_drawn(screen: Listener, reason: StopReason | None, drawn: str) -> None:
    curve = a_curve(last=1e-2, noise=0.01, stop_reason=reason)
    screen.chart.render(a_state(curve=curve))
    np.testing.assert_array_equal(screen.losses.y, [curve.losses, getattr(curve, drawn)])
    np.testing.assert_array_equal(screen.losses.x, curve.lrs)
    faint, bold = screen.losses.opacities
    assert faint < bold and screen.losses.colors[0] != screen.losses.colors[1]
    assert len(screen.tail.x) == 1  # nothing has diverged: only where it would begin


def test_the_line_of_an_ended_sweep_falls_where_its_losses_do_and_not_after_them(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(noise=0.02, stop_reason=StopReason.DIVERGED)))
    raw, bold = screen.losses.y
    half = screen.losses.x[int(np.flatnonzero(bold < 1.5)[0])]
    assert abs(np.log10(half) + 2.5) < 0.1  # where a_curve has made half of its fall
    up_to = screen.losses.x < 0.1
    assert abs(np.mean((raw - bold)[up_to])) < 0.01  # as many of the losses above it as below


def test_the_diverged_part_is_drawn_apart_and_leaves_the_axis(screen: Listener) -> None:
    screen.chart.render(a_state(curve=a_curve(stop_reason=StopReason.DIVERGED)))
    body = screen.losses.y[1]
    last = np.flatnonzero(np.isfinite(body))[-1]
    assert screen.losses.x[last] == screen.tail.x[0] and body[last] == screen.tail.y[0]  # they meet
    assert screen.tail.line_style == "dashed"
    top = screen.chart.figure.axes[1].scale.max
    assert np.nanmax(body) < top < screen.tail.y.max()


@pytest.mark.parametrize("reason", [StopReason.FINISHED, StopReason.STOPPED, None])
def test_a_rise_that_the_sweep_does_not_call_diverged_is_not_drawn_as_such(
    screen: Listener, reason: StopReason | None
) -> None:
    curve = a_curve(stop_reason=reason)
    screen.chart.render(a_state(curve=curve))
    assert np.isfinite(screen.losses.y[1]).all() and len(screen.tail.x) == 1


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
    assert not len(screen.losses.x) and not len(screen.tail.x)


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


LONG = tuple(f"backbone.encoder.layers.{k}.self_attention.projection_weights" for k in range(3))


@pytest.mark.parametrize("head", [1e-6, 3.7e-3, 0.66, 9.0])
def test_labels_end_inside_of_a_narrow_chart_and_their_numbers_are_whole(screen: Listener, head: float) -> None:
    screen.chart.render(a_state(names=LONG, lrs=(head / 10, head / 3, head)))
    scale = screen.chart.figure.axes[0].scale
    for handle, layer, lr in zip(screen.handles, range(3), (head / 10, head / 3, head), strict=True):
        label = next(mark for mark in screen.marks("Label") if mark.visible and list(mark.x) == list(handle.x))
        text = str(label.text[0])
        assert format_lr(lr) in text and str(layer) in text.split()[0]  # what tells it from the other names
        at = 310 * np.log(lr / scale.min) / np.log(scale.max / scale.min)
        room = at if label.align == "end" else 310 - at
        assert 7 * len(text) + abs(label.x_offset) <= room + 4


def test_of_many_groups_only_some_are_named_in_the_chart(screen: Listener) -> None:
    lrs = tuple(np.geomspace(1e-6, 1e-4, 30).tolist())
    screen.chart.render(a_state(names=tuple(f"layer {k}" for k in range(30)), lrs=(*lrs[:10], 1e-2, *lrs[11:])))
    named = sorted(text.split("  ")[0] for text in screen.texts if "layer" in text)
    assert named == ["layer 0", "layer 10", "layer 29"]
    assert len({handle.colors[0] for handle in screen.handles}) == 30


def test_groups_with_one_lr_have_handles_apart(screen: Listener) -> None:
    screen.chart.render(a_state(lrs=(1e-3, 1e-3, 1e-3)))
    assert len({float(handle.y[0]) for handle in screen.handles}) == 3


def test_markers_change_with_the_groups_and_old_ones_are_closed(screen: Listener) -> None:
    gone = screen.handles
    screen.chart.render(a_state(names=("everything",), lrs=(1e-3,)))
    assert [handle.x[0] for handle in screen.handles] == [1e-3]
    assert all(handle.comm is None for handle in gone)


def test_the_axis_holds_the_range_of_the_sweep_and_every_marker_with_room_for_half_a_handle(screen: Listener) -> None:
    assert shares(screen, 1e-7, 10.0) == (pytest.approx(0.02, abs=0.002), pytest.approx(0.98, abs=0.002))
    screen.chart.render(a_state(lrs=(1e-9, 1e-3, 50.0)))
    left, right = shares(screen, 1e-9, 50.0)
    assert (left, right) == (pytest.approx(0.02, abs=0.002), pytest.approx(0.98, abs=0.002))
    half = 0.577 * 1.86 * screen.handles[0].default_size ** 0.5 / 2  # px; as wide as bqplot draws a diamond
    assert 450 * left > half


def shares(screen: Listener, *lrs: float) -> tuple[float, ...]:
    """How far from the left each LR is on the axis, 0 ... 1."""
    scale = screen.chart.figure.axes[0].scale
    return tuple(np.log(lr / scale.min) / np.log(scale.max / scale.min) for lr in lrs)


def test_labels_of_ticks_are_there_before_their_ticks(screen: Listener) -> None:
    axis = screen.chart.figure.axes[0]
    unlabelled: list[Any] = []
    axis.observe(
        lambda _: unlabelled.extend({js_key(v) for v in axis.tick_values} - {*axis.tick_labels}), "tick_values"
    )
    for fastest in (1e9, 3e-3):  # so long an axis that only every other power has a tick, and back
        screen.chart.render(a_state(lrs=(1e-9, 1e-3, fastest)))
    assert axis.tick_labels["10"] == "10" and not unlabelled


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


def test_a_label_hangs_where_no_other_marker_is(screen: Listener) -> None:
    screen.chart.render(a_state(lrs=(1e-6, 3e-4, 1e-3)))
    sides = [screen.label(name).align for name in ("stem", "body", "head")]
    assert sides == ["start", "end", "start"]


def test_labels_of_markers_at_one_place_hang_alike(screen: Listener) -> None:
    screen.chart.render(a_state(lrs=(1e-3, 1e-3, 1e-3)))
    assert {screen.label(name).align for name in ("stem", "body", "head")} == {"start"}


def test_the_marker_of_a_frozen_group_is_hollow_and_says_so(screen: Listener) -> None:
    screen.chart.render(a_state(frozen=(True, False, False)))
    still, moving = screen.handles[:2]
    lines = screen.marks("OHLC")
    assert screen.label("stem").text[0] == "stem  3e-5 · frozen"
    assert still.stroke == lines[0].stroke
    assert still.colors[0].startswith("var(--jp-layout-color0") and moving.colors[0] == lines[1].stroke
    assert lines[0].opacities[0] < lines[1].opacities[0]
    screen.chart.render(a_state())
    assert still.colors[0] == lines[0].stroke and "frozen" not in "".join(screen.texts)


def real_looking(points: int, up_to: int, **extras: Any) -> LossCurve:
    """The first points of a sweep with noise that grows, as its losses do, towards the end."""
    lrs = np.geomspace(1e-7, 10, points)
    x = np.log10(lrs)
    noise = np.random.default_rng(1).standard_normal(points) * 0.1 * (1 + np.exp(2 * (x + 0.5)))
    losses = 2.3 - 1.6 / (1 + np.exp(-2 * (x + 3))) + np.exp(5 * (x + 0.2)) + noise
    return LossCurve(lrs[:up_to], losses[:up_to], beta=beta_for(points), num_steps=points, stop_reason=None, **extras)


@pytest.mark.parametrize("others", [(), ("a", "b")], ids=["alone", "beside others"])
def test_the_loss_axis_changes_rarely_while_a_long_sweep_runs(screen: Listener, others: tuple[str, ...]) -> None:
    scale = screen.chart.figure.axes[1].scale
    ranges = []
    sweeps = kept(*others)
    for points in np.linspace(100, 9000, 100).astype(int).tolist():
        screen.chart.render(a_state(phase="sweeping", curve=real_looking(10_000, points), sweeps=sweeps))
        ranges.append((scale.min, scale.max))
    assert sum(before != after for before, after in pairwise(ranges)) <= 6


# Other sweeps ----------------------------------------------------------------------------------------------------


def show(screen: Listener, sweeps: Any, chosen: int | None, **traits: Any) -> None:
    """As the session does: the curve and the advice are those of the chosen sweep."""
    if chosen is not None:
        traits = {"curve": sweeps[chosen].curve, "advice": sweeps[chosen].advice, **traits}
    screen.chart.render(a_state(sweeps=sweeps, chosen=chosen, **traits))


def test_the_other_kept_sweeps_are_thinner_lines_with_their_names(screen: Listener) -> None:
    sweeps = kept("small batch", "big batch", "warm start")
    show(screen, sweeps, chosen=1)
    assert len(screen.others) == 2
    assert all(line.stroke_width < screen.losses.stroke_width for line in screen.others)
    assert list(screen.names.text) == ["small batch", "warm start"]
    assert screen.names.colors == [line.colors[0] for line in screen.others]


def test_the_line_of_another_sweep_is_its_smoothed_loss_in_at_most_300_points(screen: Listener) -> None:
    sweeps = kept("a", "b", points=20_000, last=1e-2, noise=0.1)
    show(screen, sweeps, chosen=0)
    (line,) = screen.others
    curve = sweeps[1].curve
    assert 100 < len(line.x) <= 300
    np.testing.assert_array_equal(line.y, curve.centred[np.searchsorted(curve.lrs, line.x)])


def test_lines_differ_by_more_than_colour(screen: Listener) -> None:
    show(screen, kept("a", "b", "c"), chosen=None)
    assert len({line.line_style for line in screen.others}) == 3
    assert len({line.colors[0] for line in screen.others}) == 3


def test_while_a_sweep_runs_all_kept_ones_are_beside_it(screen: Listener) -> None:
    sweeps = kept("a", "b")
    show(screen, sweeps, chosen=None, phase="sweeping", curve=a_curve(30, last=1e-4, stop_reason=None))
    assert list(screen.names.text) == ["a", "b"]
    show(screen, sweeps, chosen=None, phase="sweeping", curve=None)
    assert len(screen.others) == 2 and not any("Press Sweep" in text for text in screen.texts)


def test_points_of_other_sweeps_are_sent_once(screen: Listener) -> None:
    sweeps = kept("a", "b", "c")
    show(screen, sweeps, chosen=None)
    sent: list[Any] = []
    for line in screen.others:
        line.observe(sent.append, ["x", "y"])
    first = list(screen.others)
    for chosen in (0, 1, 2, None):
        show(screen, sweeps, chosen=chosen)
    assert screen.others == first and not sent


def test_a_new_name_moves_no_line(screen: Listener) -> None:
    sweeps = kept("a", "b")
    show(screen, sweeps, chosen=0)
    lines = list(screen.others)
    show(screen, (sweeps[0], replace(sweeps[1], name="<b>new</b>")), chosen=0)
    assert screen.others == lines
    assert list(screen.names.text) == ["<b>new</b>"]  # a label of an SVG, where a text is a text


def test_a_removed_sweep_is_gone_and_its_line_is_closed(screen: Listener) -> None:
    sweeps = kept("a", "b", "c")
    show(screen, sweeps, chosen=2)
    gone, stays = screen.others
    show(screen, sweeps[1:], chosen=1)
    assert screen.others == [stays] and gone.comm is None
    assert list(screen.names.text) == ["b"]


def test_a_sweep_that_comes_or_goes_does_not_draw_the_markers_anew(screen: Listener) -> None:
    sweeps = kept("a", "b")
    show(screen, sweeps[:1], chosen=0)
    before = screen.chart.figure.marks.index(screen.handles[-1])
    marks = screen.chart.figure.marks[: before + 1]
    show(screen, sweeps, chosen=1)
    assert screen.chart.figure.marks[: before + 1] == marks  # the browser keeps what comes before the first difference
    show(screen, sweeps[:1], chosen=0)
    assert screen.chart.figure.marks[: before + 1] == marks


def test_the_axes_hold_the_other_sweeps_as_well(screen: Listener) -> None:
    lrs = np.geomspace(1e-9, 1e-4, 50)
    low = replace(kept("low")[0], curve=LossCurve(lrs, np.linspace(1.5, 0.5, 50)))
    sweeps = (*kept("a"), low)
    show(screen, sweeps, chosen=0)
    assert 0 < shares(screen, 1e-9)[0] < 0.03
    loss_scale = screen.chart.figure.axes[1].scale
    assert loss_scale.min < low.curve.losses.min()


def test_a_far_away_sweep_leaves_the_chosen_one_a_third_of_the_height(screen: Listener) -> None:
    sweeps = kept("a", "b", last=1e-2)
    far = replace(sweeps[1], curve=LossCurve(sweeps[1].curve.lrs, sweeps[1].curve.losses + 1000))
    show(screen, (sweeps[0],), chosen=0, advice=None)
    scale = screen.chart.figure.axes[1].scale
    alone = scale.max - scale.min
    show(screen, (sweeps[0], far), chosen=0, advice=None)
    assert scale.max - scale.min <= 3 * alone
    assert not len(screen.names.x)  # no name without its line


def test_how_high_another_sweep_diverged_is_worth_no_height(screen: Listener) -> None:
    calm, wild = kept("calm", last=1e-2)[0], kept("wild", stop_reason=StopReason.DIVERGED)[0]
    show(screen, (calm, wild), chosen=0, advice=None)
    assert screen.chart.figure.axes[1].scale.max < 3 < wild.curve.losses.max()


def test_names_of_sweeps_that_end_alike_do_not_cover_each_other(screen: Listener) -> None:
    show(screen, kept("one", "two", "three", last=1e-2), chosen=None)
    loss_scale = screen.chart.figure.axes[1].scale
    x = np.log10(screen.names.x) / 8 * 700
    y = screen.names.y / (loss_scale.max - loss_scale.min) * 270
    assert len(x) == 3
    for one, other in combinations(range(3), 2):
        assert abs(x[one] - x[other]) > 6 * len("one") or abs(y[one] - y[other]) > 12


def test_a_name_that_would_cover_another_is_left_to_the_list_of_sweeps(screen: Listener) -> None:
    whole = kept("a")[0]
    short = [replace(whole, name=f"stopped at once, {n}", curve=LossCurve([1e-7, 1.1e-7], [1.0, 1.0])) for n in "123"]
    show(screen, (whole, *short), chosen=0)
    assert len(screen.others) == 3 and list(screen.names.text) == ["stopped at once, 1"]


def test_no_name_of_a_sweep_lies_among_the_handles(screen: Listener) -> None:
    screen.chart.render(a_state(sweeps=kept("a", "b", last=1e-1), chosen=0))
    scale, rows = screen.chart.figure.axes[1].scale, 3 * 0.085
    assert len(screen.names.y) == 1 and (screen.names.y[0] - scale.min) / (scale.max - scale.min) >= rows


def test_another_sweep_may_be_of_one_point_or_without_a_finite_loss(screen: Listener) -> None:
    whole = kept("a")[0]
    one = replace(whole, name="one", curve=LossCurve([1e-3], [1.0]))
    none = replace(whole, name="none", curve=LossCurve([1e-3, 1e-2], [np.nan, np.inf]))
    show(screen, (whole, one, none), chosen=0)
    show(screen, (one, none), chosen=None)
    scale = screen.chart.figure.axes[1].scale
    assert scale.min < 1 < scale.max
    assert list(screen.names.text) == ["one"]


# What it costs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> "Wire":
    wire = Wire()
    monkeypatch.setattr(comm, "create_comm", wire.open)
    return wire


class Wire:
    """What goes from widgets to the browser: bytes since they were last counted."""

    def __init__(self) -> None:
        self._bytes = 0

    def open(self, **options: Any) -> BaseComm:
        send = self._send

        class Sender(BaseComm):
            def publish_msg(self, msg_type: str, data: Any = None, buffers: Any = None, **_: Any) -> None:
                send(data, buffers or ())

        return Sender(**options)

    def _send(self, data: Any, buffers: Any) -> None:
        self._bytes += len(json.dumps(data)) + sum(memoryview(buffer).nbytes for buffer in buffers)

    def count(self, act: Callable[[], object]) -> int:
        """How many bytes an act sends."""
        self._bytes = 0
        act()
        return self._bytes


def test_no_update_of_a_long_sweep_beside_three_others_is_above_30_kB(wire: Wire) -> None:
    screen = Listener()
    sweeps = kept("a", "b", "c", points=10_000, noise=0.1)
    screen.chart.render(a_state())
    assert wire.count(lambda: show(screen, sweeps, chosen=None, phase="sweeping")) < 30_000
    state = a_state(phase="sweeping", sweeps=sweeps)
    sizes = []
    for points in np.linspace(2, 10_000, 60).astype(int).tolist():
        state.curve = real_looking(10_000, points)
        sizes.append(wire.count(lambda: screen.chart.render(state)))
    assert max(sizes) < 30_000
    # The others lie there already: beside them an update costs what it does alone.
    last = sizes[-1]
    assert 3 * 8 * 120 < last < 3 * 8 * 150 + 2000
    assert wire.count(lambda: screen.chart.render(state)) == 0


def test_choosing_another_sweep_is_no_more_than_an_update(wire: Wire) -> None:
    screen = Listener()
    sweeps = kept("a", "b", "c", points=10_000, noise=0.1)
    show(screen, sweeps, chosen=0)
    assert wire.count(lambda: show(screen, sweeps, chosen=1)) < 35_000
    assert wire.count(lambda: show(screen, sweeps, chosen=0)) < 30_000


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


def test_where_a_hand_stops_is_told_while_it_still_holds_the_marker() -> None:
    screen = Listener(refresh_s=0.05)
    screen.chart.render(a_state())
    message(screen.handles[0], "drag_start", lr=3e-5)
    browser_writes_x(screen.handles[0], 3e-5)  # held, and not moved
    assert not screen.told
    screen.now = 1.0
    message(screen.handles[0], "drag", lr=4e-5)
    message(screen.handles[0], "drag", lr=9e-5)  # too soon to be told
    browser_writes_x(screen.handles[0], 9e-5)
    browser_writes_x(screen.handles[0], 9e-5)
    assert screen.told == [("drag", 0, 4e-5), ("drag", 0, 9e-5)]
    browser_writes_x(screen.handles[0], 1e4)
    assert screen.told[-1] == ("drag", 0, 10.0)


def test_an_lr_beyond_the_axis_is_told_as_the_end_of_the_axis(screen: Listener) -> None:
    screen.drag(2, 1e4)
    message(screen.handles[2], "drag_end", lr=1e-30)
    assert screen.told == [("drag", 2, 10.0), ("drop", 2, 1e-7)]


def test_markers_that_one_takes_along_stop_where_the_first_is_at_an_end(screen: Listener) -> None:
    screen.chart.render(a_state(lrs=(1e-5, 1e-4, 1e-3), together=True))
    screen.drag(0, 5.0)
    message(screen.handles[0], "drag_end", lr=5.0)
    assert screen.told[-1] == ("drop", 0, pytest.approx(0.1))  # with the last at 10
    screen.drag(2, 1e-7)
    assert screen.told[-1] == ("drag", 2, pytest.approx(1e-5))  # with the first at 1e-7


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
    before = shares(screen, 1e-7, 10.0)
    screen.chart.render(a_state(lrs=(1e-9, 1e-3, 50.0)))
    assert shares(screen, 1e-7, 10.0) == before


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
    for index in (80, 123, len(ground.column) - 20):
        click_column(ground, index)
        kind, lr = screen.told[-1]
        assert kind == "max" and ground.column[index] < lr < ground.column[index + 1]
    # Where no sweep goes, its end: or slower markers would take the axis further at every click.
    for index, end in ((0, 1e-7), (20, 1e-7), (len(ground.column) - 2, 10.0)):
        click_column(ground, index)
        assert screen.told[-1] == ("max", end)
    a_pixel = (lr_axis.max / lr_axis.min) ** (1 / 800)
    assert ground.column[1] / ground.column[0] < a_pixel**2


def test_a_double_click_takes_its_own_pick_back_and_resets(screen: Listener) -> None:
    click_column(screen.ground, 250)
    screen.now += 0.3
    click_column(screen.ground, 251)
    assert [kind for kind, *_ in screen.told] == ["max", "take back", "reset"]
    screen.now += 0.1
    click_column(screen.ground, 251)  # a third is a first again
    assert [kind for kind, *_ in screen.told] == ["max", "take back", "reset", "max"]


def test_two_clicks_on_a_handle_reset_and_have_nothing_to_take_back(screen: Listener) -> None:
    tap(screen.handles[2], 3e-3)
    screen.now += 0.3
    tap(screen.handles[2], 3e-3)
    assert [kind for kind, *_ in screen.told] == ["reset"]


@pytest.mark.parametrize(("later", "column"), [(0.5, 250), (0.3, 280), (0.3, 220)], ids=["late", "right", "left"])
def test_two_clicks_that_are_no_double_click_pick_twice(screen: Listener, later: float, column: int) -> None:
    click_column(screen.ground, 250)
    screen.now += later
    click_column(screen.ground, column)
    assert [kind for kind, *_ in screen.told] == ["max", "max"]


def test_the_second_click_may_meet_the_handle_that_the_first_one_brought(screen: Listener) -> None:
    click_column(screen.ground, 250)
    lr = screen.told[0][1]
    screen.chart.render(a_state(lrs=(lr / 100, lr / 10, lr)))
    screen.now += 0.3
    tap(screen.handles[2], lr)
    assert [kind for kind, *_ in screen.told] == ["max", "take back", "reset"]


def test_a_double_click_is_told_by_its_place_also_when_the_axis_moved_between(screen: Listener) -> None:
    click_column(screen.ground, 10)
    screen.chart.render(a_state(lrs=(1e-9, 1e-8, 1e-7)))
    screen.now += 0.3
    click_column(screen.ground, 10)
    assert [kind for kind, *_ in screen.told] == ["max", "take back", "reset"]


def test_a_drag_between_two_clicks_makes_no_double_click_of_a_handle(screen: Listener) -> None:
    tap(screen.handles[0], 3e-5)
    screen.now += 0.1
    screen.drag(0, 4e-5)
    message(screen.handles[0], "drag_end", lr=3e-5)
    assert [kind for kind, *_ in screen.told] == ["drag", "drop"]


def test_markers_that_one_takes_along_follow_the_state_and_the_held_one_the_hand(screen: Listener) -> None:
    for share in (0.5, 0.1, 1e-3):  # in the end the first one is beyond the axis
        screen.drag(2, 3e-3 * share)
        browser_writes_x(screen.handles[2], 2.9e-3 * share)  # the pointer has moved on
        screen.chart.render(a_state(lrs=tuple(lr * share for lr in LRS), together=True))
        held, others = screen.handles[2], screen.handles[:2]
        assert [handle.x[0] for handle in others] == [lr * share for lr in LRS[:2]]
        assert held.x[0] == 2.9e-3 * share
    assert shares(screen, 1e-7)[0] > 0 > shares(screen, screen.handles[0].x[0])[0]
    assert "stem" not in "".join(screen.texts) and "head" in "".join(screen.texts)
    message(screen.handles[2], "drag_end", lr=3e-6)
    screen.chart.render(a_state(lrs=tuple(lr * 1e-3 for lr in LRS), together=True))
    assert shares(screen, 3e-8)[0] == pytest.approx(0.02, abs=0.002) and "stem" in "".join(screen.texts)


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
    screen.chart.render(a_state(names=("other",), lrs=(1e-3,), sweeps=kept("a", "b"), chosen=0))
    screen.chart.close()
    assert set(INSTANCES) == before


def test_the_second_click_counts_by_its_lr_where_the_page_has_not_moved_the_axis_yet() -> None:
    told: list[str] = []
    chart = LossChart(
        on_pick_max=lambda lr: told.append("pick"),
        on_drag=lambda index, lr: None,
        on_drop=lambda index, lr: None,
        on_reset=lambda: told.append("reset"),
        clicked_at=lambda: 1.0,
    )
    chart.render(a_state())
    chart._clicked(1e-6)
    chart.render(a_state(lrs=(1e-9, 1e-8, 1e-6)))  # two decades more on the left
    chart._clicked(1e-6)
    assert told == ["pick", "reset"]
