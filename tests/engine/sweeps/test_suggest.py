import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwidget.engine.sweeps.curve import LossCurve
from lrwidget.engine.sweeps.local_fits import MAX_BINS, smoother
from lrwidget.engine.sweeps.suggest import Advice, minimum_tenth, steepest, valley

RULES = ("valley", "steepest", "minimum/10")
FELL_AT = 3e-3
ROSE_AT = 0.2


def u_curve(steps=100, sigma=0.0, seed=0, start_lr=1e-7, end_lr=10.0):
    """Losses that fall from 2.3 to 0.5 around `FELL_AT` and blow up beyond `ROSE_AT`."""
    lrs = np.geomspace(start_lr, end_lr, steps)
    fall = 0.5 + 1.8 / (1 + (lrs / FELL_AT) ** 1.2)
    rise = 0.3 * (np.exp(6 * np.maximum(0, np.log10(lrs / ROSE_AT))) - 1)
    return lrs, fall + rise + sigma * np.random.default_rng(seed).normal(size=steps)


def advice_on(lrs, losses):
    return LossCurve.from_arrays(lrs, losses).suggest()


def spread(answers):
    return max(answers) / min(answers)


# What the rules answer


def test_valley_and_steepest_find_the_middle_of_the_descent():
    advice = advice_on(*u_curve())
    assert advice["valley"].lr == pytest.approx(FELL_AT, rel=0.1)
    assert advice["steepest"].lr == pytest.approx(FELL_AT, rel=0.15)


def test_minimum_tenth_stays_below_a_tenth_of_where_the_loss_rises():
    lrs, losses = u_curve()
    bottom = lrs[losses <= 0.5 + 0.1][[0, -1]]
    assert bottom[0] / 10 < advice_on(lrs, losses)["minimum/10"].lr < bottom[1] / 10


def test_valley_of_a_straight_descent_is_its_middle():
    lrs = np.geomspace(1e-6, 1, 200)
    x = np.log10(lrs)
    losses = np.interp(x, [-6, -5, -2, -0.5, 0], [4, 4, 1, 1, 9])
    assert valley(LossCurve.from_arrays(lrs, losses)).lr == pytest.approx(10**-3.5, rel=0.05)


def test_valley_of_two_equal_descents_lies_between_them():
    x = np.linspace(-7, 1, 400)
    losses = np.interp(x, [-7, -6, -5, -3, -2, -1, 1], [4, 4, 3, 3, 2, 2, 40])
    assert valley(LossCurve.from_arrays(10**x, losses)).lr == pytest.approx(1e-4, rel=0.1)


def test_steepest_of_two_descents_takes_the_steeper_one_and_not_their_middle():
    x = np.linspace(-7, 1, 400)
    losses = np.interp(x, [-7, -6, -5, -3, -2.2, -1, 1], [4, 4, 3, 3, 2, 2, 40])
    assert 10**-3 < steepest(LossCurve.from_arrays(10**x, losses)).lr < 10**-2.2


def test_every_rule_alone_answers_as_in_the_advice():
    curve = LossCurve.from_arrays(*u_curve(sigma=0.1))
    advice = curve.suggest()
    assert [advice[name] for name in RULES] == [valley(curve), steepest(curve), minimum_tenth(curve)]


def test_the_smoother_keeps_straight_lines_and_knows_their_slope():
    line = 3.0 - 0.25 * np.arange(40)
    level, slope = smoother(40, 0.05)
    np.testing.assert_allclose(level @ line, line, atol=1e-12)
    np.testing.assert_allclose(slope @ line, -0.25)


# How stable they are


@pytest.mark.parametrize(
    ("sigma", "within"),
    [(0.01, {"valley": 1.05, "steepest": 1.1, "minimum/10": 1.1, "recommended": 1.1}),
     (0.03, {"valley": 1.15, "steepest": 1.2, "minimum/10": 1.3, "recommended": 1.2}),
     (0.1, {"valley": 1.4, "steepest": 1.8, "minimum/10": 1.8, "recommended": 1.7})],
)  # fmt: skip
def test_noise_moves_an_answer_by_no_more_than_this(sigma, within):
    advices = [advice_on(*u_curve(sigma=sigma, seed=seed)) for seed in range(20)]
    for name, factor in within.items():
        assert spread([advice[name].lr for advice in advices]) < factor, name


@pytest.mark.parametrize("name", RULES)
def test_a_little_noise_does_not_move_the_answer_of_a_noiseless_curve(name):
    noiseless = advice_on(*u_curve())[name].lr
    assert advice_on(*u_curve(sigma=0.002))[name].lr == pytest.approx(noiseless, rel=0.15)


@pytest.mark.parametrize("steps", [30, 100, 1000, 10_000])
def test_the_answer_does_not_depend_on_the_number_of_steps(steps):
    advice = advice_on(*u_curve(steps, sigma=0.03))
    assert advice["valley"].lr == pytest.approx(FELL_AT, rel=0.2)
    assert advice["steepest"].lr == pytest.approx(FELL_AT, rel=0.4)


