"""A run trains with exactly its plan, validates without a trace, and ends where it says."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lrwidget.engine.errors import BusyError, InputError, InputTypeError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import PRESETS, one_cycle
from lrwidget.engine.runs.fit import Run, fine_tune, fit, resume, steps_per_epoch
from lrwidget.engine.runs.validate import validate
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.sweeps.sweep import Sweep, SweepConfig
from tests.engine.oracle import changes, of_everything
from tests.engine.runs.looks import Looks
from tests.engine.zoo import Augmented, Stream, adam, classification, loader, net


def watch(optimizer: torch.optim.Optimizer) -> tuple[list[list[float]], list[list[float]]]:
    """The LRs and momenta with which the optimizer really steps."""
    lrs: list[list[float]] = []
    momenta: list[list[float]] = []

    def before_step(it: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        lrs.append([float(group["lr"]) for group in it.param_groups])
        momenta.append([float(g["betas"][0] if "betas" in g else g["momentum"]) for g in it.param_groups])

    optimizer.register_step_pre_hook(before_step)
    return lrs, momenta


# The plan -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_every_step_is_taken_with_the_lrs_and_momenta_of_the_plan(preset: str, kind: Any) -> None:
    model = net()
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(
        [{"params": model[:2].parameters(), "lr": 1e-3}, {"params": model[2:].parameters(), "lr": 1e-2}], **options
    )
    lrs, momenta = watch(optimizer)
    plan = one_cycle(slice(1e-4, 1e-2), 14, optimizer, preset=preset)
    history = fit(model, optimizer, loader(), F.cross_entropy, plan)
    steps = np.arange(14)
    assert np.array_equal(lrs, plan.lr_at(steps))
    assert np.array_equal(history.lrs, plan.lr_at(steps))
    planned = plan.momentum_at(steps)
    assert np.array_equal(momenta, np.where(np.isnan(planned), 0.9, planned))
    assert history.stop_reason is StopReason.FINISHED


def test_groups_that_share_one_lr_tensor_get_each_their_own_lr() -> None:
    model = net()
    groups = [{"params": model[:2].parameters()}, {"params": model[2:].parameters()}]
    optimizer = torch.optim.AdamW(groups, lr=torch.tensor(1e-3))
    lrs, _ = watch(optimizer)
    plan = one_cycle((1e-4, 1e-2), 6, optimizer)
    fit(model, optimizer, loader(), F.cross_entropy, plan)
    np.testing.assert_allclose(lrs, plan.lr_at(np.arange(6)), rtol=1e-6)


def test_a_run_is_the_plain_loop_with_the_plans_scheduler_to_the_bit() -> None:
    def trained(by_hand: bool) -> list[bytes]:
        torch.manual_seed(2), np.random.seed(2), random.seed(2)
        model, batches = net(), DataLoader(Augmented(), 8, shuffle=True)
        optimizer = adam(model)
        plan = one_cycle((1e-3, 1e-2), 15, optimizer)
        if by_hand:
            scheduler = plan.scheduler(optimizer)
            step = 0
            while step < 15:
                for x, y in batches:
                    optimizer.zero_grad()
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
                    scheduler.step()
                    step += 1
                    if step == 15:
                        break
        else:
            fit(model, optimizer, batches, F.cross_entropy, plan)
        return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]

    assert trained(by_hand=True) == trained(by_hand=False)


def test_a_run_after_a_sweep_is_the_run_without_one() -> None:
    def trained(swept: bool) -> list[bytes]:
        torch.manual_seed(2)
        model, batches = net(), loader()
        optimizer = adam(model)
        loop = Loop(model, optimizer, batches, F.cross_entropy)
        if swept:
            Sweep(loop, SweepConfig(num_steps=11)).run()
        Run(loop, one_cycle((1e-3, 1e-2), 10, optimizer)).run()
        return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]

    assert trained(swept=True) == trained(swept=False)


def test_the_optimizer_has_its_own_lrs_and_momenta_again_afterwards() -> None:
    model = net()
    optimizer = adam(model)
    before = [(group["lr"], group["betas"]) for group in optimizer.param_groups]
    fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 5, optimizer, preset="fastai"))
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == before


def test_an_attached_scheduler_steps_on_as_if_nothing_had_been() -> None:
    model = net()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 5, optimizer))
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4, 5e-3]


# Freezing -------------------------------------------------------------------------------------------------------------


def test_fine_tune_first_trains_the_head_and_the_norms_alone() -> None:
    model = net()
    optimizer = torch.optim.SGD(
        [{"params": model[:4].parameters()}, {"params": model[4].parameters()}], lr=0.1, momentum=0.9
    )
    first = {name: p.detach().clone() for name, p in model.named_parameters()}
    seen: list[dict[str, bool]] = []

    def look(it: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        seen.append({name: bool(torch.equal(p, first[name])) for name, p in model.named_parameters()})

    optimizer.register_step_post_hook(look)
    batches = loader()
    history = fine_tune(model, optimizer, batches, F.cross_entropy, epochs=1, base_lr=0.1)
    per_epoch = len(batches)
    assert len(history) == 2 * per_epoch
    frozen_part, free_part = seen[per_epoch - 1], seen[-1]
    assert frozen_part["0.weight"] and frozen_part["0.bias"]
    assert not frozen_part["1.weight"] and not frozen_part["4.weight"]
    assert not free_part["0.weight"]
    assert all(p.requires_grad for p in model.parameters())


def test_what_the_user_froze_stays_frozen() -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    optimizer = adam(model)
    before = model[0].weight.detach().clone()
    fine_tune(model, optimizer, loader(), F.cross_entropy, epochs=1)
    assert not model[0].weight.requires_grad
    assert torch.equal(model[0].weight, before)


def test_an_exception_while_groups_are_frozen_unfreezes_them() -> None:
    model = net()
    optimizer = adam(model)

    def fail(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fine_tune(model, optimizer, loader(), fail, epochs=1)
    assert all(p.requires_grad for p in model.parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-2]


# Validation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared_generator", [False, True])
def test_validation_does_not_disturb_the_training(shared_generator: bool) -> None:
    def trained(validated: bool) -> tuple[list[float], list[bytes]]:
        torch.manual_seed(2), np.random.seed(2), random.seed(2)
        generator = torch.Generator().manual_seed(5)
        model = net()
        model[3].eval()
        optimizer = adam(model)
        batches = DataLoader(Augmented(), 8, shuffle=True, generator=generator)
        valid = DataLoader(
            Augmented(16), 8, shuffle=True, generator=generator if shared_generator else torch.Generator()
        )
        plan = one_cycle(0.01, 15, optimizer)
        history = fit(model, optimizer, batches, F.cross_entropy, plan, valid_dl=valid if validated else None)
        return history.losses.tolist(), [tensor.numpy().tobytes() for tensor in model.state_dict().values()]

    assert trained(validated=True) == trained(validated=False)


def test_the_validation_loss_is_the_mean_over_samples_in_eval_mode() -> None:
    model = net()
    x, y = classification(20)
    valid = DataLoader(list(zip(x, y, strict=True)), batch_size=8)  # the last batch is smaller
    loop = Loop(model, adam(model), loader(), F.cross_entropy)
    loss, metrics = validate(loop, valid)
    assert model.training
    model.eval()
    with torch.no_grad():
        output = model(x)
    assert loss == pytest.approx(F.cross_entropy(output, y).item(), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx((output.argmax(1) == y).float().mean().item())


def test_validation_happens_after_every_epoch_and_at_the_end() -> None:
    model = net()
    optimizer = adam(model)
    history = fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.01, 15, optimizer), valid_dl=loader(16))
    assert [(epoch.epoch, epoch.step) for epoch in history.epochs] == [(1, 6), (2, 12), (3, 15)]
    assert all(epoch.valid_loss is not None and "accuracy" in epoch.metrics for epoch in history.epochs)
    assert history.epochs[1].train_loss == pytest.approx(history.losses[6:12].mean())


def test_metrics_of_the_users_are_averaged_over_samples() -> None:
    model = net()
    optimizer = adam(model)
    history = fit(
        model,
        optimizer,
        loader(),
        F.cross_entropy,
        one_cycle(0.01, 6, optimizer),
        valid_dl=loader(16),
        metrics={"ones": lambda output, target: 1.0, "size": lambda output, target: float(len(target))},
    )
    assert history.epochs[-1].metrics == {"ones": 1.0, "size": 8.0}


def test_restore_best_leaves_the_weights_of_the_best_epoch() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = Loop(model, optimizer, loader(), F.cross_entropy, valid_dl=loader(16))
    weights: list[list[bytes]] = []

    def keep(epoch: object) -> None:
        weights.append([t.detach().numpy().tobytes() for t in (*model.parameters(), *model.buffers())])

    run = Run(loop, one_cycle(30.0, 30, optimizer, pct_start=0.9), keep_best=True)
    history = run.run(on_epoch=keep)
    best = run.restore_best()
    assert best is history.best_epoch
    assert best is not None
    now = [t.detach().numpy().tobytes() for t in (*model.parameters(), *model.buffers())]
    assert now == weights[best.epoch - 1]
    assert now != weights[-1]
    assert best.valid_loss == min(e.valid_loss for e in history.epochs if e.valid_loss is not None)


def test_restore_best_without_validation_leaves_a_run_that_ended_well_as_it_ended() -> None:
    def trained(**options: Any) -> list[bytes]:
        torch.manual_seed(2)
        model = net()
        optimizer = adam(model)
        fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 8, optimizer), **options)
        return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]

    assert trained(restore_best=True) == trained()


# Endings --------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_run_before_it_does_harm() -> None:
    model = net()
    optimizer = adam(model)
    x, y = classification(8)
    batches = [(x, y)] * 3 + [(x * math.nan, y)] + [(x, y)] * 3
    states: list[Any] = []
    loop = Loop(model, optimizer, batches, F.cross_entropy)
    run = Run(loop, one_cycle(0.01, 7, optimizer))
    history = run.run(on_point=lambda point: states.append(of_everything(model)))
    assert history.stop_reason is StopReason.NOT_FINITE
    assert len(history) == 3
    assert "nan at step 3 of 7" in history.note
    assert "before that step" in history.note
    after = {k: v for k, v in of_everything(model).items() if k.endswith("bits")}
    assert after == {k: v for k, v in states[-1].items() if k.endswith("bits")}
    assert all(torch.isfinite(t).all() for t in (*model.parameters(), *model.buffers()))


def test_a_run_stops_at_a_step_boundary_when_it_is_asked_to() -> None:
    model = net()
    optimizer = adam(model)
    points: list[Any] = []
    run = Run(Loop(model, optimizer, loader(), F.cross_entropy, valid_dl=loader(16)), one_cycle(0.01, 20, optimizer))
    history = run.run(lambda: len(points) == 8, points.append)
    assert history.stop_reason is StopReason.STOPPED
    assert len(history) == len(points) == 8
    assert history.epochs[-1].step == 8
    assert history.note == "Stopped after 8 of 20 steps."


def test_a_one_shot_loader_ends_the_run_when_it_is_dry() -> None:
    model = net()
    optimizer = adam(model)
    history = fit(model, optimizer, iter(list(loader())), F.cross_entropy, one_cycle(0.01, 20, optimizer))
    assert history.stop_reason is StopReason.RAN_DRY
    assert len(history) == 6


def test_an_exception_keeps_the_history_so_far() -> None:
    model = net()
    optimizer = adam(model)
    calls = 0

    def fail(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise ZeroDivisionError
        return F.cross_entropy(output, target)

    run = Run(Loop(model, optimizer, loader(), fail), one_cycle(0.01, 20, optimizer))
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert len(run.history()) == 4
    assert run.history().stop_reason is StopReason.FAILED


def test_training_lowers_the_loss() -> None:
    model = net()
    optimizer = adam(model)
    history = fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.05, 60, optimizer), valid_dl=loader())
    assert history.epochs[-1].valid_loss is not None
    assert history.epochs[-1].valid_loss < 0.6 * history.losses[:6].mean()


def test_patience_ends_a_run_whose_validation_loss_gets_no_lower() -> None:
    model = nn.Linear(6, 3)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    x, y = classification(48)
    wrong = [(x, (y + 1) % 3)]
    plan = one_cycle(0.5, 60, optimizer)
    history = fit(model, optimizer, loader(), F.cross_entropy, plan, valid_dl=wrong, patience=3)
    assert (history.stop_reason, len(history)) == (StopReason.STOPPED, 24)
    first = history.epochs[0].valid_loss
    assert history.note == (
        f"Stopped after epoch 4, 24 of 60 steps: the validation loss has not been below the {first:.4g} of epoch 1 "
        "for 3 epochs."
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patience": 3}, "Got patience without valid_dl"),
        ({"patience": 0, "valid_dl": [(torch.zeros(2, 6), torch.zeros(2).long())]}, "Got patience=0"),
        ({"checkpoint_every": True, "checkpoint_dir": "x"}, "Got checkpoint_every=True"),
        ({"checkpoint_every": 5}, "Got checkpoint_every=5 without checkpoint_dir; expected a folder"),
        ({"metrics": {"one": lambda output, target: 1.0}}, r"Got metrics \(one\) without valid_dl; expected batches"),
        ({"metrics": [F.l1_loss]}, "Got a list as metrics; expected functions by their names"),
        ({"metrics": {"a": 5}, "valid_dl": []}, "Got 'a': a int among metrics; expected functions by their names"),
        ({"metrics": {5: F.l1_loss}}, "Got 5: a function among metrics; expected functions by their names"),
        ({"metrics": {"a": nn.L1Loss}}, r"Got the class L1Loss; .* Write L1Loss\(...\)"),
        ({"on_step": 5}, r"Got a int as on_step; expected a function: on_step\(point\)"),
        ({"on_epoch": "x"}, r"Got a str as on_epoch; expected a function: on_epoch\(epoch\)"),
        ({"should_stop": True}, r"Got a bool as should_stop; expected a function: should_stop\(\) -> bool"),
        ({"should_stop": None}, "Got a NoneType as should_stop; expected a function"),
        ({"restore_best": "yes"}, "Got restore_best='yes'; expected True or False"),
        ({"loss_fn": nn.CrossEntropyLoss}, r"Got the class CrossEntropyLoss; .* Write CrossEntropyLoss\(...\)"),
    ],
)
def test_options_that_cannot_be_are_refused_before_the_run(
    options: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = net()
    optimizer = adam(model)
    before = of_everything(model, optimizer)
    given: dict[str, Any] = {"loss_fn": F.cross_entropy, "plan": one_cycle(0.1, 5, optimizer), **options}
    with pytest.raises((InputError, InputTypeError), match=says):
        fit(model, optimizer, loader(), **given)
    assert not changes(before, of_everything(model, optimizer))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"train_norms": "yes"}, "Got train_norms='yes'; expected True or False"),
        ({"restore_best": "yes"}, "Got restore_best='yes'; expected True or False"),
        ({"on_step": 5}, "Got a int as on_step; expected a function"),
        ({"checkpoint_every": 5}, "Got checkpoint_every=5 without checkpoint_dir"),
    ],
)
def test_so_they_are_before_a_fine_tune(options: dict[str, Any], says: str) -> None:
    model = net()
    optimizer = adam(model)
    before = of_everything(model, optimizer)
    with pytest.raises((InputError, InputTypeError), match=says):
        fine_tune(model, optimizer, loader(), F.cross_entropy, epochs=1, **options)
    assert not changes(before, of_everything(model, optimizer))


def test_flags_of_numpy_are_as_good() -> None:
    model = net()
    optimizer = adam(model)
    options: dict[str, Any] = {"restore_best": np.bool_(True), "train_norms": np.bool_(False)}
    assert len(fine_tune(model, optimizer, loader(), F.cross_entropy, epochs=1, **options)) == 2 * len(loader())


def test_a_run_of_a_class_for_an_object_is_refused() -> None:
    model = net()
    with pytest.raises(InputTypeError, match="Got the class CrossEntropyLoss"):
        Run(Loop(model, adam(model), loader(), nn.CrossEntropyLoss), one_cycle(0.1, 5, 2))
    with pytest.raises(InputTypeError, match="Got keep_best='no'; expected True or False"):
        Run(Loop(model, adam(model), loader(), F.cross_entropy), one_cycle(0.1, 5, 2), keep_best="no")


@pytest.mark.parametrize("where", ["on_step", "on_epoch"])
def test_what_a_callback_raises_ends_the_run_and_is_the_user_s_own(where: str) -> None:
    class MineError(Exception):
        pass

    def fail(point: Any) -> None:
        if point.step == 6:
            raise MineError

    torch.manual_seed(3)
    model = net()
    optimizer = adam(model)
    plan = one_cycle(0.1, 12, optimizer)
    with pytest.raises(MineError):
        fit(model, optimizer, loader(), F.cross_entropy, plan, **{where: fail})
    # The weights are those of the last step that was done: 7 of them on_step 6, 6 at the end of the first epoch.
    done = 7 if where == "on_step" else 6
    torch.manual_seed(3)
    other = net()
    points: list[Any] = []
    options = {"on_step": points.append, "should_stop": lambda: len(points) == done}
    fit(other, adam(other), loader(), F.cross_entropy, plan, **options)
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-2]


def test_callbacks_are_told_what_the_history_tells() -> None:
    model = net()
    optimizer = adam(model)
    points: list[Any] = []
    epochs: list[Any] = []
    history = fit(
        model,
        optimizer,
        loader(),
        F.cross_entropy,
        one_cycle(0.01, 15, optimizer, preset="fastai"),
        valid_dl=loader(16),
        on_step=points.append,
        on_epoch=epochs.append,
    )
    assert [point.step for point in points] == list(range(15))
    assert [point.loss for point in points] == history.losses.tolist()
    assert [list(point.lrs) for point in points] == history.lrs.tolist()
    assert [list(point.momenta) for point in points] == history.momentum.tolist()
    assert tuple(epochs) == history.epochs


def test_a_history_has_the_momenta_with_which_the_optimizer_stepped() -> None:
    model = net()
    groups = [{"params": model[:2].parameters(), "momentum": 0.0}, {"params": model[2:].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    _, momenta = watch(optimizer)
    history = fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.01, 9, optimizer, preset="fastai"))
    assert history.momentum.tolist() == momenta
    assert set(history.momentum[:, 0]) == {0.0}
    adagrad = torch.optim.Adagrad(model.parameters())
    history = fit(model, adagrad, loader(), F.cross_entropy, one_cycle(0.01, 9, adagrad, preset="fastai"))
    assert np.isnan(history.momentum).all()


def explodes_at(step: int) -> Any:
    calls = 0

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += output.requires_grad
        return F.cross_entropy(output, target) * (math.inf if calls > step else 1)

    return loss_fn


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize(("step", "epoch"), [(3, 0), (14, 2)])
def test_when_the_loss_stops_being_finite_the_last_good_weights_are_offered(
    step: int, epoch: int, validated: bool
) -> None:
    model = net()
    optimizer = adam(model)
    weights = [[t.detach().clone() for t in (*model.parameters(), *model.buffers())]]

    def keep(point: Any) -> None:
        weights.append([t.detach().clone() for t in (*model.parameters(), *model.buffers())])

    valid = [(torch.full((4, 6), math.nan), torch.zeros(4).long())] if validated and epoch == 0 else None
    loop = Loop(model, optimizer, loader(), explodes_at(step), valid_dl=valid)
    run = Run(loop, one_cycle(0.05, 30, optimizer), keep_best=True)
    history = run.run(on_epoch=keep)
    assert history.stop_reason is StopReason.NOT_FINITE
    assert f"inf at step {step} of 30, at lr " in history.note
    where = f"epoch {epoch}" if epoch else "before the run"
    assert history.note.endswith(f"restore_best() returns to the weights of {where}.")
    found = run.restore_best()
    assert found is not None and found.epoch == epoch
    assert all(map(torch.equal, weights[epoch], (*model.parameters(), *model.buffers())))


def test_fit_leaves_the_last_good_weights_when_the_loss_stops_being_finite_and_it_is_asked_to() -> None:
    model = net()
    first = [t.detach().clone() for t in model.state_dict().values()]
    optimizer = adam(model)
    plan = one_cycle(0.05, 30, optimizer)
    history = fit(model, optimizer, loader(), explodes_at(4), plan, restore_best=True)
    assert history.stop_reason is StopReason.NOT_FINITE
    assert all(map(torch.equal, first, model.state_dict().values()))

    assert history.note == (
        f"The loss became inf at step 4 of 30, at lr {history.plan.lr_at(4).max():.3g}. Pick a lower max_lr. "
        "The model has the weights of before the run again."
    )


def test_fit_tells_which_epoch_s_weights_the_model_has_again() -> None:
    model = net()
    optimizer = adam(model)
    plan = one_cycle(0.05, 30, optimizer)
    history = fit(model, optimizer, loader(), explodes_at(14), plan, restore_best=True)
    assert history.note.endswith("Pick a lower max_lr. The model has the weights of epoch 2 again.")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wild = one_cycle(30.0, 30, optimizer, pct_start=0.9)
    history = fit(model, optimizer, loader(), F.cross_entropy, wild, valid_dl=loader(16), restore_best=True)
    best = history.best_epoch
    assert best is not None and best.epoch < 5
    assert history.note == f"Trained all 30 steps. The model has the weights of epoch {best.epoch} again."


def finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())


def with_gradients_that_explode_at(step: int) -> Any:
    """A loss function of finite losses, of whose gradients one is not."""
    calls = 0

    def explode(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.inf

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += output.requires_grad
        if output.requires_grad and calls == step + 1:
            output.register_hook(explode)
        return F.cross_entropy(output, target)

    return loss_fn


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize(
    ("step", "says", "kept"),
    [
        (3, "The loss became nan at step 4 of 15", "before the run"),
        (7, "The loss became nan at step 8 of 15", "epoch 1"),
        (5, "The weights were not finite any more after 6 of 15 steps", "before the run"),
        (14, "The weights were not finite any more after 15 of 15 steps", "epoch 2"),
    ],
    ids=["within an epoch", "within the second", "at its end", "at the end of the run"],
)
def test_gradients_that_are_not_finite_end_the_run_and_the_note_is_true(
    step: int, says: str, kept: str, validated: bool
) -> None:
    def run(**options: Any) -> tuple[nn.Module, Any]:
        torch.manual_seed(2)
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss_fn = with_gradients_that_explode_at(step)
        plan = one_cycle(0.1, 15, optimizer)
        more = {"valid_dl": loader(16)} if validated else {}
        return model, fit(model, optimizer, loader(), loss_fn, plan, **more, **options)

    model, history = run()
    assert history.stop_reason is StopReason.NOT_FINITE
    assert history.note.startswith(says) and "those before that step" not in history.note
    assert not finite(model)
    assert ("The weights are not finite either" in history.note) == says.startswith("The loss")
    model, history = run(restore_best=True)
    assert finite(model)
    assert history.note.startswith(says)
    best = history.best_epoch
    kept = f"epoch {best.epoch}" if best is not None else kept
    assert history.note.endswith(f" Pick a lower max_lr. The model has the weights of {kept} again.")


def test_weights_that_are_not_finite_take_the_place_of_no_checkpoint(tmp_path: Path) -> None:
    model = net()
    optimizer = adam(model)
    loss_fn = with_gradients_that_explode_at(5)
    options = {"checkpoint_dir": tmp_path, "checkpoint_every": 1}
    history = fit(model, optimizer, loader(), loss_fn, one_cycle(0.1, 15, optimizer), **options)
    assert history.stop_reason is StopReason.NOT_FINITE and not finite(model)
    model = net()
    again = resume(tmp_path, model, adam(model), loader(), with_gradients_that_explode_at(99))
    assert again.losses[:6].tolist() == history.losses.tolist()
    assert again.stop_reason is StopReason.FINISHED and finite(model)


def test_the_weights_are_looked_at_once_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    """By the copy of the best, the next step and the checkpoint together."""
    model = net()
    optimizer = adam(model)
    options: dict[str, Any] = {"valid_dl": loader(16), "restore_best": True, "checkpoint_dir": tmp_path}
    with Looks() as looks:
        fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.01, 18, optimizer), **options)
    assert looks.count == (1 + 3) * len(list(model.parameters()))  # before the first step, and after three epochs


def test_weights_that_a_callback_breaks_end_the_run_there_and_are_in_no_checkpoint(tmp_path: Path) -> None:
    def spoil(epoch: Any) -> None:
        if epoch.epoch == 1:
            with torch.no_grad():
                next(model.parameters()).fill_(math.nan)

    model = net()
    optimizer = adam(model)
    options: dict[str, Any] = {"on_epoch": spoil, "restore_best": True, "checkpoint_dir": tmp_path}
    history = fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.01, 18, optimizer), **options)
    assert (history.stop_reason, len(history)) == (StopReason.NOT_FINITE, 6)
    assert finite(model), "those of epoch 1, copied before the callback"
    assert len(resume(tmp_path, model, adam(model), loader(), F.cross_entropy)) == 18


@pytest.mark.parametrize("frozen", [True, False])
def test_a_weight_may_hold_infinities_that_were_there_before(frozen: bool) -> None:
    model = net()
    model.mask = nn.Parameter(torch.tensor([0.0, -math.inf]), requires_grad=not frozen)
    optimizer = adam(model[:5])
    history = fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.01, 8, optimizer), restore_best=True)
    assert history.stop_reason is StopReason.FINISHED


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_ends_a_run_carries_the_history_of_what_was_done(error: type[BaseException]) -> None:
    def fail(point: Any) -> None:
        if point.step == 3:
            raise error

    model = net()
    optimizer = adam(model)
    with pytest.raises(error) as caught:
        fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 12, optimizer), on_step=fail)
    history = caught.value.history  # type: ignore[attr-defined]
    assert len(history) == 4
    reason = StopReason.INTERRUPTED if error is KeyboardInterrupt else StopReason.FAILED
    assert history.stop_reason is reason and "after 4 of 12 steps" in history.note


@pytest.mark.parametrize("train_norms", [True, False])
def test_norm_layers_of_frozen_groups_train_or_stand_still_as_asked(train_norms: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD([{"params": model[:2].parameters()}, {"params": model[3].parameters()}], lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    moved: list[set[str]] = []

    def look(point: Any) -> None:
        moved.append({name for name, p in model.named_parameters() if not torch.equal(p, before[name])})

    history = fine_tune(
        model,
        optimizer,
        loader(),
        F.cross_entropy,
        epochs=1,
        base_lr=0.1,
        train_norms=train_norms,
        on_step=look,
    )
    norms = {"1.weight", "1.bias"}
    assert moved[5] == {"3.weight", "3.bias"} | (norms if train_norms else set())
    assert moved[-1] >= norms | {"0.weight", "3.weight", "3.bias"}
    assert (history.stages[0].frozen, history.stages[0].norms) == (("0 … 1",), ("0 … 1",) if train_norms else ())


class Centred(nn.Module):
    """Makes its running mean when it sees the first batch, and is told of every later one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.detach().mean(0)
        if not hasattr(self, "mean"):
            self.register_buffer("mean", mean)
            self.register_buffer("first", mean.clone())
        self.mean = 0.9 * self.mean + 0.1 * mean
        return x - self.mean


