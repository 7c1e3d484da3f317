"""How curves and numbers look."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.sweeps.curve import LossCurve, StopReason, Trace
from lrwidget.engine.sweeps.suggest import Advice, Suggestion
from lrwidget.engine.words import format_lr
from lrwidget.look.axes import with_peak
from lrwidget.look.colors import GROUP_COLORS, group_color
from lrwidget.look.losses import has_diverged, loss_range, run_range
from lrwidget.look.markers import fastest
from lrwidget.look.schedule import lr_range, phase_names, plan_steps
from lrwidget.look.suggestions import reasons, rows_of


def trace(smoothed: list[float], losses: list[float] | None = None) -> Trace:
    steps = np.arange(len(smoothed))
    raw = np.array(smoothed if losses is None else losses, dtype=float)
    return Trace(steps, np.geomspace(1e-7, 10, len(smoothed)), raw, np.array(smoothed, dtype=float))


def test_a_falling_curve_has_no_diverged_part() -> None:
    found = loss_range(trace([3, 2.5, 2, 1.5, 1]), True)
    assert found is not None
    assert found.tail == 5 and found.low < 1 and found.high > 3


def test_the_diverged_part_begins_above_all_that_came_before() -> None:
    found = loss_range(trace([3, 3, 2, 1, 2, 3, 9, 99]), True)
    assert found is not None
    assert found.tail == 6
    assert 3 < found.high < 9


def test_a_rise_that_did_not_end_the_sweep_is_shown_whole_unless_it_dwarfs_the_fall() -> None:
    moderate = loss_range(trace([3, 3, 2, 1, 2, 3, 6]), False)
    assert moderate is not None
    assert moderate.tail == 7 and moderate.high > 6
    huge = loss_range(trace([3, 3, 2, 1, 2, 3, 9, 99]), False)
    assert huge is not None
    assert huge.tail == 8 and huge.high < 9
    running = loss_range(trace([3, 3, 2, 1, 2, 3, 6]), None)
    assert running is not None
    assert running.tail == 7 and running.high < 6


@pytest.mark.parametrize(
    ("reason", "diverged"),
    [("diverged", True), ("not_finite", True), ("finished", False), ("stopped", False), (None, None)],
)
def test_only_the_sweep_says_that_it_diverged(reason: StopReason | None, diverged: bool | None) -> None:
    assert has_diverged(LossCurve([1e-3, 1e-2], [1.0, 2.0], stop_reason=reason)) is diverged


@given(st.floats(1e-12, 1e6))
def test_a_written_lr_is_the_lr_to_two_digits_and_short(lr: float) -> None:
    text = format_lr(lr)
    assert float(text) == float(f"{lr:.1e}")
    assert len(text) <= 7 and "e-0" not in text and "+" not in text


def test_suggestions_share_a_row_only_when_they_do_not_touch() -> None:
    assert rows_of([(1e-4, 1e-3), (5e-4, 2e-3), (1e-3, 3e-3)]) == [0, 1, 0]
    assert rows_of([]) == []


def test_a_tick_at_the_peak_takes_the_place_of_near_ones() -> None:
    assert with_peak([0, 0.005, 0.01], 0.00999, lambda a, b: (a - b) / 0.012) == [0, 0.005, 0.00999]


def test_schedules_that_end_at_nothing_leave_a_finite_log_axis() -> None:
    low, high = lr_range(np.array([[1e-4, 1e-2], [0.0, 0.0]]), True)
    assert 0 < low < 1e-4 and high == 1e-2


def test_reasons_that_are_the_same_are_told_once() -> None:
    said = {"valley": "flat", "steepest": "flat", "minimum/10": "never rose", "recommended": "flat"}
    advice = Advice({rule: Suggestion(rule, None, None, None, why) for rule, why in said.items()})
    assert reasons(advice) == [("valley, steepest", None, "flat"), ("minimum/10", None, "never rose")]


def test_noise_at_the_start_is_no_divergence() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 30)
    found = loss_range(trace((5 + 0.1 * noise).tolist(), (5 + noise).tolist()), True)
    assert found is not None
    assert found.tail == 30


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("points", [100, 3000])
def test_the_diverged_part_of_a_sweep_begins_where_its_losses_rise_above_their_start(points: int, seed: int) -> None:
    lrs = np.geomspace(1e-7, 10, points)
    truth = 0.5 + 1.8 / (1 + (lrs / 3e-3) ** 1.2) + 0.3 * np.expm1(6 * np.maximum(0, np.log10(lrs / 0.2)))
    rose_at = lrs[int(np.flatnonzero(truth > 2.3)[0])]
    noise = 0.05 * np.random.default_rng(seed).standard_normal(points)
    found = loss_range(shown := LossCurve(lrs, truth + noise, stop_reason="diverged").decimated(), True)
    assert found is not None
    assert rose_at <= shown.lrs[found.tail] < 1.5 * rose_at


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_ends_the_part_that_counts(bad: float) -> None:
    found = loss_range(trace([3, 2, 1, bad, bad]), True)
    assert found is not None
    assert found.tail == 3 and np.isfinite([found.low, found.high]).all()
    assert loss_range(trace([bad, bad]), True) is None


def test_negative_losses_have_a_range_as_any_other() -> None:
    up, down = (
        loss_range(trace([3, 3, 2, 1, 2, 3, 9]), True),
        loss_range(trace([-97, -97, -98, -99, -98, -97, -91]), True),
    )
    assert up is not None and down is not None
    assert (down.low + 100, down.high + 100, down.tail) == pytest.approx((up.low, up.high, up.tail))


def test_a_flat_curve_has_a_range_with_room() -> None:
    for level in (0.0, 2.0):
        found = loss_range(trace([level] * 5), True)
        assert found is not None
        assert found.low < level < found.high


NONE = np.array([])


def range_of(losses: object, valid: object = NONE) -> tuple[float, float]:
    """The range of a run whose losses are as smooth as can be."""
    losses = np.asarray(losses, dtype=float)
    return run_range(losses, losses, np.asarray(valid, dtype=float))


@pytest.mark.parametrize(
    ("losses", "at_least", "at_most"),
    [
        (np.concatenate([np.linspace(2.3, 0.8, 50), np.geomspace(0.8, 1e36, 150)]), 2.3, 6),
        (np.concatenate([np.linspace(2.3, 0.8, 50), np.full(150, 1e36)]), 2.3, 6),
        (np.geomspace(2.3, 1e36, 150), 2.3, 9),
        (np.concatenate([np.full(50, 2.3), [np.inf, np.nan]]), 2.3, 3),
        (np.concatenate([np.linspace(2.3, 2, 30), np.geomspace(2, 1e4, 10), np.linspace(2, 1, 60)]), 2.3, 6),
        (np.concatenate([[-3, -5], np.geomspace(1, 1e36, 98)]), -3, 3),
    ],
    ids=["after a fall", "at once", "from the start", "not finite", "and comes back", "from below zero"],
)
def test_of_a_run_that_explodes_the_range_shows_what_it_fell_through(
    losses: list[float], at_least: float, at_most: float
) -> None:
    for steps in range(1, len(losses) + 1):
        low, high = range_of(losses[:steps])
        assert low <= np.nanmin(losses[:steps]) and losses[0] <= high <= at_most
    assert high >= at_least


@pytest.mark.parametrize(
    "losses",
    [
        np.linspace(0.5, 0.9, 100),
        np.concatenate([np.linspace(2, 1, 50), np.linspace(1, 3.5, 50)]),
        np.concatenate([[100.0], np.linspace(3, 1, 50)]),
        np.concatenate([np.linspace(-1, -2, 50), np.linspace(-2, 0.5, 50)]),
        np.concatenate([[0.0], np.linspace(0, 3, 50)]),
    ],
    ids=["a little up", "above its beginning", "a steep fall", "from below zero", "from nothing"],
)
def test_a_run_that_rises_moderately_is_shown_whole(losses: list[float]) -> None:
    low, high = range_of(losses)
    assert low <= min(losses) and max(losses) <= high


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_a_run_is_no_rise_however_low_it_began(seed: int) -> None:
    losses = np.exp(np.random.default_rng(seed).normal(0, 0.8, 400))
    losses[0] = 0.01
    smoothed = np.convolve(losses, np.full(20, 1 / 20))[:400]
    _, high = run_range(losses, smoothed, NONE)
    assert (smoothed[20:] <= high).mean() > 0.95 and (losses <= high).mean() > 0.9


def test_losses_that_are_never_negative_have_no_negative_range() -> None:
    assert range_of([1.0, 0.5, 0.01])[0] == 0
    assert range_of([0.0, 0.0])[0] == 0
    assert range_of([1.0, -0.5])[0] < -0.5


@pytest.mark.parametrize(
    ("losses", "valid", "shown"),
    [
        ([2.3, 1.5, 1.0], [4.0, 1.2], 4.0),
        ([0.01, 0.01, 0.005], [0.6, 0.65], 0.65),
        ([2.3, 1.5, 0.1], [1.0, 1.0, 5.0], 5.0),
    ],
    ids=["the first epochs'", "of a model that knows its training data", "of one that comes to know it"],
)
def test_validation_loss_is_part_of_the_range(losses: list[float], valid: list[float], shown: float) -> None:
    assert range_of(losses, valid)[1] >= shown


@pytest.mark.parametrize(
    ("losses", "valid"),
    [
        (np.geomspace(2.3, 1e36, 100), [1e3, 1e30]),
        (np.geomspace(2.3, 1e36, 100), [20.0, 1e30]),
        ([2.3, 1.5, 1.0], [1.4, 1e30]),
        ([2.3, 1.5, 1.0], [1e30, 1.4]),
    ],
    ids=["with the training", "begun moderately", "late", "at first"],
)
def test_validation_that_explodes_is_not(losses: list[float], valid: list[float]) -> None:
    assert range_of(losses, valid)[1] < 12


def test_colours_of_groups_are_distinct_and_come_round() -> None:
    assert len(set(GROUP_COLORS)) == len(GROUP_COLORS)
    assert group_color(len(GROUP_COLORS)) == group_color(0)


def test_of_equal_groups_the_last_is_the_fastest() -> None:
    assert fastest((1e-3, 1e-3)) == 1
    assert fastest((1e-3, 1e-4)) == 0


def test_phases_without_room_are_not_named() -> None:
    plan = one_cycle(1e-3, 1000, 2, freeze_steps=30)
    assert "warm-up" in [name for _, name in phase_names(plan)]
    assert not any("frozen" in name for _, name in phase_names(plan))


@pytest.mark.parametrize("steps", [1, 20, 56, 66, 150])
def test_every_step_of_a_short_plan_is_drawn(steps: int) -> None:
    plan = one_cycle(1e-3, steps, 2)
    assert plan_steps(plan, 200).tolist() == list(range(max(2, steps)))


def test_of_a_long_plan_so_many_steps_are_drawn_and_all_its_corners() -> None:
    plan = one_cycle(1e-3, 10_000, 2)
    drawn = plan_steps(plan, 200).tolist()
    assert 150 < len(drawn) <= 200 and {0, 2999, 3000, 9999} <= set(drawn)
