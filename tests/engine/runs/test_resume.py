"""A run that was killed at any moment ends as the run that was not."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import lrwidget
from lrwidget.engine.errors import InputError, InputTypeError, RecordError
from lrwidget.engine.loops.batches import shut_down
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.fit import Run, fit
from lrwidget.engine.sweeps.curve import StopReason
from tests.engine.oracle import changes, of_everything
from tests.engine.runs.resumable import STEPS, Killed, came_to, seed, spawner, start, work, work_and_die, work_and_tell
from tests.engine.zoo import MODELS, OPTIMIZERS, Augmented, Stream, adam, classification, loader, make_optimizer, net


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)


# Killed for real ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "rounds"), [(0, 5), (2, 2)])
def test_a_run_killed_at_random_moments_ends_with_the_very_weights(tmp_path: Path, workers: int, rounds: int) -> None:
    told = tmp_path / "told"
    start(work_and_tell, str(tmp_path / "whole"), str(told), workers, None).join()
    expected = json.loads(told.read_text())
    chance = random.Random(workers)
    for round_ in range(rounds):
        told.unlink()
        folder = tmp_path / str(round_)
        every = [None, 1, 4][round_ % 3]
        kills = 0
        while not told.exists():
            done = spawner.Value("i", 0, lock=False)
            process = start(work_and_tell, str(folder), str(told), workers, every, done)
            # The first is killed for certain, and each of them at a moment that has to do with no step in particular.
            steps = chance.randrange(STEPS - 2) if not kills else chance.randrange(2 * STEPS)
            while process.is_alive() and done.value < steps:
                process.join(0.0005)
            process.join(chance.uniform(0, 0.002))
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        assert kills and json.loads(told.read_text()) == expected, round_


@pytest.mark.parametrize("every", [None, 1, 4])
def test_a_run_killed_when_all_was_done_ends_with_the_very_weights_and_random_states(
    tmp_path: Path, every: int | None
) -> None:
    expected = work(tmp_path, every=every)
    assert work(tmp_path, every=every) == expected


@pytest.mark.parametrize("part", range(3))
def test_a_run_killed_at_any_line_that_writes_a_checkpoint_ends_with_the_very_weights(
    tmp_path: Path, part: int
) -> None:
    expected = work(tmp_path / "whole", every=4)
    told = tmp_path / "told"
    for line in range(1 + part * 7, 4000, 1333):
        folder = tmp_path / str(line)
        process = start(work_and_die, str(folder), str(told), line)
        process.join()
        assert process.exitcode == -9 and not told.exists(), line
        assert work(folder, every=4) == expected, line
        assert len(list(folder.iterdir())) == 4, "the last two checkpoints and nothing else"


# Killed in this process -----------------------------------------------------------------------------------------------


def trained(
    make: Callable[[], tuple[Any, ...]],
    folder: Path,
    *,
    killed_after: int | None = None,
    steps: int = 11,
    every: int | None = 2,
    **options: Any,
) -> dict[str, Any]:
    """What a run comes to; killed after that many steps and gone on with by objects made anew, if asked for."""

    def die(point: Any) -> None:
        if point.step == killed_after:
            raise Killed

    def world(number: int) -> tuple[Any, Any, dict[str, Any]]:
        seed(number)
        model, optimizer, batches, loss_fn, *more = make()
        seed(number + 1)
        return model, optimizer, {"train_dl": batches, "loss_fn": loss_fn, **(more[0] if more else {})}

    model, optimizer, rest = world(1)
    plan = one_cycle(slice(1e-3, 1e-2), steps, optimizer, preset="fastai", freeze_steps=3)
    given = {"checkpoint_dir": folder, "checkpoint_every": every, "on_step": die, **options, **rest}
    try:
        history = fit(model, optimizer, plan=plan, **given)
        assert killed_after is None
    except Killed:
        model, optimizer, rest = world(50)
        if isinstance(options.get("scaler"), torch.amp.GradScaler):
            rest["scaler"] = torch.amp.GradScaler("cpu", init_scale=3.0)
        objects = {name: value for name, value in options.items() if name in ("valid_dl", "metrics")}
        history = lrwidget.resume(folder, model, optimizer, **rest, **objects)
    return came_to(model, optimizer, history)


def classifier(**options: Any) -> tuple[Any, ...]:
    model = net()
    return model, adam(model), DataLoader(Augmented(), 8, shuffle=True, **options), F.cross_entropy


@pytest.mark.parametrize("after", range(11))
def test_a_run_goes_on_after_any_step(tmp_path: Path, after: int) -> None:
    whole = trained(classifier, tmp_path / "whole")
    for every in (1, 3, None):
        assert trained(classifier, tmp_path / f"killed {every}", every=every, killed_after=after) == whole


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_torch_goes_on(tmp_path: Path, name: str) -> None:
    def make() -> tuple[Any, ...]:
        model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        return model, make_optimizer(name, model), loader(24), F.cross_entropy

    assert trained(make, tmp_path / "killed", killed_after=6) == trained(make, tmp_path / "whole")


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 4},
        {"accumulate": 4, "every": 1},
        {"amp": "bf16"},
        {"amp": "fp16"},
        {"clip_grad_norm": 0.1},
        {"every": None},
    ],
    ids=str,
)
def test_the_options_of_a_step_need_not_be_told_again(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = trained(classifier, tmp_path / "whole", **options)
    for after in (2, 7):
        assert trained(classifier, tmp_path / f"{after}", killed_after=after, **options) == whole


def test_the_scale_of_fp16_goes_on_where_it_was(tmp_path: Path) -> None:
    def make() -> tuple[Any, ...]:
        model, optimizer, batches, loss_fn = classifier()
        return model, optimizer, batches, loss_fn

    def scaled(folder: str, **options: Any) -> dict[str, Any]:
        # Overflows at first, so that the scale moves.
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, growth_interval=2)
        return trained(make, tmp_path / folder, amp="fp16", scaler=scaler, every=1, **options)

    assert scaled("killed", killed_after=5) == scaled("whole")


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_goes_on(tmp_path: Path, name: str) -> None:
    def make() -> tuple[Any, ...]:
        model = MODELS[name]()
        return model, torch.optim.AdamW(p for p in model.parameters() if p.requires_grad), loader(24), F.cross_entropy

    whole = trained(make, tmp_path / "whole")
    for after in (0, 4):
        assert trained(make, tmp_path / f"{after}", killed_after=after) == whole


class Cooling(nn.Linear):
    """Counts its steps, in a number that no state_dict has, and grows colder by them."""

    def __init__(self) -> None:
        super().__init__(6, 3)
        self.calls = 0
        self.memory: dict[str, Any] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        y = super().forward(x) / self.calls + self.memory.get("mean", 0.0)
        self.memory = {"mean": y.detach().mean(), "seen": (self.calls, [len(x)])}
        return y


def test_what_a_model_remembers_in_plain_attributes_goes_on(tmp_path: Path) -> None:
    models: list[Any] = []

    def make() -> tuple[Any, ...]:
        models.append(Cooling())
        return models[-1], torch.optim.SGD(models[-1].parameters(), lr=1.0), loader(24), F.cross_entropy

    assert trained(make, tmp_path / "killed", killed_after=4) == trained(make, tmp_path / "whole")
    _, again, whole = models
    assert again.calls == whole.calls == 11 and repr(again.memory) == repr(whole.memory)
    # and a second kill, of the run that goes on, does not lose them
    seed(70)
    model, optimizer, batches, loss_fn = make()
    plan = one_cycle(0.01, 9, optimizer)
    stop = iter([False] * 4 + [True])
    fit(model, optimizer, batches, loss_fn, plan, checkpoint_dir=tmp_path / "twice", should_stop=stop.__next__)
    for done in (6, 9):
        model, optimizer, batches, loss_fn = make()
        stop = iter([False] * (2 if done == 6 else 9) + [True])
        lrwidget.resume(tmp_path / "twice", model, optimizer, batches, loss_fn, should_stop=stop.__next__)
        assert model.calls == done


def classification_set(n: int) -> Any:
    return torch.utils.data.TensorDataset(*classification(n))


class Reordered(Stream):
    """Shuffles with a generator of its own that lives from pass to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.order = random.Random(4)

    def __iter__(self) -> Iterator[Any]:
        pairs = list(super().__iter__())
        self.order.shuffle(pairs)
        return iter(pairs)


