"""Fewer points, the same line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwidget.engine.sweeps.thinning import thin


def test_every_spike_is_kept_within_the_bound() -> None:
    values = np.zeros(10_000)
    values[[123, 4567, 9876]] = [5, -5, 7]
    kept = thin(values, 600)
    assert len(kept) <= 600 and {0, 123, 4567, 9876, 9999} <= set(kept.tolist())


@settings(deadline=None)
@given(st.lists(st.floats(), max_size=90), st.integers(4, 40))
def test_what_is_kept_rises_from_end_to_end_and_has_the_lowest_and_the_highest(values: list[float], most: int) -> None:
    array = np.array(values)
    kept = thin(array, most)
    assert len(kept) == len(values) if len(values) <= most else len(kept) <= most
    assert (np.diff(kept) > 0).all()
    finite = array[np.isfinite(array)]
    if len(values):
        assert (kept[0], kept[-1]) == (0, len(values) - 1)
    if len(finite):
        assert {finite.min(), finite.max()} <= set(array[kept].tolist())


@pytest.mark.parametrize("more", range(8))
def test_a_line_that_grows_by_a_few_points_keeps_those_that_it_had(more: int) -> None:
    """Points that came and went ten times a second would flicker."""
    values = np.random.default_rng(0).normal(size=3000)
    before, after = (set(thin(values[:n], 150).tolist()) for n in (2900, 2900 + more))
    assert len(before - after) <= 3