def test_a_batch_of_nan_leaves_a_buffer_that_the_first_step_has_made_as_it_was() -> None:
    batches = [(torch.randn(8, 6), torch.randint(3, (8,))) for _ in range(6)]
    batches[3][0][0, 0] = torch.nan
    model = nn.Sequential(Centred(), nn.Linear(6, 3))
    optimizer = adam(model)
    history = fit(model, optimizer, batches, F.cross_entropy, one_cycle(0.1, 6, optimizer))
    assert history.stop_reason is StopReason.NOT_FINITE and len(history) == 3
    expected = batches[0][0].mean(0)
    for inputs, _ in batches[:3]:
        expected = 0.9 * expected + 0.1 * inputs.mean(0)
    torch.testing.assert_close(model[0].mean, expected)


# One at a time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: torch.compile(m, backend="eager")])
def test_a_second_sweep_or_run_of_the_same_model_is_refused(wrap: Any) -> None:
    model = net()
    optimizer = adam(model)
    first = Sweep(Loop(model, optimizer, loader(), F.cross_entropy), SweepConfig(num_steps=5))
    other = Loop(wrap(model), adam(model), loader(), F.cross_entropy)
    before = of_everything(model, optimizer)

    def start_another(point: object) -> None:
        with pytest.raises(BusyError, match=r"(?s)^Got a request to sweep a .*another sweep has.*; expected one at a"):
            Sweep(other, SweepConfig(num_steps=5)).run()
        with pytest.raises(BusyError, match=r"^Got a request to train a "):
            Run(other, one_cycle(0.1, 5, 2)).run()

    curve = first.run(on_point=start_another)
    assert len(curve) == 5
    assert not changes(before, of_everything(model, optimizer))
    Run(other, one_cycle(0.1, 5, 2)).run()  # and afterwards it may


