import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwidget.engine.errors import InputError, InputTypeError, RecordError
from lrwidget.engine.record import load
from lrwidget.engine.sweeps.curve import LossCurve, StopReason
from lrwidget.engine.sweeps.tracker import LossTracker, beta_for

ANY_LOSS = st.floats(allow_nan=True, allow_infinity=True, width=64)


def sweep_lrs(steps=100):
    return np.geomspace(1e-7, 10, steps)


def noise(seed, steps, sigma):
    return sigma * np.random.default_rng(seed).normal(size=steps)


def blow_up(steps, at, scale=0.1):
    """Zero up to the learning rate `at`, then exponential in the decades beyond it."""
    return scale * (np.exp(6 * np.maximum(0, np.log10(sweep_lrs(steps) / at))) - 1)


def descent(steps, high, low, at=3e-3):
    return low + (high - low) / (1 + (sweep_lrs(steps) / at) ** 1.2)


def stops_at(losses, beta=None):
    """Learning rate at which the tracker calls the losses diverged, or None."""
    tracker = LossTracker(beta_for(len(losses)) if beta is None else beta)
    for lr, loss in zip(sweep_lrs(len(losses)), losses.tolist(), strict=True):
        tracker.update(loss)
        if tracker.diverged:
            return lr
    return None


# Smoothing


@settings(deadline=None)
@given(st.lists(ANY_LOSS, max_size=40), st.floats(0, 0.99))
def test_smoothed_is_the_weighted_mean_of_the_finite_losses_so_far(losses, beta):
    losses = [loss for loss in losses if not math.isfinite(loss) or abs(loss) < 1e100]
    curve = LossCurve.from_arrays(np.arange(1, len(losses) + 1), losses, beta=beta)
    for t, smoothed in enumerate(curve.smoothed):
        past = np.array([loss for loss in losses[: t + 1] if math.isfinite(loss)])
        if not math.isfinite(losses[t]):
            assert math.isnan(smoothed)
            continue
        weights = beta ** np.arange(len(past))[::-1]
        expected = (weights * past).sum() / weights.sum()
        assert smoothed == pytest.approx(expected, rel=1e-9, abs=max(1e-9 * np.abs(past).max(), 1e-300))


def test_a_loss_that_is_not_finite_leaves_the_average_as_it_was():
    tracker, untouched = LossTracker(0.9), LossTracker(0.9)
    for loss in (2.0, 1.5, 1.0):
        tracker.update(loss)
        untouched.update(loss)
    for loss in (math.nan, math.inf, -math.inf):
        assert math.isnan(tracker.update(loss))
    assert tracker.update(0.5) == untouched.update(0.5)
    assert not tracker.diverged


def test_beta_gives_the_average_the_same_share_of_every_sweep():
    assert [beta_for(n) for n in (1, 10, 100, 1000)] == pytest.approx([0, 0, 0.9, 0.99])
    assert beta_for(100, smoothing=0) == 0
    assert 1 / (1 - beta_for(400, smoothing=0.25)) == pytest.approx(100)


@pytest.mark.parametrize("smoothing", [-0.1, 1, math.nan])
def test_smoothing_outside_its_range_is_refused_with_an_example(smoothing):
    with pytest.raises(InputError, match=r"such as 0\.1"):
        beta_for(100, smoothing)


# Divergence


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.98, 0.99])
@pytest.mark.parametrize("level", [0.0, 2.3, -5.0])
def test_a_flat_noisy_loss_never_diverges(beta, level):
    assert not any(stops_at(level + noise(seed, 1000, 0.3), beta) for seed in range(10))


@pytest.mark.parametrize("distribution", ["standard_t", "lognormal"])
def test_heavy_tailed_noise_rarely_diverges(distribution):
    draws = {"standard_t": lambda rng: rng.standard_t(3, 200), "lognormal": lambda rng: rng.lognormal(size=200)}
    curves = [draws[distribution](np.random.default_rng(seed)) for seed in range(50)]
    assert sum(stops_at(curve) is not None for curve in curves) <= 1


