"""The line that pictures draw of an ended sweep, held against the losses without their noise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwidget.engine.sweeps.curve import LossCurve, StopReason

SEEDS = range(10)
START, BOTTOM, FELL_AT, ROSE_AT = 2.3, 0.5, 3e-3, 0.2
FALL = START - BOTTOM
ANY_LOSS = st.floats(allow_nan=True, allow_infinity=True, width=64)


def sweep_lrs(steps=100, end_lr=10.0):
    return np.geomspace(1e-7, end_lr, steps)


def noise(seed, steps=100, sigma=0.05):
    return sigma * np.random.default_rng(seed).normal(size=steps)


def descent(lrs):
    """From `START` to `BOTTOM`, half of it up to `FELL_AT`."""
    return BOTTOM + FALL / (1 + (lrs / FELL_AT) ** 1.2)


def blow_up(lrs):
    return 0.3 * (np.exp(6 * np.maximum(0, np.log10(lrs / ROSE_AT))) - 1)


def valley(lrs, at=1e-3):
    """A level with a hollow that is the same to both sides, in decades, of its lowest point."""
    return START - FALL * np.exp(-0.5 * np.log10(lrs / at) ** 2)


def fell_half_at(curve, line):
    """Decades from `FELL_AT` to where a line makes half of the fall."""
    half = BOTTOM + FALL / 2
    k = int(np.flatnonzero(line < half)[0])
    return np.log10(np.interp(-half, -line[k - 1 : k + 1], curve.lrs[k - 1 : k + 1]) / FELL_AT)


def of(losses, lrs=None, **fields):
    return LossCurve.from_arrays(sweep_lrs(len(losses)) if lrs is None else lrs, losses, **fields)


# Where it is


@pytest.mark.parametrize("seed", SEEDS)
def test_it_makes_half_of_the_fall_where_the_losses_do_and_the_live_average_decades_later(seed):
    lrs = sweep_lrs()
    curve = of(descent(lrs) + blow_up(lrs) + noise(seed))
    assert abs(fell_half_at(curve, curve.centred)) < 0.1
    assert fell_half_at(curve, curve.smoothed) > 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_its_lowest_point_is_that_of_the_losses_and_the_live_average_s_is_late(seed):
    curve = of(valley(sweep_lrs()) + noise(seed, sigma=0.02))
    late = np.log10([curve.lrs[line.argmin()] / 1e-3 for line in (curve.centred, curve.smoothed)])
    assert abs(late[0]) <= 0.17  # two points
    assert late[1] > 0.3


@pytest.mark.parametrize("steps", [30, 100, 1000, 10_000])
def test_it_is_near_the_losses_without_noise_up_to_their_rise_however_many_points(steps):
    lrs = sweep_lrs(steps)
    truth = descent(lrs) + blow_up(lrs)
    curve = of(truth + noise(0, steps))
    before = truth < START
    before &= lrs < 1
    assert np.sqrt(np.mean((curve.centred - truth)[before] ** 2)) < 0.05 * FALL
    assert np.sqrt(np.mean((curve.smoothed - truth)[before] ** 2)) > 0.1 * FALL


def test_of_a_straight_descent_it_is_that_line():
    losses = 5 - 0.3 * np.log(sweep_lrs())
    np.testing.assert_allclose(of(losses, stop_reason="finished").centred, losses, rtol=1e-9)


def test_of_learning_rates_with_equal_steps_it_lies_on_the_losses_too():
    lrs = np.linspace(1e-4, 0.03, 300)
    truth = descent(lrs)
    curve = of(truth + noise(0, 300, 0.03), lrs)
    off, late = (np.sqrt(np.mean((line - truth)[3:] ** 2)) for line in (curve.centred, curve.smoothed))
    assert off < 0.03 < 2 * 0.03 < late


def test_it_stays_on_a_level_that_the_losses_climb_to():
    lrs = sweep_lrs(200)
    curve = of(descent(lrs) + np.where(lrs > 0.3, 1.2, 0) + noise(0, 200), stop_reason="finished")
    assert np.abs(curve.centred - descent(lrs) - 1.2)[lrs > 0.4].max() < 0.05


# How calm it is


@pytest.mark.parametrize("steps", [100, 1000])
def test_it_is_as_calm_as_the_live_average_on_flat_losses(steps):
    inner = slice(steps // 5, -steps // 5)
    curves = [of(START + noise(seed, steps), stop_reason="finished") for seed in range(30)]
    raw, live, drawn = (
        np.concatenate([getattr(curve, name)[inner] - START for curve in curves]).std()
        for name in ("losses", "smoothed", "centred")
    )
    assert drawn < 0.3 * raw
    assert 0.8 * live < drawn < 1.2 * live


def test_more_smoothing_makes_it_calmer_and_none_leaves_the_losses():
    losses = START + noise(0, 200)
    roughness = [np.abs(np.diff(of(losses, beta=beta).centred)).mean() for beta in (0.5, 0.9, 0.98)]
    assert roughness == sorted(roughness, reverse=True)
    np.testing.assert_array_equal(of(losses, beta=0.0).centred, losses)


@pytest.mark.parametrize("seed", SEEDS)
def test_where_the_losses_get_unstable_it_stays_calm(seed):
    lrs = sweep_lrs()
    unstable = lrs > 0.1
    losses = descent(lrs) + noise(seed, sigma=0.02) * np.where(unstable, 15, 1)
    curve = of(losses, stop_reason="finished")
    moves = [np.abs(np.diff(values[unstable])).mean() for values in (curve.centred, losses)]
    assert moves[0] < moves[1] / 3


@pytest.mark.parametrize("worst", [40.0, 1e12, -40.0])
def test_a_batch_that_is_bad_alone_hardly_moves_it(worst):
    losses = descent(sweep_lrs()) + noise(0)
    calm = of(losses, stop_reason="finished")
    losses[30] = worst
    assert np.abs(of(losses, stop_reason="finished").centred - calm.centred).max() < 0.1 * FALL


# What a rise does to it


@pytest.mark.parametrize("rise", [[9.0, 50.0], [200.0, 1e4], [1e10, 1e30]])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_blow_up_does_not_lift_it_before_the_points_that_blew_up(rise, seed):
    lrs = sweep_lrs(end_lr=1.0)
    losses = descent(lrs) + noise(seed)
    losses[-2:] = rise
    line = of(losses, stop_reason="diverged").centred
    assert np.abs(line - descent(lrs))[:-2].max() < 0.1 * FALL
    assert START < line[-2] < line[-1] < 1.001 * rise[1]


def test_losses_that_only_rise_are_followed_upwards():
    lrs = sweep_lrs()
    truth = START + 5 * blow_up(lrs)
    line = of(truth + noise(0)).centred
    np.testing.assert_allclose(line[lrs > 0.5], truth[lrs > 0.5], rtol=0.1)


# Of any losses


@pytest.mark.parametrize("change", [lambda y: y - 100, lambda y: 1e4 * y, lambda y: 1e-4 * y - 1])
def test_shifted_or_scaled_losses_have_the_same_line_shifted_or_scaled(change):
    lrs = sweep_lrs()
    losses = descent(lrs) + blow_up(lrs) + noise(0)
    np.testing.assert_allclose(of(change(losses)).centred, change(of(losses).centred), rtol=1e-6)


@pytest.mark.parametrize("level", [0.0, 2.0, -3.0])
def test_of_a_constant_loss_it_is_the_constant(level):
    np.testing.assert_allclose(of(np.full(100, level)).centred, level, atol=1e-12)


def test_it_is_interrupted_where_a_loss_is_not_finite_and_the_rest_does_not_feel_it():
    lrs = sweep_lrs()
    losses = descent(lrs) + noise(0)
    losses[[50, 70, 99]] = math.nan, math.inf, -math.inf
    line = of(losses).centred
    assert np.flatnonzero(~np.isfinite(line)).tolist() == [50, 70, 99]
    assert np.nanmax(np.abs(line - descent(lrs))) < 0.1 * FALL


@pytest.mark.parametrize("points", range(5))
def test_of_fewer_than_five_points_it_is_the_live_average(points):
    curve = of(np.arange(points, dtype=float), beta=0.9)
    np.testing.assert_array_equal(curve.centred, curve.smoothed)


@settings(deadline=None)
@given(st.lists(ANY_LOSS, max_size=40), st.floats(0, 0.99))
def test_it_is_finite_where_the_losses_are_and_never_beyond_them(losses, beta):
    losses = [loss for loss in losses if not math.isfinite(loss) or abs(loss) < 1e100]
    line = of(losses, np.arange(1, len(losses) + 1), beta=beta).centred
    finite = np.isfinite(losses)
    np.testing.assert_array_equal(np.isfinite(line), finite)
    if finite.any():
        measured = np.array(losses)[finite]
        rounding = 1e-9 * np.abs(measured).max() + 1e-300
        assert measured.min() - rounding <= line[finite].min() and line[finite].max() <= measured.max() + rounding


def test_rates_that_are_hardly_told_apart_have_a_line():
    lrs = 1 + 2.3e-16 * np.arange(20)  # every number that there is between the first and the last
    assert len(np.unique(lrs)) == 20 > len(np.unique(np.log(1e-3 * lrs)))
    assert np.isfinite(of(np.arange(20.0), lrs, stop_reason="finished").centred).all()


# When it is drawn


def test_a_curve_that_grows_is_drawn_as_its_sweep_saw_it_and_one_that_has_ended_by_this_line():
    losses = descent(sweep_lrs(1000)) + noise(0, 1000)
    for reason in (None, *StopReason):
        curve = of(losses, stop_reason=reason)
        trace = curve.decimated(300)
        expected = curve.smoothed if reason is None else curve.centred
        np.testing.assert_array_equal(trace.smoothed, expected[trace.steps])
        assert expected.argmin() in trace.steps


def test_it_is_made_once_and_cannot_be_written():
    curve = of(descent(sweep_lrs()) + noise(0))
    assert curve.centred is curve.centred and not curve.centred.flags.writeable