# Groups that come later -----------------------------------------------------------------------------------------------


def head_first() -> tuple[nn.Sequential, torch.optim.Optimizer]:
    model = net()
    model[:2].requires_grad_(False)
    return model, torch.optim.AdamW(model[2:].parameters(), lr=0.02)


def unfreezes(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> Any:
    """A callback after every epoch, which gives the optimizer the body after the first."""

    def on_epoch(epoch: Any) -> None:
        if epoch.epoch == 1:
            model[:2].requires_grad_(True)
            optimizer.add_param_group({"params": model[:2].parameters(), "lr": 0.003, "betas": (0.7, 0.9)})

    return on_epoch


@pytest.mark.parametrize("preset", ["torch", "fastai"])
def test_a_group_added_while_training_moves_as_the_plan_says_up_to_its_own_lr(preset: str) -> None:
    model, optimizer = head_first()
    before = [p.detach().clone() for p in model.parameters()]
    lrs, momenta = watch(optimizer)
    plan = one_cycle(0.05, 15, optimizer, preset=preset)
    history = fit(model, optimizer, loader(), F.cross_entropy, plan, on_epoch=unfreezes(model, optimizer))
    grown, steps = one_cycle([0.05, 0.003], 15, 2, preset=preset), np.arange(15)
    assert lrs[:6] == plan.lr_at(steps[:6]).tolist() and lrs[6:] == grown.lr_at(steps[6:]).tolist()
    assert [row[-1] for row in momenta[6:]] == (
        [0.7] * 9 if preset == "torch" else grown.momentum_at(steps)[6:, 1].tolist()
    )
    assert np.isnan(history.lrs[:6, 1]).all() and np.isnan(history.momentum[:6, 1]).all()
    assert np.array_equal(history.lrs[6:], lrs[6:]) and np.array_equal(history.lrs[:6, :1], lrs[:6])
    assert history.plan is not None and history.plan.cycles == grown.cycles
    assert history.names == ("all layers", "0 … 1") and history.layers[1] == ("0", "1")
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert [(g["lr"], g["betas"]) for g in optimizer.param_groups] == [(0.02, (0.9, 0.999)), (0.003, (0.7, 0.9))]


def test_a_group_added_to_the_first_of_two_optimizers_while_others_are_frozen() -> None:
    model = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)])
    model.forward = lambda x: model[2](torch.tanh(model[1](torch.tanh(model[0](x)))))
    one, two = torch.optim.SGD(model[1].parameters(), lr=0.1), torch.optim.SGD(model[2].parameters(), lr=0.2)
    first = [p.detach().clone() for p in model.parameters()]
    moved: list[set[str]] = []

    def on_step(point: Any) -> None:
        moved.append({n for (n, p), q in zip(model.named_parameters(), first, strict=True) if not torch.equal(p, q)})
        if point.step == 1:
            one.add_param_group({"params": model[0].parameters(), "lr": 0.01})

    plan = one_cycle([0.1, 0.2], 10, ["body", "head"], freeze_steps=4)
    history = fit(model, [one, two], loader(), F.cross_entropy, plan, on_step=on_step)
    assert history.names == ("body", "0", "head") and history.plan is not None
    assert history.plan.cycles[0].frozen == (True, False, False)
    assert np.array_equal(history.lrs[2:], history.plan.lr_at(np.arange(2, 10)))
    assert np.isnan(history.lrs[:2, 1]).all() and np.array_equal(history.lrs[:2, [0, 2]], plan.lr_at([0, 1]))
    head, stem, body = ({f"{i}.weight", f"{i}.bias"} for i in (2, 0, 1))
    assert moved[1] == head and moved[3] == head | stem and moved[-1] == head | stem | body
    assert [group["lr"] for o in (one, two) for group in o.param_groups] == [0.1, 0.01, 0.2]


