"""The chart of a run: its losses, its epochs."""

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.state import Phase
from lrwidget.ui.views.runs import RunChart
from tests.ui.hands import press, texts_of
from tests.ui.states import a_history, a_state


@pytest.fixture
def chart() -> RunChart:
    return RunChart()


def test_there_is_nothing_before_the_first_run(chart: RunChart) -> None:
    chart.render(a_state())
    assert chart.view.children == ()
    chart.render(a_state(history=a_history(steps=0)))
    assert chart.view.children == ()


def test_raw_and_smoothed_losses_are_drawn_by_step(chart: RunChart) -> None:
    history = a_history(steps=100)
    chart.render(a_state(history=history))
    train = chart.figure.marks[0]
    np.testing.assert_array_equal(train.y, [history.losses, history.smoothed])
    np.testing.assert_array_equal(train.x, np.arange(1, 101))
    assert chart.figure in chart.view.children


def test_the_axis_is_as_long_as_the_run_will_be(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(steps=100)))
    assert chart.figure.axes[0].scale.max == 200


def test_how_a_run_ended_that_took_no_step_is_said(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(steps=0), run_message="The loss was nan at the first step."))
    assert "The loss was nan" in texts_of(chart.view) and chart.figure not in chart.view.children
    chart.render(a_state(history=a_history(steps=0)))
    assert not chart.view.children


def test_validation_is_drawn_where_epochs_end(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(epochs=3)))
    valid = chart.figure.marks[1]
    assert list(valid.x) == [20, 40, 60]
    assert list(valid.y) == pytest.approx([1.1, 1.0, 1.1])


@pytest.mark.parametrize("epochs", [1, 3])
def test_points_on_the_edge_are_drawn_whole(chart: RunChart, epochs: int) -> None:
    chart.render(a_state(history=a_history(epochs=epochs)))
    assert not chart.figure.marks[1].apply_clip


def test_curves_are_named_in_their_colours_above_the_plot(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(epochs=1)))
    train, valid, *_ = chart.figure.marks
    names = re.findall(r"color: ([^']+)'>&#9473;</b> ([^<&]*?)(?= &|</div>)", chart.view.children[0].value)
    assert names == [
        (train.colors[1], "train, smoothed"),
        (train.colors[0], "every step"),
        (valid.colors[0], "validation"),
    ]
    chart.render(a_state(history=a_history()))
    assert "train" in chart.view.children[0].value and "validation" not in chart.view.children[0].value


def test_what_each_phase_of_the_run_did_can_be_seen(chart: RunChart) -> None:
    plan = one_cycle(1e-3, 200, 2, freeze_steps=40)
    chart.render(a_state(history=replace(a_history(epochs=3), plan=plan)))
    boundaries = [step for step, _ in plan.boundaries()]
    assert [x[0] for x in chart.figure.marks[2].x] == boundaries[1:]
    said = chart.view.children[0].value
    assert re.findall("title='([^']*)'", said) == [name for _, name in plan.boundaries()]
    ends = np.cumsum([float(share) for share in re.findall(r"flex: 0 0 ([\d.]+)%", said)])
    assert ends == pytest.approx([100 * step / 200 for step in (*boundaries[1:], 200)], abs=0.1)


def test_a_run_without_a_plan_has_no_phases(chart: RunChart) -> None:
    chart.render(a_state(history=replace(a_history(), plan=one_cycle(1e-3, 200, 1))))
    chart.render(a_state(history=a_history()))
    assert len(chart.figure.marks[2].x) == 0
    assert "anneal" not in chart.view.children[0].value


def test_how_the_run_ended_stays_below_it_when_the_status_says_something_else(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(), run_message="Trained all <b>.", message="Sweeping."))
    assert "Trained all &lt;b&gt;." in chart.view.children[2].value


def test_numbers_of_the_table_stand_in_columns_on_the_right(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(epochs=1)))
    said = chart.view.children[2].value
    assert "text-align: right" in said and "padding: 2px 0 2px 24px" in said


