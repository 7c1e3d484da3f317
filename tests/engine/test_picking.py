import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwidget.engine.picking import moved, resolve_lrs, scaled

LR = st.floats(1e-9, 1e2)
SEVERAL = st.lists(LR, min_size=1, max_size=6)


@given(SEVERAL, LR)
def test_the_fastest_group_gets_exactly_the_lr_that_was_asked_for(lrs: list[float], max_lr: float) -> None:
    assert max(scaled(lrs, max_lr)) == pytest.approx(max_lr, rel=1e-12)
    assert scaled(lrs, max_lr)[lrs.index(max(lrs))] == max_lr


@given(SEVERAL, LR)
def test_scaling_keeps_the_ratios_between_groups(lrs: list[float], max_lr: float) -> None:
    after = scaled(lrs, max_lr)
    assert [lr / max(after) for lr in after] == pytest.approx([lr / max(lrs) for lr in lrs], rel=1e-12)


def test_groups_that_share_the_highest_lr_go_on_sharing_it() -> None:
    assert scaled([3e-3, 3e-3, 1e-3], 0.1) == (0.1, 0.1, pytest.approx(0.1 / 3))


@given(SEVERAL, LR, st.data())
def test_the_moved_marker_stands_where_it_was_put(lrs: list[float], lr: float, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(lrs) - 1))
    assert moved(lrs, index, lr)[index] == lr


@given(st.lists(LR, min_size=2, max_size=6), LR, st.booleans())
def test_moving_an_end_lays_the_groups_between_out_as_the_slice_of_both_ends(
    lrs: list[float], lr: float, first: bool
) -> None:
    after = moved(lrs, 0 if first else len(lrs) - 1, lr)
    ends = slice(lr, lrs[-1]) if first else slice(lrs[0], lr)
    assert after == pytest.approx(resolve_lrs(ends, len(lrs)), rel=1e-9)


def test_an_end_may_cross_the_other_one() -> None:
    assert moved([1e-5, 1e-4, 1e-3], 0, 1e-1) == pytest.approx((1e-1, 1e-2, 1e-3))


def test_moving_an_inner_marker_moves_no_other() -> None:
    assert moved([1e-5, 1e-4, 1e-3], 1, 5e-4) == (1e-5, 5e-4, 1e-3)


def test_an_inner_marker_that_was_put_by_hand_stays_when_an_end_moves() -> None:
    after = moved([1e-6, 5e-4, 1e-4, 1e-3], 3, 1e-2, by_hand={1})
    assert after[1] == 5e-4
    assert after[2] == pytest.approx(1e-6 * math.pow(1e4, 2 / 3))


def test_a_marker_put_by_hand_that_is_an_end_itself_still_moves() -> None:
    assert moved([1e-5, 1e-3], 0, 1e-4, by_hand={0}) == (1e-4, 1e-3)


def test_what_was_there_before_is_left_alone() -> None:
    lrs = [1e-5, 1e-4, 1e-3]
    moved(lrs, 0, 1.0)
    scaled(lrs, 1.0)
    assert lrs == [1e-5, 1e-4, 1e-3]