def test_a_group_added_after_the_last_step_keeps_its_lr() -> None:
    model, optimizer = head_first()
    plan = one_cycle(0.05, 6, optimizer)
    history = fit(model, optimizer, loader(), F.cross_entropy, plan, on_epoch=unfreezes(model, optimizer))
    assert history.names == ("all layers",) and [g["lr"] for g in optimizer.param_groups] == [0.02, 0.003]


def test_a_group_taken_away_while_training_is_told() -> None:
    model = net()
    optimizer = adam(model)
    with pytest.raises(InputError, match=r"1 param groups, which had 2 .* none to be taken away"):
        fit(
            model,
            optimizer,
            loader(),
            F.cross_entropy,
            one_cycle(0.05, 12, optimizer),
            on_step=lambda point: optimizer.param_groups.pop() if point.step == 3 else None,
        )


@pytest.mark.parametrize("at", [{"on_step": 3}, {"on_epoch": 6}, {"on_epoch": 12}], ids=["step", "epoch", "last"])
@pytest.mark.parametrize("written", [True, False], ids=["checkpoints", "none"])
def test_the_groups_that_are_left_have_their_own_lr_and_momentum_again(
    at: dict[str, int], written: bool, tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    own = zip(model, (0.1, 0.2, 0.3), (0.7, 0.8, 0.9), strict=True)
    optimizer = torch.optim.SGD([{"params": part.parameters(), "lr": lr, "momentum": m} for part, lr, m in own])
    ((callback, step),) = at.items()

    def remove(point: Any) -> None:
        if point.step == step:
            del optimizer.param_groups[0]

    plan = one_cycle([0.01, 0.02, 0.03], 12, optimizer, preset="fastai")
    options: dict[str, Any] = {callback: remove} | ({"checkpoint_dir": tmp_path} if written else {})
    with pytest.raises(InputError, match=r"2 param groups, which had 3 .* none to be taken away") as caught:
        fit(model, optimizer, loader(), F.cross_entropy, plan, **options)
    assert caught.value.__context__ is None, "one clear error, and nothing on top of it"
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.2, 0.8), (0.3, 0.9)]