class Stateful:
    """A loader that knows where it is, as those of torchdata do, and would serve other batches if it were replayed."""

    def __init__(self) -> None:
        self.position, self.served = 0, 0

    def __iter__(self) -> Iterator[Any]:
        x, y = classification(24)
        while self.position < 3:
            here = self.position * 8
            self.position, self.served = self.position + 1, self.served + 1
            yield x[here : here + 8] * (1 + self.served), y[here : here + 8]
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position, "served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position, self.served = state["position"], state["served"]


@pytest.mark.parametrize(
    "make_loader",
    [
        lambda: [tuple(t[i : i + 8] for t in classification(24)) for i in (0, 8, 16)],
        lambda: DataLoader(Reordered(), 8),
        lambda: DataLoader(Augmented(24), 8, shuffle=True, generator=torch.Generator().manual_seed(3)),
        lambda: DataLoader(Augmented(24), 8, sampler=torch.utils.data.RandomSampler(range(24), replacement=True)),
        lambda: DataLoader(Augmented(24), 8, shuffle=True, num_workers=2),
        lambda: DataLoader(Augmented(26), 8, shuffle=True, drop_last=True),
        Stateful,
    ],
    ids=["list", "stream with its own order", "own generator", "with replacement", "workers", "drop last", "stateful"],
)
def test_every_kind_of_loader_goes_on(tmp_path: Path, make_loader: Callable[[], Any]) -> None:
    def make() -> tuple[Any, ...]:
        model = net()
        return model, adam(model), make_loader(), F.cross_entropy

    slow = getattr(make_loader(), "num_workers", 0) > 0
    whole = trained(make, tmp_path / "whole")
    for after in (1, 6) if slow else (1, 2, 6, 8):
        for every in (2,) if slow else (1, 2, None):
            assert trained(make, tmp_path / f"{after} {every}", killed_after=after, every=every) == whole