def test_a_long_run_travels_as_few_points(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(steps=50_000)))
    assert 100 < len(chart.figure.marks[0].x) <= 150  # while it goes on
    chart.render(a_state(history=replace(a_history(steps=50_000), stop_reason=StopReason.FINISHED)))
    assert 300 < len(chart.figure.marks[0].x) <= 600


def test_while_a_run_goes_on_only_its_steps_are_drawn_anew(chart: RunChart) -> None:
    plan = one_cycle(1e-3, 200, 1)
    chart.stream(a_state(history=replace(a_history(steps=40, epochs=1), plan=plan)))
    changes: list[Any] = []
    parts = (*chart.figure.marks, *chart.figure.axes, *(axis.scale for axis in chart.figure.axes), *chart.view.children)
    for part in parts:
        part.observe(changes.append)
    chart.stream(a_state(history=replace(a_history(steps=50, epochs=1), plan=plan)))
    assert len(chart.figure.marks[0].x) == 50
    loss_axis = chart.figure.axes[1]
    assert {change["owner"] for change in changes} <= {chart.figure.marks[0], loss_axis, loss_axis.scale}


def test_the_loss_axis_settles_while_a_run_goes_on_and_fits_when_it_is_over(chart: RunChart) -> None:
    whole = a_history(steps=200)
    loss = chart.figure.axes[1].scale
    ends = []
    for steps in range(2, 201):
        grown = replace(whole, losses=whole.losses[:steps], lrs=whole.lrs[:steps], momentum=whole.momentum[:steps])
        chart.stream(a_state(history=grown))
        assert loss.min <= grown.losses.min() and grown.losses.max() <= loss.max
        ends.append((loss.min, loss.max))
    assert len(set(ends)) <= 12
    chart.render(a_state(history=replace(whole, stop_reason=StopReason.FINISHED)))
    assert (loss.min, loss.max) == (pytest.approx(1, abs=0.06), pytest.approx(2, abs=0.06))


def test_an_epoch_that_ends_while_a_run_goes_on_is_drawn_with_its_numbers(chart: RunChart) -> None:
    plan = one_cycle(1e-3, 200, 1)
    chart.stream(a_state(history=replace(a_history(steps=40, epochs=1), plan=plan)))
    chart.stream(a_state(history=replace(a_history(steps=45, epochs=2), plan=plan)))
    assert list(chart.figure.marks[1].x) == [20, 40]
    assert chart.view.children[2].value.count("<tr") == 3


def test_a_run_that_follows_another_begins_anew(chart: RunChart) -> None:
    chart.render(a_state(history=replace(a_history(steps=100, epochs=2), plan=one_cycle(1e-3, 200, 1))))
    chart.stream(a_state(history=replace(a_history(steps=5), total_steps=500, plan=one_cycle(1e-3, 500, 1))))
    assert chart.figure.axes[0].scale.max == 500
    assert len(chart.figure.marks[1].x) == 0 and "<tr" not in chart.view.children[2].value


def test_a_run_that_blew_up_still_has_an_axis(chart: RunChart) -> None:
    history = a_history(steps=50)
    losses = history.losses.copy()
    losses[30:] = np.nan
    object.__setattr__(history, "losses", losses)
    chart.render(a_state(history=history))
    scale = chart.figure.axes[1].scale
    assert np.isfinite([scale.min, scale.max]).all() and scale.min < scale.max


def a_run_of(losses: Any, **fields: Any) -> History:
    """A run of so many planned steps, as far as it has come."""
    losses = np.asarray(losses, dtype=float)
    of_steps = {"lrs": np.full((len(losses), 1), 1e-3), "momentum": np.full((len(losses), 1), np.nan)}
    return replace(a_history(steps=0), losses=losses, **of_steps, **{"total_steps": len(losses), **fields})