@pytest.mark.parametrize("steps", [100, 1000])
@pytest.mark.parametrize(
    ("losses_of", "blows_up_at"),
    [
        pytest.param(lambda n: descent(n, 2.3, 0.5) + blow_up(n, 0.2) + noise(0, n, 0.05), 0.2, id="classification"),
        pytest.param(lambda n: descent(n, 2.3, 0.5) + blow_up(n, 0.2), 0.2, id="noiseless"),
        pytest.param(lambda n: descent(n, 2.3, 0.5) + blow_up(n, 0.2) + noise(0, n, 0.4), 0.2, id="noisy"),
        pytest.param(lambda n: 0.3 + blow_up(n, 0.1) + noise(0, n, 0.05), 0.1, id="already trained"),
        pytest.param(lambda n: 0.3 + blow_up(n, 0.1), 0.1, id="constant, then up"),
        pytest.param(lambda n: descent(n, -5, -9) + blow_up(n, 0.2) + noise(0, n, 0.1), 0.2, id="negative"),
        pytest.param(lambda n: descent(n, 0.02, -0.5) + blow_up(n, 0.2) + noise(0, n, 0.05), 0.2, id="around zero"),
        pytest.param(lambda n: 2.3 + blow_up(n, 1e-7) + noise(0, n, 0.05), 1e-7, id="rises at once"),
    ],
)
def test_a_blow_up_is_noticed_soon_after_it_begins(losses_of, blows_up_at, steps):
    stop = stops_at(losses_of(steps))
    # In the first decade the loss of these curves grows 400-fold; the warm-up is the first tenth of the sweep.
    assert blows_up_at < stop < 12 * blows_up_at


def test_a_loss_that_only_climbs_back_above_its_start_diverges_too():
    up = np.linspace(0.5, 5.0, 40)
    losses = np.concatenate([np.linspace(2.3, 0.5, 60), up]) + noise(0, 100, 0.02)
    assert stops_at(losses) is not None


def test_one_bad_batch_is_no_divergence():
    losses = 2.3 + noise(0, 100, 0.05)
    losses[40] = 50.0
    assert stops_at(losses) is None


def test_a_bump_before_the_descent_is_no_divergence():
    bump = 0.5 * np.exp(-((np.log10(sweep_lrs()) + 3.7) ** 2) / 0.16)
    assert stops_at(descent(100, 2.3, 0.5) + bump + noise(0, 100, 0.03)) is None


def test_constant_losses_do_not_diverge():
    for level in (0.0, 0.3, -2.0, 1e30):
        assert stops_at(np.full(200, level)) is None


@settings(deadline=None)
@given(st.floats(-20, 20), st.floats(1e-3, 1e3))
def test_divergence_does_not_depend_on_the_unit_of_the_loss(shift, scale):
    losses = descent(100, 5.0, 1.0) + blow_up(100, 0.2) + noise(0, 100, 0.05)
    assert stops_at(losses * scale) == stops_at(losses)
    assert stops_at(losses + shift) == pytest.approx(stops_at(losses), rel=1.6)  # the level is a floor, no more


def test_divergence_can_be_switched_off_and_stays_noticed_once_it_was():
    losses = np.concatenate([np.full(30, 1.0), np.full(10, 100.0), np.full(60, 1.0)])
    off, on = LossTracker(0.9, math.inf), LossTracker(0.9)
    for loss in losses.tolist():
        off.update(loss)
        on.update(loss)
    assert on.diverged
    assert not off.diverged


@pytest.mark.parametrize(("beta", "ratio"), [(1.0, 2), (-0.1, 2), (math.nan, 2), (0.9, 0), (0.9, -1), (0.9, math.nan)])
def test_a_tracker_refuses_numbers_it_cannot_work_with(beta, ratio):
    with pytest.raises(InputError, match=r"Got .*expected"):
        LossTracker(beta, ratio)