@pytest.mark.parametrize("start_lr", [1e-9, 1e-6])
def test_the_answer_does_not_depend_on_where_the_sweep_starts(start_lr):
    assert advice_on(*u_curve(sigma=0.03, start_lr=start_lr))["valley"].lr == pytest.approx(FELL_AT, rel=0.2)


@pytest.mark.parametrize("name", [*RULES, "recommended"])
@pytest.mark.parametrize(
    "change",
    [lambda y: y - 10, lambda y: 1000 * y, lambda y: 1e-6 * y - 1e-6],
    ids=["shifted", "scaled", "scaled and shifted"],
)
def test_shifted_or_scaled_losses_get_the_same_answers(name, change):
    lrs, losses = u_curve(sigma=0.05, seed=3)
    original, changed = advice_on(lrs, losses)[name], advice_on(lrs, change(losses))[name]
    assert (changed.lr, changed.low, changed.high) == pytest.approx((original.lr, original.low, original.high))


def test_the_band_holds_the_truth_of_a_noisy_curve():
    truth = advice_on(*u_curve(steps=100))["valley"].lr
    advices = [advice_on(*u_curve(sigma=0.2, seed=seed)) for seed in range(20)]
    assert sum(a["valley"].low <= truth <= a["valley"].high for a in advices) >= 14


def test_bands_widen_with_the_noise():
    bands = [advice_on(*u_curve(sigma=sigma, seed=1))["steepest"] for sigma in (0.0, 0.1, 0.4)]
    widths = [band.high / band.low for band in bands]
    assert widths == sorted(widths)
    assert widths[-1] > 1.3 * widths[0]


def test_the_same_curve_gets_the_same_advice_and_the_global_generator_is_left_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    curve = LossCurve.from_arrays(*u_curve(sigma=0.1))
    assert dict(curve.suggest()) == dict(curve.suggest())
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_a_spike_early_in_the_sweep_fools_no_rule():
    lrs, losses = u_curve(sigma=0.03)
    clean = advice_on(lrs, losses)
    losses[[15, 30]] = 40.0, 9.0
    spiked = advice_on(lrs, losses)
    for name in RULES:
        assert spiked[name].lr == pytest.approx(clean[name].lr, rel=0.15)


def test_a_blow_up_of_any_height_moves_nothing():
    lrs, losses = u_curve(sigma=0.03)
    higher = np.where(lrs > 0.5, losses * 1e6, losses)
    for name in RULES:
        assert advice_on(lrs, higher)[name].lr == pytest.approx(advice_on(lrs, losses)[name].lr, rel=0.15)


# When the curve cannot answer


def refused(advice, *words):
    assert all(advice[name].lr is None for name in advice), advice
    for name in advice:
        assert (advice[name].low, advice[name].high) == (None, None)
        for word in words:
            assert word in advice[name].why


def test_an_empty_curve_asks_for_a_sweep():
    refused(advice_on([], []), "no points", "run the sweep")


def test_few_points_ask_for_more_steps():
    refused(advice_on(*u_curve(steps=9)), "9 points", "at least 10", "more steps")


def test_few_points_before_nan_ask_for_a_lower_start():
    lrs, losses = u_curve()
    refused(
        advice_on(lrs, np.where(np.arange(100) < 5, losses, math.nan)),
        "5 points",
        "lower the start (start_lr)",
        "check loss and data",
    )


def test_only_nan_asks_to_look_at_the_loss():
    refused(advice_on(np.geomspace(1e-7, 10, 50), np.full(50, math.nan)), "No loss was finite", "check loss and data")
    assert "start_lr" not in advice_on(np.geomspace(1e-7, 10, 50), np.full(50, math.nan)).recommended.why


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("level", [0.0, 2.3, -4.0])
def test_a_flat_noisy_curve_gets_no_answer(seed, level):
    losses = level + 0.1 * np.random.default_rng(seed).normal(size=100)
    refused(advice_on(np.geomspace(1e-7, 10, 100), losses), "stayed at", "noise", "raise the end (end_lr)")


def test_a_constant_curve_gets_no_answer_and_no_noise_is_told():
    advice = advice_on(np.geomspace(1e-7, 10, 100), np.full(100, 0.3))
    refused(advice, "stayed at 0.3", "raise the end (end_lr)")
    assert "noise" not in advice.recommended.why


def test_a_loss_that_rises_at_once_asks_for_a_lower_start():
    lrs = np.geomspace(1e-2, 10, 100)
    losses = 2.3 + 0.1 * (lrs / 1e-2) ** 2 + 0.05 * np.random.default_rng(0).normal(size=100)
    refused(advice_on(lrs, losses), "never fell before it rose", "lower the start (start_lr)")