def test_a_run_to_which_a_group_was_added_goes_on(tmp_path: Path) -> None:
    def begin(number: int, *, grown: bool) -> tuple[Any, ...]:
        seed(number)
        model = net()
        optimizer = torch.optim.AdamW(model[2:].parameters(), lr=0.02)

        def grow() -> None:
            optimizer.add_param_group({"params": model[:2].parameters(), "lr": 0.003})

        if grown:
            grow()
        return model, optimizer, DataLoader(Augmented(24), 8, shuffle=True), grow

    def run(folder: Path, killed_after: int | None) -> dict[str, Any]:
        model, optimizer, batches, grow = begin(1, grown=False)

        def on_step(point: Any) -> None:
            if point.step == 4:
                grow()
            if point.step == killed_after:
                raise Killed

        plan = one_cycle(0.05, 11, optimizer, preset="fastai")
        try:
            history = fit(
                model,
                optimizer,
                batches,
                F.cross_entropy,
                plan,
                on_step=on_step,
                checkpoint_dir=folder,
                checkpoint_every=1,
            )
        except Killed:
            grown = killed_after > 4
            model, optimizer, batches, grow = begin(9, grown=not grown)
            says = "there were added: '0 … 1' before step 5" if grown else "none had been added yet"
            with pytest.raises(InputError, match=says):
                lrwidget.resume(folder, model, optimizer, batches, F.cross_entropy)
            model, optimizer, batches, grow = begin(9, grown=grown)
            killed_after = None
            history = lrwidget.resume(folder, model, optimizer, batches, F.cross_entropy, on_step=on_step)
        return came_to(model, optimizer, history)

    whole = run(tmp_path / "whole", None)
    for after in (3, 4, 5, 9):
        assert run(tmp_path / str(after), after) == whole, after