@settings(deadline=None)
@given(st.lists(ANY_LOSS, max_size=60))
def test_no_sequence_of_losses_makes_the_tracker_raise(losses):
    tracker = LossTracker(0.9)
    for loss in losses:
        tracker.update(loss)


# The curve


def test_a_curve_owns_its_numbers():
    lrs, losses = sweep_lrs(10), np.ones(10)
    curve = LossCurve(lrs, losses)
    losses[:] = 7
    assert (curve.losses == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        curve.losses[0] = 2


def test_group_lrs_keep_the_ratio_between_groups():
    curve = LossCurve.from_arrays([1e-3, 1e-2], [1.0, 0.5], ratios=(0.01, 1))
    np.testing.assert_allclose(curve.group_lrs, [[1e-5, 1e-3], [1e-4, 1e-2]])
    assert curve.names == ("group 0", "group 1")
    assert len(curve) == curve.num_steps == 2


@pytest.mark.parametrize(
    ("losses", "ending"),
    [
        (np.ones(50), StopReason.FINISHED),
        (np.append(np.ones(50), math.nan), StopReason.NOT_FINITE),
        (np.append(np.ones(50), math.inf), StopReason.NOT_FINITE),
        (np.append(np.ones(50), [50.0, 500.0, 5000.0]), StopReason.DIVERGED),
        ([], StopReason.FINISHED),
    ],
)
def test_the_ending_of_measured_numbers_is_told_from_them(losses, ending):
    assert LossCurve.from_arrays(sweep_lrs(len(losses)), losses).stop_reason is ending


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"lrs": [1, 2], "losses": [1]}, "2 learning rates and 1 losses"),
        ({"lrs": [1, 1], "losses": [1, 1]}, "increase"),
        ({"lrs": [2, 1], "losses": [1, 1]}, "increase"),
        ({"lrs": [0, 1], "losses": [1, 1]}, "above 0"),
        ({"lrs": [1, math.inf], "losses": [1, 1]}, "above 0"),
        ({"lrs": [1, math.nan], "losses": [1, 1]}, "above 0"),
        ({"lrs": [[1, 2]], "losses": [1, 1]}, "one dimension"),
        ({"beta": 1.0}, "beta_for"),
        ({"ratios": (0.5,)}, "over the largest"),
        ({"ratios": (2.0, 1.0), "names": ("a", "b")}, "over the largest"),
        ({"ratios": (1.0, 1.0)}, "2 ratios and 1 names"),
        ({"ratios": (), "names": ()}, "over the largest"),
        ({"stop_reason": "bored"}, "bored"),
    ],
)
def test_a_curve_that_cannot_be_is_refused(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        LossCurve(**{"lrs": [1.0, 2.0], "losses": [1.0, 1.0], **fields})


@pytest.mark.parametrize("fields", [{"losses": ["high", "low"]}, {"losses": None, "lrs": None}, {"names": "g"}])
def test_a_curve_of_no_numbers_is_a_type_error(fields):
    with pytest.raises((InputTypeError, InputError)):
        LossCurve(**{"lrs": [1.0, 2.0], "losses": [1.0, 1.0], **fields})


def test_the_screen_gets_few_points_and_every_extreme():
    losses = descent(5000, 2.3, 0.5) + noise(0, 5000, 0.05)
    losses[1234], losses[3456] = 40.0, -40.0
    curve = LossCurve.from_arrays(sweep_lrs(5000), losses)
    trace = curve.decimated(600)
    assert 300 < len(trace.steps) <= 600
    assert {0, 1234, 3456, 4999} <= set(trace.steps.tolist())
    assert (np.diff(trace.steps) > 0).all()
    np.testing.assert_array_equal(trace.losses, losses[trace.steps])
    np.testing.assert_array_equal(trace.smoothed, curve.centred[trace.steps])
    assert curve.centred.argmin() in trace.steps


def test_a_short_curve_is_drawn_whole():
    curve = LossCurve.from_arrays(sweep_lrs(100), np.ones(100))
    np.testing.assert_array_equal(curve.decimated(100).lrs, curve.lrs)
    with pytest.raises(InputError, match="at least 6"):
        curve.decimated(5)


@settings(deadline=None)
@given(st.lists(ANY_LOSS, max_size=80), st.integers(6, 40))
def test_decimation_takes_any_losses_within_its_bound(losses, max_points):
    curve = LossCurve(np.arange(1, len(losses) + 1), losses)
    trace = curve.decimated(max_points)
    assert len(trace.steps) <= max_points
    if losses:
        assert trace.steps[0] == 0
        assert trace.steps[-1] == len(losses) - 1


@settings(deadline=None)
@given(st.lists(ANY_LOSS, max_size=30), st.floats(0, 0.999), st.sampled_from(StopReason))
def test_a_curve_survives_its_dict_to_the_last_bit(losses, beta, reason):
    lrs = np.geomspace(1e-9, 3, len(losses))
    curve = LossCurve(lrs, losses, beta, reason, (1 / 3, 1.0), ("köpfe", "nan"), 400, 1.25, "It ended.")
    again = LossCurve.from_dict(curve.to_dict())
    assert again.same_as(curve)
    assert again.lrs.tobytes() == curve.lrs.tobytes()


def test_curves_that_differ_anywhere_are_not_the_same():
    curve = LossCurve.from_arrays([1, 2, 3], [1.0, math.nan, 2.0])
    others = [
        LossCurve.from_arrays([1, 2, 3], [1.0, math.nan, 2.5]),
        LossCurve.from_arrays([1, 2, 3.5], [1.0, math.nan, 2.0]),
        LossCurve.from_arrays([1, 2, 3], [1.0, math.nan, 2.0], given_back=True),
        LossCurve.from_arrays([1, 2], [1.0, math.nan]),
    ]
    assert curve.same_as(LossCurve.from_arrays([1, 2, 3], [1.0, math.nan, 2.0]))
    assert not any(curve.same_as(other) for other in others)


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.pop("losses"),
        lambda plain: plain.update(loses=[1]),
        lambda plain: plain.update(losses=["NaN", 1]),
        lambda plain: plain.update(losses=[True, 1]),
        lambda plain: plain.update(losses=None),
        lambda plain: plain.update(losses=[1]),
        lambda plain: plain.update(num_steps=None),
        lambda plain: plain.update(ratios=3),
        lambda plain: plain.update(stop_reason="bored"),
    ],
)
def test_a_dict_of_something_else_is_a_record_error(change):
    plain = LossCurve.from_arrays([1, 2], [1.0, 2.0]).to_dict()
    change(plain)
    with pytest.raises(RecordError, match="Got"):
        LossCurve.from_dict(plain)