def test_a_trained_model_is_told_where_its_loss_rises():
    lrs = np.geomspace(1e-7, 10, 100)
    losses = 0.3 + 0.1 * np.expm1(6 * np.maximum(0, np.log10(lrs / 0.1)))
    advice = advice_on(lrs, losses + 0.05 * np.random.default_rng(0).normal(size=100))
    refused(advice, "trained already", "stay at")


def test_a_loss_that_never_rose_has_a_steepest_point_but_no_minimum():
    advice = advice_on(*u_curve(sigma=0.02, end_lr=3e-2))
    assert advice["steepest"].lr == pytest.approx(FELL_AT, rel=0.4)
    assert advice["minimum/10"].lr is None
    assert "edge of the range" in advice["minimum/10"].why
    assert "still falling" in advice["valley"].why
    assert advice.recommended.rule == "steepest"


def test_a_loss_that_falls_fastest_at_the_end_asks_to_go_on():
    lrs = np.geomspace(1e-7, 1e-3, 100)
    refused(advice_on(lrs, 2.3 - 1000 * lrs), "raise the end (end_lr)")


def test_a_descent_that_levelled_off_is_read_without_a_rise():
    advice = advice_on(*u_curve(sigma=0.02, end_lr=0.15))
    assert advice["valley"].lr == pytest.approx(FELL_AT, rel=0.2)
    assert "edge of the range" in advice["minimum/10"].why


def test_a_loss_that_turned_nan_has_a_minimum():
    lrs, losses = u_curve(sigma=0.02)
    advice = advice_on(lrs, np.where(lrs > ROSE_AT, math.nan, losses))
    assert advice["minimum/10"].lr < ROSE_AT / 10
    assert advice["valley"].lr == pytest.approx(FELL_AT, rel=0.2)


def test_a_single_nan_on_the_way_changes_nothing():
    lrs, losses = u_curve(sigma=0.02)
    losses[20] = math.nan
    assert advice_on(lrs, losses)["valley"].lr == pytest.approx(FELL_AT, rel=0.15)


def test_a_linear_ramp_is_read_too():
    lrs = np.linspace(1e-4, 1, 300)
    losses = 0.5 + 1.8 / (1 + (lrs / 0.05) ** 2)
    assert advice_on(lrs, losses)["valley"].lr == pytest.approx(0.05, rel=0.2)


# The advice


def test_the_recommendation_is_the_middle_answer_and_says_why():
    advice = advice_on(*u_curve(sigma=0.05))
    assert advice.recommended.lr == sorted(advice[name].lr for name in RULES)[1]
    assert advice.recommended.rule in RULES
    assert "the middle of three answers" in advice.recommended.why


def test_a_guess_is_called_a_guess_and_yields_to_steadier_rules():
    curves = [u_curve(sigma=0.7, seed=seed) for seed in range(40)]
    advices = [a for a in (advice_on(*curve) for curve in curves) if a.recommended.lr is not None]
    guesses = [s for a in advices for s in a.values() if s.lr is not None and s.high > 10 * s.low]
    assert guesses
    assert all("a guess" in s.why for s in guesses)
    for advice in advices:
        steady = [advice[n] for n in RULES if advice[n].lr is not None and advice[n].high <= 10 * advice[n].low]
        assert not steady or advice.recommended.lr in [s.lr for s in steady]


def test_advice_is_an_ordered_mapping_that_nobody_can_change():
    advice = advice_on(*u_curve())
    assert isinstance(advice, Advice)
    assert list(advice) == [*RULES, "recommended"]
    with pytest.raises(TypeError):
        advice["valley"] = None
    with pytest.raises(AttributeError):
        advice["valley"].lr = 1.0


def test_advice_reads_as_a_table():
    lines = repr(advice_on(*u_curve(end_lr=3e-2))).splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["rule", "lr", "stable", "within", "why"]
    assert [line.split()[0] for line in lines[1:]] == [*RULES, "recommended"]
    assert "–" in lines[1]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.lists(st.floats(width=64), max_size=40),
        st.lists(st.floats(-5, 5), min_size=10, max_size=MAX_BINS + 40),
        st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1e308, 1e308, 5e-324]), max_size=60),
        st.builds(lambda n, c: [c] * n, st.integers(0, 200), st.floats(allow_nan=False, allow_infinity=False)),
        st.builds(
            lambda n, k: [math.exp(min(k * i - 50, 700)) for i in range(n)], st.integers(0, 150), st.floats(-7, 7)
        ),
    ),
    st.floats(1e-300, 1.0),
    st.floats(1e-6, 4.0),
)
def test_no_curve_makes_a_rule_raise_or_stay_silent(losses, first_lr, decades):
    lrs = first_lr * 10 ** np.linspace(0, decades, len(losses))
    advice = advice_on(lrs, losses)
    repr(advice)
    for suggestion in advice.values():
        assert suggestion.why
        if suggestion.lr is None:
            assert suggestion.low is suggestion.high is None
        else:
            assert 0 < suggestion.low <= suggestion.lr <= suggestion.high < math.inf
            assert suggestion.lr <= lrs[-1] * (1 + 1e-9)