@pytest.mark.parametrize(
    ("data", "kills"), [(Augmented, (1,)), (classification_set, (1, 4, 7))], ids=["random", "plain"]
)
def test_workers_that_live_from_pass_to_pass_go_on_but_for_their_random_draws_of_later_passes(
    tmp_path: Path, data: Callable[[int], Any], kills: tuple[int, ...]
) -> None:
    alive: list[Any] = []

    def end_workers() -> None:
        while alive:
            shut_down(alive.pop()._iterator)

    def make() -> tuple[Any, ...]:
        end_workers()  # torch waits long for workers that were forked beside those of another loader
        model = net()
        alive.append(DataLoader(data(24), 8, shuffle=True, num_workers=1, persistent_workers=True))
        return model, adam(model), alive[0], F.cross_entropy

    whole = trained(make, tmp_path / "whole")
    for after in kills:
        assert trained(make, tmp_path / str(after), killed_after=after) == whole
    end_workers()


def test_a_run_that_was_stopped_goes_on_with_a_loader_whose_workers_live(tmp_path: Path) -> None:
    def run(stops: tuple[int, ...]) -> dict[str, Any]:
        seed(1)
        model = net()
        optimizer = adam(model)
        batches = DataLoader(classification_set(24), 8, shuffle=True, num_workers=1, persistent_workers=True)
        folder = tmp_path / str(stops)
        seed(2)
        plan = one_cycle(0.01, 11, optimizer)
        for i, stop in enumerate((*stops, 11)):
            left = iter([False] * (stop - (stops[i - 1] if i else 0)) + [True])
            if i == 0:
                history = fit(
                    model,
                    optimizer,
                    batches,
                    F.cross_entropy,
                    plan,
                    checkpoint_dir=folder,
                    should_stop=left.__next__,
                )
            else:
                seed(70 + i)
                history = lrwidget.resume(folder, model, optimizer, batches, F.cross_entropy, should_stop=left.__next__)
        shut_down(batches._iterator)
        return came_to(model, optimizer, history)

    assert run((0, 1, 3, 4, 8)) == run(())


def test_a_one_shot_loader_goes_on_and_runs_dry_where_it_would_have(tmp_path: Path) -> None:
    def make() -> tuple[Any, ...]:
        model = net()
        return model, adam(model), iter(list(loader())), F.cross_entropy

    whole = trained(make, tmp_path / "whole")
    assert "no more batches after 6" in whole["note"]
    for after in (1, 5):
        assert trained(make, tmp_path / str(after), killed_after=after) == whole


def test_a_step_of_the_users_own_goes_on_with_all_the_models_it_trains(tmp_path: Path) -> None:
    judges: list[nn.Module] = []

    def make() -> tuple[Any, ...]:
        maker, judge = nn.Linear(6, 6), nn.Linear(6, 1)
        judges.append(judge)
        first, second = torch.optim.Adam(maker.parameters()), torch.optim.Adam(judge.parameters())

        def step(batch: Any) -> torch.Tensor:
            second.zero_grad()
            F.softplus(-judge(batch[0])).mean().add(F.softplus(judge(maker(batch[0]).detach())).mean()).backward()
            second.step()
            first.zero_grad()
            loss = F.softplus(-judge(maker(batch[0]))).mean()
            loss.backward()
            first.step()
            return loss

        return maker, first, loader(24), None, {"train_step": step}

    whole = trained(make, tmp_path / "whole")
    assert trained(make, tmp_path / "killed", killed_after=6) == whole
    one, _, again = judges
    assert torch.equal(one.weight, again.weight)


def test_what_is_named_in_also_goes_on(tmp_path: Path) -> None:
    averages: list[Any] = []

    def make() -> tuple[Any, ...]:
        model = net()
        average = torch.optim.swa_utils.AveragedModel(model)
        averages.append(average)

        def loss_step(model: nn.Module, batch: Any) -> torch.Tensor:
            average.update_parameters(model)
            return F.cross_entropy(model(batch[0]), batch[1])

        return model, adam(model), loader(24), None, {"loss_step": loss_step, "also": [average]}

    assert trained(make, tmp_path / "killed", killed_after=6) == trained(make, tmp_path / "whole")
    _, again, whole = averages
    assert torch.equal(again.module[0].weight, whole.module[0].weight) and again.n_averaged == whole.n_averaged


# Best weights, patience, endings --------------------------------------------------------------------------------------


