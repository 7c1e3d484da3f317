"""Markers of few and of many groups: how much room they take, and which of them are named."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lrwidget.ui.chart.markers import PLOT, look_of
from tests.ui.chart.test_chart import Listener, message
from tests.ui.states import LRS, a_state, an_advice

USUAL = 320
"""Height in px of the chart of a few groups."""


def some(count: int, lrs: tuple[float, ...] | None = None, **traits: Any) -> Any:
    """A state with so many groups, at one LR unless told otherwise."""
    return a_state(names=tuple(f"layer {k}" for k in range(count)), lrs=lrs or (1e-3,) * count, **traits)


def spread(count: int) -> tuple[float, ...]:
    return tuple(np.geomspace(1e-5, 1e-2, count).tolist())


def height(screen: Listener) -> float:
    """Of the chart, in px."""
    return float(screen.chart.figure.layout.height.removesuffix("px"))


def plot(screen: Listener) -> float:
    return height(screen) - (USUAL - PLOT)


def named(screen: Listener) -> list[int]:
    """The groups that are named in the chart though no pointer rests on them."""
    return sorted(int(text.split()[1]) for text in screen.texts if text.startswith("layer"))


@pytest.fixture
def screen() -> Listener:
    return Listener()


@pytest.mark.parametrize("count", range(1, 33))
def test_of_handles_at_one_lr_none_covers_the_middle_of_another(screen: Listener, count: int) -> None:
    screen.chart.render(some(count))
    at = [plot(screen) * handle.y[0] for handle in screen.handles]
    size = screen.handles[0].default_size
    half = 0.93 * size**0.5 if screen.handles[0].marker == "diamond" else (size / np.pi) ** 0.5
    assert all(above - below > 0.8 * half for above, below in pairwise(at))
    assert at[-1] > 0


@pytest.mark.parametrize("count", [33, 64, 100])
def test_of_more_handles_than_rows_each_still_has_a_stripe_of_its_own(screen: Listener, count: int) -> None:
    screen.chart.render(some(count))
    assert all(plot(screen) * (a.y[0] - b.y[0]) > 3 for a, b in pairwise(screen.handles))


def test_a_chart_of_few_groups_is_as_high_as_ever_and_of_many_no_higher_than_a_screen(screen: Listener) -> None:
    heights = []
    for count in range(1, 101):
        screen.chart.render(some(count))
        heights.append(height(screen))
    assert heights[:6] == [USUAL] * 6
    assert heights == sorted(heights) and heights[-1] < 600
    screen.chart.render(some(3))
    assert height(screen) == USUAL


@pytest.mark.parametrize("count", [3, 8, 12, 13, 30, 100])
def test_curve_and_suggestions_have_as_much_room_however_many_groups(screen: Listener, count: int) -> None:
    screen.chart.render(some(count, advice=an_advice(steepest=1e-3)))
    above = plot(screen) - look_of(count).rows
    assert above >= 0.6 * PLOT
    scale, tick = screen.ticks.scales["y"], screen.ticks.y[0]
    share = (scale.max - tick) / (scale.max - scale.min)
    assert share * plot(screen) == pytest.approx(0.45 * 0.075 * PLOT)


@pytest.mark.parametrize("count", [9, 12])
def test_up_to_twelve_groups_all_are_named_and_each_name_has_a_line(screen: Listener, count: int) -> None:
    screen.chart.render(some(count))
    assert named(screen) == list(range(count))
    labels = [mark for mark in screen.marks("Label") if str(mark.text).startswith("['layer")]
    assert all(plot(screen) * (a.y[0] - b.y[0]) >= a.default_size + 2 for a, b in pairwise(labels))


def test_of_many_groups_one_below_the_pointer_is_named_by_the_browser_alone(screen: Listener) -> None:
    screen.chart.render(some(30, spread(30)))
    label = screen.label("layer 7  ")
    assert label.visible and not label.default_size  # it is there, and
    assert label.hovered_style == {"font-size": "12px"}  # seen when it is hovered, which is
    links = [link for link in screen.chart._markers._each[7]._links if link.target == (label, "hovered_point")]
    assert [link.source for link in links] == [(screen.handles[7], "hovered_point")]  # when its handle is
    marks = screen.chart.figure.marks
    assert marks.index(label) > marks.index(screen.handles[-1])  # on top of all handles


def test_of_many_groups_the_one_that_is_held_is_named_and_keeps_its_name_and_line(screen: Listener) -> None:
    lrs = spread(30)
    screen.chart.render(some(30, lrs))
    thin = screen.marks("OHLC")[7].stroke_width
    screen.drag(7, lrs[7] * 1.1)
    lrs = (*lrs[:7], lrs[7] * 1.1, *lrs[8:])
    screen.chart.render(some(30, lrs))
    assert named(screen) == [0, 7, 29]
    message(screen.handles[7], "drag_end", lr=lrs[7])
    screen.chart.render(some(30, lrs))
    assert named(screen) == [0, 7, 29]
    assert screen.marks("OHLC")[7].stroke_width > thin


def test_of_many_groups_the_one_whose_lr_was_typed_is_named_until_others_move(screen: Listener) -> None:
    lrs = spread(30)
    screen.chart.render(some(30, lrs))
    lrs = (*lrs[:7], 2e-4, *lrs[8:])
    screen.chart.render(some(30, lrs))
    assert named(screen) == [0, 7, 29]
    screen.chart.render(some(30, (*lrs[:9], 3e-4, *lrs[10:])))
    assert named(screen) == [0, 9, 29]


def test_lines_of_many_groups_begin_at_their_handles(screen: Listener) -> None:
    screen.chart.render(some(30))
    assert [line.y[0][1] for line in screen.marks("OHLC")] == [handle.y[0] for handle in screen.handles]
    screen.chart.render(a_state(lrs=LRS))
    assert all(line.y[0][1] == 0 for line in screen.marks("OHLC"))
