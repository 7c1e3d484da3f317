"""A history is what a run did, to the last bit, in memory and in a file."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lrwidget.engine.errors import RecordError
from lrwidget.engine.plans.plan import fine_tune_plan, one_cycle
from lrwidget.engine.record import load
from lrwidget.engine.runs.fit import fine_tune, fit
from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.sweeps.curve import StopReason
from tests.engine.zoo import adam, loader, net


def history(**changes: Any) -> History:
    fields: dict[str, Any] = {
        "losses": [3.0, math.nan, -math.inf, 1.0],
        "lrs": np.arange(8.0).reshape(4, 2),
        "momentum": np.full((4, 2), math.nan),
        "epochs": (
            EpochPoint(epoch=1, step=2, train_loss=2.0, valid_loss=0.7, metrics={"accuracy": 0.5}),
            EpochPoint(epoch=2, step=4, train_loss=1.0, valid_loss=math.nan, metrics={"accuracy": math.nan}),
            EpochPoint(epoch=3, step=4, train_loss=math.inf, valid_loss=0.5, metrics={}),
            EpochPoint(epoch=4, step=4, train_loss=1.0, valid_loss=None, metrics={}),
        ),
        "names": ("body", "head"),
        "total_steps": 10,
        "stop_reason": StopReason.STOPPED,
        "seconds": 1.25,
        "note": "Stopped after 4 of 10 steps.",
    }
    return History(**{**fields, **changes})


def same(a: History, b: History) -> bool:
    def plain(it: History) -> str:
        return repr(it.to_dict())

    return plain(a) == plain(b)


def test_the_best_epoch_has_the_lowest_finite_validation_loss() -> None:
    best = history().best_epoch
    assert best is not None
    assert best.epoch == 3
    assert history(epochs=()).best_epoch is None


def test_a_history_survives_a_file_to_the_last_bit(tmp_path: Path) -> None:
    before = history(losses=[0.1 + 0.2, math.nan, math.inf, -0.0])
    after = load(before.save(tmp_path / "run.json"))
    assert isinstance(after, History)
    assert same(before, after)
    assert after.losses.tobytes() == before.losses.tobytes()
    assert after.lrs.tobytes() == before.lrs.tobytes()


def test_an_empty_history_survives_a_file_too(tmp_path: Path) -> None:
    before = history(losses=[], lrs=np.empty((0, 2)), momentum=np.empty((0, 2)), epochs=(), stop_reason=None)
    after = load(before.save(tmp_path / "run.json"))
    assert same(before, after)
    assert after.lrs.shape == (0, 2)


def test_a_real_run_survives_a_file(tmp_path: Path) -> None:
    model = net()
    optimizer = adam(model)
    run = fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 7, optimizer), valid_dl=loader(16))
    assert same(run, load(run.save(tmp_path / "run.json")))


def test_a_group_that_was_added_on_the_way_has_no_lr_before(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model[2:].parameters(), lr=0.1)
    history = fit(
        model,
        optimizer,
        loader(),
        F.cross_entropy,
        fine_tune_plan(0.1, 12, 6, optimizer),
        on_epoch=lambda epoch: (
            optimizer.add_param_group({"params": model[:2].parameters(), "lr": 0.01, "name": "body"})
            if epoch.epoch == 1
            else None
        ),
    )
    assert same(history, load(history.save(tmp_path / "run.json")))
    rows = list(csv.DictReader(history.to_csv(tmp_path / "run.csv").read_text().splitlines()))
    assert [row["lr body"] for row in rows[:6]] == [""] * 6
    assert [float(row["lr body"]) for row in rows[6:]] == history.lrs[6:, 1].tolist()
    first, second = history.stages
    body = history.lrs[6:, 1]
    assert np.isnan(first.lrs[1]).all() and second.lrs[1] == (body[0], body.max(), body[-1])
    assert history.table().count("    body: lr ") == 1
    history.plot().draw_without_rendering()


def test_arrays_are_read_only() -> None:
    it = history()
    for array in (it.losses, it.lrs, it.momentum):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


@pytest.mark.parametrize(("steps", "lag"), [(22, 1), (100, 5), (500, 10), (1000, 20), (10_000, 200)])
def test_the_smoothed_loss_lags_by_a_fiftieth_of_a_long_run_and_by_a_twentieth_of_a_short_one(
    steps: int, lag: int
) -> None:
    def smoothed(losses: Any) -> Any:
        none = np.full((steps, 2), 1e-3)
        return history(losses=losses, lrs=none, momentum=none, total_steps=steps).smoothed

    assert 0 <= smoothed(np.arange(steps, 0.0, -1.0))[-1] - 1.0 <= lag
    if lag >= 10:
        assert smoothed(np.random.default_rng(0).standard_normal(steps))[20:].std() < 0.3


def test_the_smoothed_loss_follows_the_losses() -> None:
    it = history(losses=np.linspace(2, 1, 4), total_steps=4)
    assert it.smoothed.tolist() == pytest.approx(it.losses.tolist())
    assert len(it) == 4


@pytest.mark.parametrize(
    "damage", [lambda d: d.pop("note"), lambda d: d.update(more=1), lambda d: d.update(epochs=[{}])]
)
def test_a_damaged_record_is_refused(damage: Any) -> None:
    plain = history().to_dict()
    damage(plain)
    with pytest.raises(RecordError, match=r"^Got a history"):
        History.from_dict(plain)


def test_a_history_does_not_hold_on_to_the_model() -> None:
    import gc
    import weakref

    model = net()
    optimizer = adam(model)
    run = fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 3, optimizer))
    gone = weakref.ref(model[0].weight)
    del model, optimizer
    gc.collect()
    assert gone() is None
    assert len(run) == 3
    assert isinstance(run.losses, np.ndarray)
    assert not isinstance(run.losses, torch.Tensor)


# What each stage came to ----------------------------------------------------------------------------------------------


def fine_tuned(**options: Any) -> tuple[torch.nn.Sequential, History]:
    model = net()
    groups = [
        {"params": model[:2].parameters(), "name": "body, first"},
        {"params": model[4].parameters(), "name": "head"},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    options = {"epochs": 2, "base_lr": 0.1, "valid_dl": loader(16), **options}
    return model, fine_tune(model, optimizer, loader(), F.cross_entropy, **options)


def test_a_history_tells_which_layers_are_in_which_group_and_what_each_cycle_did() -> None:
    _, it = fine_tuned()
    assert it.layers == (("0", "1"), ("4",))
    frozen, free = it.stages
    assert (frozen.first, frozen.steps, frozen.planned, frozen.frozen) == (0, 6, 6, ("body, first",))
    assert (free.first, free.steps, free.planned, free.frozen) == (6, 12, 12, ())
    assert free.lrs[1] == (it.lrs[6, 1], it.lrs[6:, 1].max(), it.lrs[-1, 1])
    assert frozen.first_loss == it.losses[0]
    assert free.last_loss == it.losses[-1]


def test_a_stage_that_was_stopped_or_never_begun_says_so() -> None:
    points: list[Any] = []
    _, it = fine_tuned(on_step=points.append, should_stop=lambda: len(points) == 4)
    (only,) = it.stages
    assert (only.steps, only.planned) == (4, 6)
    assert history().stages == ()


def test_the_table_tells_groups_stages_and_epochs() -> None:
    _, it = fine_tuned()
    lines = it.table().splitlines()
    assert lines[:3] == ["Trained all 18 steps.", "group body, first: 0, 1", "group head: 4"]
    assert lines[3].startswith("steps 0 to 5, frozen: body, first (norm layers train), loss ")
    assert lines[6].startswith("steps 6 to 17, loss ")
    assert lines[-1].startswith("epoch 3, step 18: train ") and ", accuracy " in lines[-1]
    assert "frozen: body, first, loss" in fine_tuned(train_norms=False)[1].table()
    assert history().table().splitlines()[0] == "Stopped after 4 of 10 steps."


def test_a_csv_has_every_step_to_the_last_bit_and_every_epoch_at_its_last_step(tmp_path: Path) -> None:
    _, it = fine_tuned()
    path = it.to_csv(tmp_path / "run.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(18))
    assert [row["epoch"] for row in rows] == ["1"] * 6 + ["2"] * 6 + ["3"] * 6
    assert [row["cycle"] for row in rows] == ["1"] * 6 + ["2"] * 12
    assert [float(row["loss"]) for row in rows] == it.losses.tolist()
    for group, name in enumerate(("body, first", "head")):
        assert [float(row[f"lr {name}"]) for row in rows] == it.lrs[:, group].tolist()
        assert [float(row[f"momentum {name}"]) for row in rows] == it.momentum[:, group].tolist()
    ends = [row for row in rows if row["valid_loss"]]
    assert [int(row["step"]) + 1 for row in ends] == [epoch.step for epoch in it.epochs]
    assert [float(row["valid_loss"]) for row in ends] == [epoch.valid_loss for epoch in it.epochs]
    assert [float(row["accuracy"]) for row in ends] == [epoch.metrics["accuracy"] for epoch in it.epochs]


def test_a_metric_with_the_name_of_another_column_has_its_own(tmp_path: Path) -> None:
    metrics = {"valid_loss": 0.1, "metric valid_loss": 0.2, "step": 0.3, "lr head": 0.4, "accuracy": 0.5, "valid": 0.6}
    it = history(epochs=(EpochPoint(epoch=1, step=4, train_loss=2.0, valid_loss=0.7, metrics=metrics),))
    with it.to_csv(tmp_path / "run.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert len(set(header)) == len(header)
    last = dict(zip(header, rows[-1], strict=True))
    assert [last[name] for name in ("step", "lr head", "train_loss", "valid_loss")] == ["3", "7.0", "2.0", "0.7"]
    assert (last["metric metric valid_loss"], last["metric valid_loss"]) == ("0.1", "0.2")
    assert (last["metric step"], last["metric lr head"], last["accuracy"]) == ("0.3", "0.4", "0.5")
    assert it.table().endswith(
        "train 2, valid 0.7, valid_loss 0.1, metric valid_loss 0.2, step 0.3, lr head 0.4, "
        "accuracy 0.5, metric valid 0.6"
    )


def test_a_csv_of_any_history_can_be_read(tmp_path: Path) -> None:
    with history().to_csv(tmp_path / "run.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows] == ["3.0", "nan", "-inf", "1.0"]
    assert all(row["momentum body"] == "" for row in rows)
    empty = history(losses=[], lrs=np.empty((0, 2)), momentum=np.empty((0, 2)), epochs=())
    assert len(empty.to_csv(tmp_path / "empty.csv").read_text().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.csv", "run.csv"]


def test_the_plan_and_the_layers_survive_a_file(tmp_path: Path) -> None:
    _, it = fine_tuned()
    again = load(it.save(tmp_path / "run.json"))
    assert (again.plan, again.layers, again.stages) == (it.plan, it.layers, it.stages)
    assert again.plan is not None


def test_a_run_is_drawn_with_the_lrs_the_momentum_and_the_phases_that_it_had() -> None:
    _, it = fine_tuned()
    losses, lrs, momentum = it.plot().axes
    for group in range(2):
        assert lrs.get_lines()[group].get_ydata().tolist() == it.lrs[:, group].tolist()
    assert [text.get_text() for text in lrs.get_legend().get_texts()] == list(it.names)
    assert momentum.get_lines()[0].get_ydata().tolist() == it.momentum[:, 0].tolist()
    assert losses.texts[0].get_text().strip().startswith("frozen")
    boundaries = [line.get_xdata()[0] for line in lrs.get_lines()[2:]]
    assert boundaries == [begin for begin, _ in fine_tune_plan(0.1, 12, 6, 2).boundaries()[1:]]
    assert len(history().plot().axes) == 1, "without its plan a run is drawn as before"
