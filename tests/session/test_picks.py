"""Picks and the way back: undo, redo, and drags that count as one step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwidget.session.picks import DEPTH, Picked, Picks

START = (1e-5, 1e-4, 1e-3)


def put(picks: Picks, *lrs: float) -> None:
    picks.put(Picked(lrs=lrs))


def test_nothing_can_be_undone_at_the_start() -> None:
    picks = Picks(START)
    assert not picks.can_undo and not picks.can_redo
    assert not picks.undo() and not picks.redo()
    assert picks.now.lrs == START and not picks.now.chosen


def test_a_new_pick_ends_what_could_be_redone() -> None:
    picks = Picks((1.0,))
    put(picks, 2.0)
    picks.undo()
    put(picks, 3.0)
    assert not picks.can_redo
    assert picks.undo() and picks.now.lrs == (1.0,)


def test_what_comes_by_itself_leaves_what_could_be_redone() -> None:
    picks = Picks((1.0,))
    put(picks, 2.0)
    picks.undo()
    picks.put(picks.scaled(3.0, chosen=False))  # as when a sweep ends
    assert picks.now.lrs == (3.0,)
    assert picks.redo() and picks.now.lrs == (2.0,)
    assert picks.undo() and picks.now.lrs == (3.0,)
    assert picks.undo() and picks.now.lrs == (1.0,)


def test_a_drag_is_one_step() -> None:
    picks = Picks((1.0,))
    put(picks, 2.0)
    for lr in (2.1, 2.2, 2.3):
        picks.put(Picked(lrs=(lr,)), dragging=True)
    put(picks, 2.4)
    assert picks.undo() and picks.now.lrs == (2.0,)
    assert picks.redo() and picks.now.lrs == (2.4,)


def test_two_drags_are_two_steps() -> None:
    picks = Picks((1.0,))
    for start in (2.0, 3.0):
        picks.put(Picked(lrs=(start,)), dragging=True)
        put(picks, start + 0.5)
    assert picks.undo() and picks.now.lrs == (2.5,)


@given(st.lists(st.sampled_from("pru"), max_size=40))
def test_undo_and_redo_walk_along_what_was_picked(doings: list[str]) -> None:
    picks, path, at = Picks((1.0,)), [(1.0,)], 0
    for number, doing in enumerate(doings, start=2):
        if doing == "p":
            put(picks, float(number))
            path, at = [*path[: at + 1], (float(number),)], at + 1
        elif doing == "u":
            assert picks.undo() == (at > 0)
            at = max(0, at - 1)
        else:
            assert picks.redo() == (at < len(path) - 1)
            at = min(len(path) - 1, at + 1)
        assert picks.now.lrs == path[at]
        assert (picks.can_undo, picks.can_redo) == (at > 0, at < len(path) - 1)


def test_no_more_is_kept_than_anybody_goes_back() -> None:
    picks = Picks((1.0,))
    for number in range(2 * DEPTH):
        put(picks, float(number + 2))
    assert sum(picks.undo() for _ in range(3 * DEPTH)) == DEPTH


def test_together_all_markers_move_by_one_factor_however_long_the_drag() -> None:
    picks = Picks(START)
    for number in range(1000):
        picks.put(picks.moved(0, 1e-5 * (1 + number / 100), together=True), dragging=True)
    picks.put(picks.moved(0, 3e-5, together=True))
    assert picks.now.lrs == pytest.approx((3e-5, 3e-4, 3e-3), rel=1e-12)
    assert picks.now.lrs[0] == 3e-5


def test_inner_markers_follow_the_outer_ones_until_they_are_moved_by_hand() -> None:
    picks = Picks(START)
    picks.put(picks.moved(2, 1e-1, together=False))
    assert picks.now.lrs == pytest.approx((1e-5, 1e-3, 1e-1))
    picks.put(picks.moved(1, 5e-3, together=False))
    picks.put(picks.moved(0, 1e-6, together=False))
    assert picks.now.lrs == (1e-6, 5e-3, 1e-1)
    picks.undo(), picks.undo()
    picks.put(picks.moved(0, 1e-7, together=False))
    assert picks.now.lrs == pytest.approx((1e-7, 1e-4, 1e-1)), "undone as well: that it was put there by hand"