def test_the_best_weights_survive_a_kill(tmp_path: Path) -> None:
    def make() -> tuple[Any, ...]:
        model = net()
        return model, adam(model), loader(24), F.cross_entropy

    options: dict[str, Any] = {"valid_dl": loader(16), "restore_best": True, "steps": 15, "every": None}
    whole = trained(make, tmp_path / "whole", **options)
    for after in (5, 8, 13):
        assert trained(make, tmp_path / str(after), killed_after=after, **options) == whole


def test_patience_is_counted_across_a_kill(tmp_path: Path) -> None:
    def make() -> tuple[Any, ...]:
        model = nn.Linear(6, 3)
        nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
        return model, torch.optim.SGD([{"params": model.parameters()}], lr=1.0), loader(24), F.cross_entropy

    x, y = classification(24)
    valid = [(x, (y + 1) % 3)]  # the better it learns, the worse it does here
    options: dict[str, Any] = {"valid_dl": valid, "patience": 2, "steps": 30, "every": None}
    whole = trained(make, tmp_path / "whole", **options)
    assert whole["note"].startswith("Stopped after epoch 3, 9 of 30 steps: the validation loss has not been below")
    for after in (4, 7, 8):
        assert trained(make, tmp_path / str(after), killed_after=after, **options) == whole
    model, optimizer, batches, loss_fn = make()
    history = lrwidget.resume(tmp_path / "whole", model, optimizer, batches, loss_fn, valid_dl=valid)
    assert (len(history), history.note) == (9, whole["note"]), "what is over is not gone on with"


def test_a_run_that_was_stopped_goes_on_in_the_middle_of_its_epoch(tmp_path: Path) -> None:
    whole = work(tmp_path / "whole")
    for stop in (0, 3, 6, 7, 12, 17):
        folder = tmp_path / str(stop)
        seed(5)
        model = net()
        optimizer = adam(model)
        batches, points = DataLoader(Augmented(), 8, shuffle=True), []
        seed(6)
        history = lrwidget.fine_tune(
            model,
            optimizer,
            batches,
            F.cross_entropy,
            epochs=2,
            base_lr=0.05,
            valid_dl=loader(16),
            checkpoint_dir=folder,
            on_step=points.append,
            should_stop=lambda stop=stop, points=points: len(points) == stop,
        )
        assert (history.stop_reason, len(history)) == (StopReason.STOPPED, stop)
        assert work(folder) == whole


def test_a_run_that_is_over_is_told_again_and_not_trained_further(tmp_path: Path) -> None:
    whole = work(tmp_path / "run")
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = work(tmp_path / "run")
    assert {k: v for k, v in again.items() if k != "random"} == {k: v for k, v in whole.items() if k != "random"}
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files


def test_points_and_epochs_that_are_still_to_come_are_called_back_for(tmp_path: Path) -> None:
    steps: list[int] = []
    epochs: list[int] = []
    trained(classifier, tmp_path / "run", killed_after=7, every=3)
    folder = tmp_path / "stopped"
    seed(1)
    model, optimizer, batches, loss_fn = classifier()
    plan = one_cycle(0.01, STEPS, optimizer)
    fit(
        model, optimizer, batches, loss_fn, plan, checkpoint_dir=folder, should_stop=iter([False] * 8 + [True]).__next__
    )
    model, optimizer, batches, loss_fn = classifier()
    lrwidget.resume(
        folder,
        model,
        optimizer,
        batches,
        loss_fn,
        on_step=lambda point: steps.append(point.step),
        on_epoch=lambda epoch: epochs.append(epoch.epoch),
    )
    assert (steps, epochs) == (list(range(8, STEPS)), [2, 3])


# What cannot be gone on with ------------------------------------------------------------------------------------------


