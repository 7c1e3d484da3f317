import math

import pytest
from traitlets import TraitError

from lrwidget.engine.loops.groups import Group
from lrwidget.state import LRState, Phase, Progress, RunOptions

GROUPS = tuple(Group(name=name, n_params=10, layers=(), lr=1e-3) for name in ("body", "head"))


def test_a_misspelt_trait_is_refused_and_the_right_ones_are_named() -> None:
    with pytest.raises(TraitError, match=r"phaze.*LRState has.*phase"):
        LRState(phaze="idle")


@pytest.mark.parametrize("lrs", [(1e-3,), (1e-3, 1e-3, 1e-3)])
def test_as_many_lrs_as_groups_are_wanted(lrs: tuple[float, ...]) -> None:
    state = LRState(groups=GROUPS, lrs=(1e-4, 1e-3))
    with pytest.raises(TraitError, match=f"Got {len(lrs)} LRs for 2 groups"):
        state.lrs = lrs
    assert state.lrs == (1e-4, 1e-3)


@pytest.mark.parametrize("bad", [0.0, -1e-3, math.nan, math.inf])
def test_an_lr_that_no_log_axis_can_show_is_refused_and_its_group_is_named(bad: float) -> None:
    state = LRState(groups=GROUPS, lrs=(1e-4, 1e-3))
    with pytest.raises(TraitError, match="group 'head'; expected a finite number above 0"):
        state.lrs = (1e-4, bad)
    assert state.lrs == (1e-4, 1e-3)


def test_lrs_are_plain_floats_whatever_was_assigned() -> None:
    state = LRState(groups=GROUPS, lrs=(1, 2))
    assert state.lrs == (1.0, 2.0)
    assert all(type(lr) is float for lr in state.lrs)


def test_a_phase_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TraitError):
        LRState().phase = "resting"


def test_a_new_state_is_idle_and_says_nothing() -> None:
    state = LRState()
    assert state.phase is Phase.IDLE
    assert not state.stopping
    assert (state.curve, state.advice, state.plan, state.history, state.progress) == (None,) * 5
    assert (state.message, state.error) == ("", "")


def test_values_are_frozen_so_that_a_change_cannot_go_unnoticed() -> None:
    with pytest.raises(AttributeError):
        Progress(step=1, total=2).step = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        RunOptions().epochs = 2  # type: ignore[misc]


def test_progress_before_the_first_step_has_no_numbers_to_show() -> None:
    progress = Progress(step=0, total=10)
    assert math.isnan(progress.loss)
    assert math.isnan(progress.lr)
    assert progress.seconds_left is None