EXPLODING = np.concatenate([np.linspace(2.3, 0.8, 50), 0.8 * 1.7 ** np.arange(1, 151)])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_that_diverges_keeps_what_it_fell_through_in_sight(chart: RunChart, streamed: bool) -> None:
    loss = chart.figure.axes[1].scale
    for steps in range(1, 201) if streamed else ():
        chart.stream(a_state(history=a_run_of(EXPLODING[:steps], total_steps=200)))
        assert 0 <= loss.min and loss.max < 10
    chart.render(a_state(history=a_run_of(EXPLODING, stop_reason=StopReason.NOT_FINITE)))
    assert 0 <= loss.min < 0.8 and 2.3 < loss.max < 8
    assert all(0 <= tick <= 8 for tick in chart.figure.axes[1].tick_values)
    drawn = chart.figure.marks[0].y
    assert drawn.max() > 2 * loss.max, "the line leaves the plot"
    assert drawn.max() < 1e6, "no browser draws to where the loss was"


def test_validation_that_is_higher_than_the_axis_is_marked_at_its_end_and_no_point_of_the_line(chart: RunChart) -> None:
    epochs = [
        EpochPoint(epoch=n, step=20 * n, train_loss=1.0, valid_loss=loss, metrics={})
        for n, loss in enumerate((2.2, 1.4, 1e5, 1e9), 1)
    ]
    chart.render(a_state(history=a_run_of(EXPLODING, epochs=tuple(epochs), stop_reason=StopReason.NOT_FINITE)))
    loss = chart.figure.axes[1].scale
    valid, above = chart.figure.marks[1], chart.figure.marks[3]
    assert (valid.x.tolist(), valid.y.tolist()) == ([20, 40], [2.2, 1.4])
    assert (above.x.tolist(), above.y.tolist()) == ([60, 80], [loss.max, loss.max])
    assert "beyond the axis" in chart.view.children[0].value
    assert "<td>1e+09</td>" in chart.view.children[2].value
    chart.render(a_state(history=a_run_of(EXPLODING[:45], epochs=tuple(epochs[:2]))))
    assert (valid.y.tolist(), above.x.tolist()) == ([2.2, 1.4], [])


@pytest.mark.parametrize("seed", range(5))
def test_the_axis_holds_still_in_the_first_steps_of_a_run(chart: RunChart, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.1, 400)
    losses = 0.3 + 1.1 * np.exp(-np.arange(400) / 100) + noise * np.exp(-np.arange(400) / 200)
    loss, ends = chart.figure.axes[1].scale, []
    for steps in range(1, 41):
        chart.stream(a_state(history=a_run_of(losses[:steps], total_steps=400)))
        ends.append((loss.min, loss.max))
    assert len(set(ends)) <= 6
    first = ends[:19]
    assert all(after[0] <= before[0] and before[1] <= after[1] for before, after in itertools.pairwise(first))


def test_the_axis_of_a_run_that_hardly_moves_holds_still(chart: RunChart) -> None:
    losses = 2.3 - 0.02 * np.arange(60) / 60 + 0.01 * np.random.default_rng(0).normal(size=60)
    loss, ends = chart.figure.axes[1].scale, set()
    for steps in range(1, 61):
        chart.stream(a_state(history=a_run_of(losses[:steps], total_steps=400)))
        ends.add((loss.min, loss.max))
    assert len(ends) == 1


def test_a_run_of_one_step_can_be_seen(chart: RunChart) -> None:
    chart.render(a_state(history=a_run_of([2.3], stop_reason=StopReason.FINISHED)))
    train, steps = chart.figure.marks[0], chart.figure.axes[0]
    assert train.x.tolist() == [0, 1] and train.y.tolist() == [[2.3, 2.3]] * 2
    assert (steps.scale.max, steps.tick_values.tolist()) == (1, [0, 1])


def test_without_validation_the_table_has_no_column_for_it(chart: RunChart) -> None:
    unmeasured = replace(a_history(epochs=1).epochs[0], valid_loss=None)
    chart.render(a_state(history=replace(a_history(), epochs=(unmeasured,))))
    table = chart.view.children[2].value
    assert re.findall("<th>(.*?)</th>", table) == ["epoch", "train loss"]
    assert re.findall("<td>(.*?)</td>", table) == ["1", "1.5"]
    chart.render(a_state(history=replace(a_history(), epochs=(unmeasured, a_history(epochs=2).epochs[1]))))
    table = chart.view.children[2].value
    assert re.findall("<th>(.*?)</th>", table) == ["epoch", "train loss", "valid loss"]
    assert re.findall("<td>(.*?)</td>", table)[:3] == ["1", "1.5", "–"]