def begun(folder: Path, **options: Any) -> Path:
    seed(1)
    model, optimizer, batches, loss_fn = classifier()
    fit(model, optimizer, batches, loss_fn, one_cycle(0.01, 8, optimizer), checkpoint_dir=folder, **options)
    return folder


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: (m := nn.Linear(6, 3), adam(m), loader(), F.cross_entropy), r"no parameter|parameter 'weight'"),
        (
            lambda: (m := nn.Sequential(*list(net())[:4], nn.Linear(12, 4)), adam(m), loader(), F.cross_entropy),
            r"the parameter '4.weight' of \(4, 12\) float32; the run was begun with the .* of \(3, 12\)",
        ),
        (
            lambda: (m := net().double(), adam(m), loader(), F.cross_entropy),
            r"'0.weight' of \(12, 6\) float64; .* float32",
        ),
        (
            lambda: (m := net(), torch.optim.AdamW([{"params": [p]} for p in [*m.parameters()][:2]]), loader(), None),
            r"loss_fn: none; the run was begun with loss_fn: given",
        ),
        (lambda: (m := net(), adam(m), loader(56), F.cross_entropy), r"batches in train_dl: 7; .*train_dl: 6"),
        (
            lambda: (m := net(), adam(m), DataLoader(classification_set(24), batch_size=4), F.cross_entropy),
            r"batch size of train_dl: 4; the run was begun with batch size of train_dl: 8",
        ),
        (lambda: (m := net(), adam(m), loader(), F.nll_loss), r"loss function: nll_loss; .* function: cross_entropy"),
        (lambda: (m := net(), adam(m), loader(), nn.MSELoss()), r"loss function: MSELoss; .* function: cross_entropy"),
    ],
    ids=[
        "another model",
        "another head",
        "another dtype",
        "no loss",
        "other data",
        "another batch size",
        "another loss",
        "a loss of another class",
    ],
)
def test_objects_of_another_kind_are_refused_before_anything_is_touched(
    tmp_path: Path, make: Callable[[], tuple[Any, ...]], says: str
) -> None:
    folder = begun(tmp_path / "run")
    model, optimizer, batches, loss_fn = make()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(InputError, match=says):
        lrwidget.resume(folder, model, optimizer, batches, loss_fn)
    assert all(map(torch.equal, before, model.parameters()))
    assert not optimizer.state


def sgd(momentum: float) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=momentum)


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        (torch.optim.AdamW, sgd(0.9), "Got SGD as the optimizer; the run was begun with AdamW"),
        (torch.optim.Adam, torch.optim.RMSprop, "Got RMSprop as the optimizer; the run was begun with Adam"),
        (torch.optim.Adam, torch.optim.AdamW, "Got AdamW as the optimizer; the run was begun with Adam,"),
        (sgd(0.9), sgd(0.0), r"a momentum of 0; the run was begun with 0\.9"),
        (sgd(0.0), sgd(0.9), r"a momentum of 0\.9; the run was begun with 0\."),
    ],
)
def test_another_kind_of_optimizer_is_refused_before_anything_is_touched(
    tmp_path: Path, was: Callable[[Any], Any], now: Callable[[Any], Any], says: str
) -> None:
    model = net()
    optimizer = was(model.parameters())
    plan = one_cycle(0.01, 8, optimizer, preset="fastai")
    fit(model, optimizer, loader(), F.cross_entropy, plan, checkpoint_dir=tmp_path)
    other = net()
    optimizer = now(other.parameters())
    before, options = of_everything(other), repr(optimizer.state_dict())
    with pytest.raises(InputError, match=says):
        lrwidget.resume(tmp_path, other, optimizer, loader(), F.cross_entropy)
    assert not changes(before, of_everything(other))
    assert repr(optimizer.state_dict()) == options


def test_another_optimizer_of_a_step_of_the_users_own_is_refused_too(tmp_path: Path) -> None:
    def make(kind: Any) -> tuple[nn.Module, Any, Callable[[Any], torch.Tensor]]:
        model = nn.Linear(6, 3)
        first, second = torch.optim.SGD([model.weight], lr=0.1), kind([model.bias])

        def step(batch: Any) -> torch.Tensor:
            loss = F.cross_entropy(model(batch[0]), batch[1])
            model.zero_grad()
            loss.backward()
            first.step()
            second.step()
            return loss

        return model, first, step

    model, first, step = make(torch.optim.Adam)
    fit(model, first, loader(), None, one_cycle(0.1, 3, first), train_step=step, checkpoint_dir=tmp_path)
    model, first, step = make(torch.optim.RMSprop)
    before = of_everything(model, first)
    with pytest.raises(InputError, match=r"Got RMSprop as second .*; the run was begun with Adam"):
        lrwidget.resume(tmp_path, model, first, loader(), None, train_step=step)
    assert not changes(before, of_everything(model, first))