# Bad input ------------------------------------------------------------------------------------------------------------


def test_a_plan_for_other_groups_is_refused() -> None:
    model = net()
    optimizer = adam(model)
    with pytest.raises(InputError, match=r"^Got a plan for 3 groups .*an optimizer with 2 .*expected as many"):
        fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 5, 3))


def test_what_is_no_plan_is_refused() -> None:
    model = net()
    with pytest.raises(InputTypeError, match=r"^Got a float as plan; expected a Plan"):
        fit(model, adam(model), loader(), F.cross_entropy, 0.1)  # type: ignore[arg-type]


def test_epochs_need_a_loader_with_a_length() -> None:
    model = net()
    with pytest.raises(InputError, match=r"^Got a generator without a length"):
        steps_per_epoch(Loop(model, adam(model), (b for b in loader()), F.cross_entropy))


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_epochs_are_whole_numbers(epochs: Any) -> None:
    model = net()
    with pytest.raises(InputError, match=r"^Got epochs="):
        fine_tune(model, adam(model), loader(), F.cross_entropy, epochs=epochs)


def test_epochs_and_steps_of_numpy_are_as_good(tmp_path: Any) -> None:
    model = net()
    options = {"epochs": np.int64(1), "freeze_epochs": np.int64(0), "patience": np.int64(2), "valid_dl": loader(16)}
    kept = {"checkpoint_dir": tmp_path, "checkpoint_every": np.int64(3)}
    assert len(fine_tune(model, adam(model), loader(), F.cross_entropy, **options, **kept)) == len(loader())