@pytest.mark.parametrize(
    ("ends", "steps", "reason", "said"),
    [
        ((16, 32, 48), 48, StopReason.FINISHED, None),
        ((16, 32, 48), 48, StopReason.STOPPED, None),
        ((16, 32, 33), 33, StopReason.STOPPED, "1 step only"),
        ((16, 32, 35), 35, StopReason.FINISHED, "3 steps only"),
        ((7,), 7, StopReason.STOPPED, "7 steps only"),
        ((7,), 7, None, None),
        ((22,), 38, StopReason.FAILED, None),
    ],
)
def test_a_last_epoch_that_is_not_whole_says_so(
    chart: RunChart, ends: tuple[int, ...], steps: int, reason: StopReason | None, said: str | None
) -> None:
    points = [
        EpochPoint(epoch=n, step=end, train_loss=1.5, valid_loss=None, metrics={}) for n, end in enumerate(ends, 1)
    ]
    chart.render(a_state(history=replace(a_history(steps=steps), epochs=tuple(points), stop_reason=reason)))
    *rows, last = chart.view.children[2].value.split("<tr")[2:]
    assert re.findall(r"<td>([^<]* only)</td>", last) == ([said] if said else [])
    assert not any("only" in row for row in rows)


def test_the_table_has_every_epoch_and_the_best_one_bold(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(epochs=3, accuracy=0.75)))
    rows = chart.view.children[2].value.split("<tr")[2:]
    assert len(rows) == 3
    assert ["lrw-best" in row for row in rows] == [False, True, False]
    assert all("<td>0.75</td>" in row for row in rows)


def test_of_many_epochs_the_best_one_is_in_sight_with_the_newest(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(epochs=12)))
    table = chart.view.children[2].value
    assert re.findall(r"<tr[^>]*><td>(\d+)</td>", table) == [str(epoch) for epoch in range(1, 13)]
    assert re.findall(r"<tr class='lrw-best'><td>(\d+)</td>", table) == ["2"]
    assert "column-reverse" in table and re.search(r"\.lrw-best {[^}]*position: sticky", table)


@pytest.mark.parametrize(
    ("epochs", "ended", "offered"),
    [
        (3, StopReason.FINISHED, True),
        (3, StopReason.STOPPED, True),
        (2, StopReason.FINISHED, False),
        (2, StopReason.NOT_FINITE, True),
        (0, StopReason.NOT_FINITE, False),
        (3, None, False),
    ],
)
def test_the_best_weights_can_be_had_after_a_run_that_went_on_from_them(
    epochs: int, ended: StopReason | None, offered: bool
) -> None:
    told: list[str] = []
    chart = RunChart(on_restore=lambda: told.append("restore"))
    history = replace(a_history(epochs=epochs), stop_reason=ended)
    chart.render(a_state(history=history, keeps_best=True))
    assert (chart.restore in chart.view.children) == offered
    if offered:
        assert "epoch 2" in chart.restore.tooltip and not chart.restore.disabled
        press(chart.restore)
        assert told == ["restore"]
    chart.render(a_state(history=history))
    assert chart.restore not in chart.view.children


def test_the_best_weights_wait_while_something_runs(chart: RunChart) -> None:
    history = replace(a_history(epochs=3), stop_reason=StopReason.FINISHED)
    chart.render(a_state(history=history, keeps_best=True, phase=Phase.SWEEPING))
    assert chart.restore in chart.view.children and chart.restore.disabled
    chart.render(a_state(history=history, keeps_best=True, phase=Phase.TRAINING))
    assert chart.restore not in chart.view.children


def test_names_of_metrics_are_escaped(chart: RunChart) -> None:
    chart.render(a_state(history=a_history(epochs=1, **{"<script>": 1.0})))
    assert "&lt;script&gt;" in chart.view.children[2].value
    assert "<script>" not in chart.view.children[2].value


def test_closing_closes_the_figure_though_it_was_never_shown(chart: RunChart) -> None:
    chart.close()
    assert chart.figure.comm is None