def test_an_optimizer_of_the_users_own_with_other_options_is_refused(tmp_path: Path) -> None:
    def make(**defaults: float) -> torch.optim.Optimizer:
        class Own(torch.optim.Optimizer):
            def step(self, closure: Any = None) -> None:
                for p in self.param_groups[0]["params"]:
                    p.data.add_(p.grad, alpha=-self.param_groups[0]["lr"])

        return Own(model.parameters(), defaults)

    model = net()
    optimizer = make(lr=0.1)
    fit(model, optimizer, loader(), F.cross_entropy, one_cycle(0.1, 3, optimizer), checkpoint_dir=tmp_path)
    optimizer = make(lr=0.1, decay=0.1)
    before = of_everything(model, optimizer)
    with pytest.raises(InputError, match=r"Got the optimizer and a checkpoint of which only one has 'decay' in its"):
        lrwidget.resume(tmp_path, model, optimizer, loader(), F.cross_entropy)
    assert not changes(before, of_everything(model, optimizer))


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    model, optimizer, batches, loss_fn = classifier()
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RecordError, match=r"^Got .*, which holds no checkpoint that can be used; expected"):
            lrwidget.resume(folder, model, optimizer, batches, loss_fn)


@pytest.mark.parametrize("place", ["", 5, "file"])
def test_a_place_that_is_no_folder_is_refused_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    model, optimizer, batches, loss_fn = classifier()
    before = of_everything(model)
    with pytest.raises((InputError, InputTypeError), match=r"^Got checkpoint_dir="):
        fit(model, optimizer, batches, loss_fn, one_cycle(0.01, 8, optimizer), checkpoint_dir=place)
    with pytest.raises((InputError, InputTypeError), match=r"^Got checkpoint_dir="):
        lrwidget.resume(place, model, optimizer, batches, loss_fn)
    with pytest.raises(InputTypeError, match=r"^Got checkpoint_dir=None"):
        lrwidget.resume(None, model, optimizer, batches, loss_fn)  # type: ignore[arg-type]
    assert not changes(before, of_everything(model))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_run_does_not_write_into_the_folder_of_another(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    files = sorted(folder.iterdir())
    with pytest.raises(InputError, match=r"(?s)holds checkpoints of a run already; .*call lrwidget.resume"):
        begun(folder)
    assert sorted(folder.iterdir()) == files


def test_without_checkpoint_dir_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, optimizer, batches, loss_fn = classifier()
    fit(model, optimizer, batches, loss_fn, one_cycle(0.01, 8, optimizer), valid_dl=loader(16), restore_best=True)
    assert not list(tmp_path.iterdir())


def test_checkpoints_do_not_change_a_run(tmp_path: Path) -> None:
    def bare(folder: Path | None) -> dict[str, Any]:
        seed(1)
        model, optimizer, batches, loss_fn = classifier()
        plan = one_cycle(0.01, 14, optimizer, preset="fastai")
        options: dict[str, Any] = {} if folder is None else {"checkpoint_dir": folder, "checkpoint_every": 1}
        return came_to(model, optimizer, fit(model, optimizer, batches, loss_fn, plan, **options))

    assert bare(tmp_path / "run") == bare(None)


def test_a_run_keeps_its_optimizer_s_own_lrs_across_a_kill(tmp_path: Path) -> None:
    trained(classifier, tmp_path / "run", killed_after=None)
    seed(3)
    model, optimizer, batches, loss_fn = classifier()
    for group in optimizer.param_groups:
        group["lr"] = 7.0
    lrwidget.resume(tmp_path / "run", model, optimizer, batches, loss_fn)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-2]


def test_a_run_of_a_session_may_keep_checkpoints_too(tmp_path: Path) -> None:
    model, optimizer, batches, loss_fn = classifier()
    run = Run(Loop(model, optimizer, batches, loss_fn), one_cycle(0.01, 8, 2), checkpoint_dir=tmp_path / "run")
    history = run.run()
    again = lrwidget.resume(tmp_path / "run", *classifier())
    assert again.losses.tolist() == history.losses.tolist()