def test_a_loader_without_a_length_takes_steps() -> None:
    model = net()
    optimizer = adam(model)
    endless = DataLoader(Stream(), 8)
    with pytest.raises(InputError, match=r"^Got a DataLoader without a length; .*steps= for epochs="):
        fine_tune(model, optimizer, endless, F.cross_entropy, epochs=1)
    history = fine_tune(model, optimizer, endless, F.cross_entropy, steps=7, freeze_steps=4)
    assert [(stage.steps, bool(stage.frozen)) for stage in history.stages] == [(4, True), (7, False)]
    assert len(fine_tune(model, optimizer, endless, F.cross_entropy, steps=7, freeze_epochs=0)) == 7
    counted = loader()
    assert len(fine_tune(model, optimizer, counted, F.cross_entropy, steps=7)) == 7 + len(counted)


@pytest.mark.parametrize("told", [{}, {"epochs": 1, "steps": 3}])
def test_a_fine_tune_is_told_its_epochs_or_its_steps(told: dict[str, int]) -> None:
    model = net()
    with pytest.raises(InputError, match=r"^Got epochs=.* and steps=.*; expected one of them"):
        fine_tune(model, adam(model), loader(), F.cross_entropy, **told)


def test_accumulation_makes_fewer_steps_of_an_epoch() -> None:
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = Loop(model, optimizer, loader(), F.cross_entropy, accumulate=4)
    assert steps_per_epoch(loop) == 2
    run = Run(loop, one_cycle(0.1, 4, 1))
    history = run.run()
    assert [epoch.step for epoch in history.epochs] == [2, 4]