def test_curve_and_suggest_need_neither_torch_nor_the_notebook():
    # Loaded by path: the package's own __init__ may import torch.
    code = """
import importlib.util, pathlib, sys, types
for name in ("lrwidget", "lrwidget.engine"):
    package = types.ModuleType(name)
    package.__path__ = [str(pathlib.Path(*name.split(".")))]
    sys.modules[name] = package
from lrwidget.engine.sweeps.curve import LossCurve
LossCurve.from_arrays([1, 2], [1, 2]).suggest()
print({"torch", "IPython", "ipywidgets", "bqplot", "matplotlib", "traitlets"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("reason", list(StopReason))
def test_every_ending_is_said_in_a_sentence_with_the_steps_it_took(reason):
    note = LossCurve.from_arrays([1e-3, 1e-2], [1.0, 2.0], stop_reason=reason, num_steps=7).note
    assert note.endswith(".")
    assert reason is StopReason.FINISHED or "2 of 7 steps" in note


def test_a_curve_that_still_grows_has_no_ending_and_survives_a_file(tmp_path):
    growing = LossCurve.from_arrays([1e-3, 1e-2], [1.0, 2.0], stop_reason=None)
    assert growing.note == ""
    assert load(growing.save(tmp_path / "curve.json")).same_as(growing)
