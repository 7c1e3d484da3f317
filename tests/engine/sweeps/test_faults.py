"""Whatever goes wrong, everything is given back and the points so far are kept."""

import gc
import math
import multiprocessing
import os
import random
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lrwidget.engine.borrowing.preserve import preserved
from lrwidget.engine.errors import LossError, LRWidgetError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.sweeps.sweep import Sweep, SweepConfig, range_test
from tests.engine.oracle import changes, of_everything
from tests.engine.zoo import (
    MODELS,
    OPTIMIZERS,
    Augmented,
    Stream,
    adam,
    classification,
    loader,
    make_optimizer,
    net,
    train,
)

# Workers --------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def alone() -> None:
    """The workers of loaders that other tests have left behind end here: the tests below count their own."""
    gc.collect()


class Deadly(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Ends the worker process that reads sample 20, the way the system does when memory is short."""

    def __init__(self, parent: int) -> None:
        self.x, self.y = classification(48)
        self.parent = parent

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if index == 20:
            assert os.getpid() != self.parent
            os.kill(os.getpid(), signal.SIGKILL)
        return self.x[index], self.y[index]


# torch's signal handler raises wherever Python is. In the callback of a weak reference that is told as unraisable, and
# the loader's queue tells of the worker all the same.
swallowed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@swallowed
@pytest.mark.parametrize("persistent", [False, True])
def test_a_loader_worker_that_is_killed(persistent: bool) -> None:
    model = net()
    optimizer = adam(model)
    batches = DataLoader(Deadly(os.getpid()), batch_size=8, num_workers=1, persistent_workers=persistent)
    before = of_everything(model, optimizer, loaders=(batches,))
    # A queue that breaks off, or torch's signal: whichever comes first.
    with pytest.raises((RuntimeError, ConnectionError, EOFError)) as error:
        range_test(model, optimizer, batches, F.cross_entropy)
    assert not changes(before, of_everything(model, optimizer, loaders=(batches,)))
    assert 0 <= len(error.value.curve) <= 2  # type: ignore[attr-defined]
    assert error.value.curve.stop_reason == "failed"  # type: ignore[attr-defined]


@swallowed
def test_a_worker_that_is_killed_from_outside() -> None:
    model = net()
    batches = DataLoader(Augmented(400), batch_size=4, num_workers=1)
    before = of_everything(model, loaders=(batches,))
    killed: list[int] = []

    def kill(point: Any) -> None:
        if not killed:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    sweep = Sweep(Loop(model, adam(model), batches, F.cross_entropy), SweepConfig(num_steps=99))
    with pytest.raises((RuntimeError, ConnectionError, EOFError)):
        sweep.run(on_point=kill)
    assert killed
    assert len(sweep.curve()) >= 1
    assert not changes(before, of_everything(model, loaders=(batches,)))


class Failing(Dataset[Any]):
    """Raises at one sample."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> Any:
        if index == 20:
            raise ZeroDivisionError("sample 20")
        return torch.zeros(6), torch.tensor(0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_that_raises_keeps_no_worker_alive(workers: int) -> None:
    model = net()
    batches = DataLoader(Failing(), batch_size=8, num_workers=workers)
    with pytest.raises(ZeroDivisionError) as error:
        range_test(model, adam(model), batches, F.cross_entropy)
    assert not multiprocessing.active_children(), "although the exception and its traceback are still held"
    assert len(error.value.curve) == 2  # type: ignore[attr-defined]


# Memory ---------------------------------------------------------------------------------------------------------------


class Filling(nn.Module):
    """Runs out of memory in the forward pass, as an accelerator does, or for real."""

    def __init__(self, real: bool) -> None:
        super().__init__()
        self.layer, self.real, self.calls = nn.Linear(6, 3), real, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == 4:
            if not self.real:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            torch.empty(2**60)
        return self.layer(x)


@pytest.mark.parametrize("real", [False, True])
def test_out_of_memory_in_the_forward(real: bool) -> None:
    model = Filling(real)
    optimizer = adam(model)
    before = of_everything(model, optimizer)
    with pytest.raises(RuntimeError) as error:
        range_test(model, optimizer, loader(), F.cross_entropy)
    assert not changes(before, of_everything(model, optimizer))
    assert len(error.value.curve) == 3  # type: ignore[attr-defined]


def test_nothing_of_a_sweep_is_held_after_it() -> None:
    model = net()
    optimizer = adam(model)
    loop = Loop(model, optimizer, loader(), F.cross_entropy)
    sweep = Sweep(loop, SweepConfig(num_steps=5))
    alive: list[weakref.ref[torch.Tensor]] = []

    def look(point: Any) -> None:
        alive.extend(weakref.ref(t) for entry in optimizer.state.values() for t in entry.values())
        alive.extend(weakref.ref(p.grad) for p in model.parameters() if p.grad is not None)

    sweep.run(on_point=look)
    gc.collect()
    assert alive
    assert not [it for it in alive if it() is not None]


def test_nothing_is_written_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = net()
    range_test(model, adam(model), loader(), F.cross_entropy, num_steps=5, snapshot="cpu", verify=True)
    assert not list(tmp_path.iterdir())


def test_no_thread_is_left() -> None:
    before = threading.enumerate()
    model = net()
    range_test(model, adam(model), loader(), F.cross_entropy, num_steps=5)
    assert threading.enumerate() == before


def test_a_sweep_on_a_worker_thread_gives_back_as_well() -> None:
    model = net()
    optimizer = adam(model)
    batches = loader()
    before = of_everything(model, optimizer, loaders=(batches,))
    lengths: list[int] = []

    def work() -> None:
        lengths.append(len(range_test(model, optimizer, batches, F.cross_entropy, num_steps=5)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert lengths == [5]
    assert not changes(before, of_everything(model, optimizer, loaders=(batches,)))


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-5.0, 0.0, 1e30, -1e-30])
def test_losses_of_any_sign_and_size_make_a_curve(value: float) -> None:
    model = net()
    curve = range_test(model, adam(model), loader(), lambda o, y: F.cross_entropy(o, y) * 0 + value, num_steps=20)
    assert len(curve) == 20
    assert curve.losses == pytest.approx(np.full(20, value))


def test_a_negative_loss_that_rises_without_end_is_noticed() -> None:
    model = nn.Linear(6, 3)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    shifted = lambda o, y: F.cross_entropy(o, y) - 5  # noqa: E731
    curve = range_test(model, sgd, loader(), shifted, start_lr=1e-3, end_lr=1e6, num_steps=200)
    assert curve.stop_reason == "diverged"
    assert len(curve) < 200


def test_a_loss_per_sample_is_refused_after_giving_back() -> None:
    model = net()
    before = of_everything(model)
    with pytest.raises(LossError, match=r"^Got a loss of shape \(8,\), 8 numbers; expected one\. Take its mean"):
        range_test(model, adam(model), loader(), nn.CrossEntropyLoss(reduction="none"))
    assert not changes(before, of_everything(model))


# Anything at all ------------------------------------------------------------------------------------------------------


class UserError(Exception):
    """The user's own."""


PLACES = ["nothing", "forward", "backward", "step", "loss", "loader", "callback", "stop"]
FAULTS: dict[str, Callable[[], object]] = {
    "raise": lambda: _raise(UserError()),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "signal": lambda: signal.raise_signal(signal.SIGINT),
    "memory": lambda: _raise(torch.OutOfMemoryError("full")),
    "library": lambda: _raise(RuntimeError("shapes")),
    "exit": lambda: _raise(SystemExit()),
    "draw": lambda: (random.random(), np.random.rand(), torch.rand(1)),
    "grad mode": lambda: torch.set_grad_enabled(True),
}
LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "plain": lambda loss: loss,
    "negative": lambda loss: loss - 10,
    "nan": lambda loss: loss * math.nan,
    "inf": lambda loss: loss * math.inf,
    "huge": lambda loss: loss * 1e20,
    "zero": lambda loss: loss * 0,
    "one element": lambda loss: loss.reshape(1),
    "two elements": lambda loss: torch.stack([loss, loss]),
    "detached": lambda loss: loss.detach(),
}
LOADERS: dict[str, Callable[[], Any]] = {
    "shuffled": loader,
    "augmented": lambda: DataLoader(Augmented(), 8, shuffle=True),
    "list": lambda: [classification(8), classification(4)],
    "stream": lambda: DataLoader(Stream(), 8),
    "one shot": lambda: iter([classification(8)] * 3),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"amp": "bf16"},
    {"amp": "fp16"},
    {"accumulate": 2},
    {"clip_grad_norm": 0.1},
    {"own step": True},
]


def _raise(error: BaseException) -> None:
    raise error


class Trigger:
    """Calls a fault the n-th time that a place is passed."""

    def __init__(self, at: int, fault: Callable[[], object]) -> None:
        self.left, self.fault = at, fault

    def pull(self, *args: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.fault()


def build(
    model_name: str, optimizer_name: str, loader_name: str, place: str, trigger: Trigger, loss_name: str, option: Any
) -> tuple[Loop, Any, Callable[[], bool], Callable[[Any], object]]:
    model = MODELS[model_name]()
    optimizer = make_optimizer(optimizer_name, model)
    if place == "forward":
        model.register_forward_pre_hook(trigger.pull)
    if place == "backward":
        next(p for p in model.parameters() if p.requires_grad).register_hook(trigger.pull)
    if place == "step":
        optimizer.register_step_pre_hook(trigger.pull)
        optimizer.register_step_post_hook(trigger.pull)
    source = LOADERS[loader_name]()

    def batches() -> Any:
        for batch in source:
            trigger.pull()
            yield batch

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if place == "loss":
            trigger.pull()
        return LOSSES[loss_name](F.cross_entropy(output, target))

    def own_step(batch: Any) -> torch.Tensor:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = loss_fn(model(batch[0]), batch[1])
            loss.backward()
            return loss

        if isinstance(optimizer, torch.optim.LBFGS):
            return optimizer.step(closure)  # type: ignore[arg-type,return-value]
        loss = closure()
        optimizer.step()
        return loss

    own = option.get("own step", False)
    options: dict[str, Any] = {"train_step": own_step} if own else dict(option)
    loop = Loop(model, optimizer, batches() if place == "loader" else source, loss_fn, **options)
    stop = (lambda: bool(trigger.pull())) if place == "stop" else (lambda: False)
    on_point = trigger.pull if place == "callback" else (lambda point: None)
    return loop, source, stop, on_point


@settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    model_name=st.sampled_from(sorted(set(MODELS) - {"compiled", "scripted", "traced by fx"})),
    optimizer_name=st.sampled_from(sorted(OPTIMIZERS)),
    loader_name=st.sampled_from(sorted(LOADERS)),
    place=st.sampled_from(PLACES),
    fault=st.sampled_from(sorted(FAULTS)),
    at=st.integers(1, 8),
    loss_name=st.sampled_from(["plain", "plain", *LOSSES]),
    option=st.sampled_from(OPTIONS),
    steps=st.integers(2, 6),
    end_lr=st.sampled_from([1e-3, 1.0, 1e8]),
    warm=st.booleans(),
    training=st.booleans(),
    snapshot=st.sampled_from([None, "cpu"]),
)
def test_the_promise_holds_for_any_loop_and_any_fault(
    model_name: str,
    optimizer_name: str,
    loader_name: str,
    place: str,
    fault: str,
    at: int,
    loss_name: str,
    option: dict[str, Any],
    steps: int,
    end_lr: float,
    warm: bool,
    training: bool,
    snapshot: str | None,
) -> None:
    torch.manual_seed(at)
    trigger = Trigger(10**9, FAULTS[fault])
    loop, source, stop, on_point = build(model_name, optimizer_name, loader_name, place, trigger, loss_name, option)
    if warm and loader_name != "one shot" and loss_name == "plain" and option.get("amp") != "fp16":
        take, drawn = loop.stepper(), loop.batches()
        take(drawn)
    loop.model.train(training)
    trigger.left = at
    kept = (source,) if isinstance(source, DataLoader) else ()
    before = of_everything(loop.model, *loop.optimizers, loaders=kept)
    sweep = Sweep(loop, SweepConfig(num_steps=steps, end_lr=end_lr), snapshot=snapshot, verify=True)
    points: list[Any] = []

    def watch(point: Any) -> None:
        points.append(point)
        on_point(point)

    try:
        sweep.run(stop, watch)
    except (UserError, KeyboardInterrupt, SystemExit, LRWidgetError, RuntimeError, ValueError, IndexError) as error:
        assert "giving back" not in str(error)
    assert not changes(before, of_everything(loop.model, *loop.optimizers, loaders=kept))
    assert len(sweep.curve()) == len(points)
    assert sweep.curve().given_back is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Fatal(random.Random):
    """A generator of an augmentation. When its state is given back, a worker of some loader dies."""

    at_risk = False

    def setstate(self, state: Any) -> None:
        if self.at_risk:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            worker.kill()
            os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # dead, and there for torch to find it so
        super().setstate(state)


class Drawing(Augmented):
    def __init__(self) -> None:
        super().__init__(16)
        self.chance = Fatal(0)


@pytest.mark.parametrize("how", ["sweep", "preserved"])
def test_a_worker_that_dies_while_things_are_given_back_does_not_break_into_it(how: str) -> None:
    model = net()
    optimizer = adam(model)
    train(model, optimizer, loader(), 2)
    elsewhere = iter(DataLoader(Augmented(64), batch_size=8, num_workers=1))
    dataset = Drawing()
    batches = DataLoader(dataset, batch_size=8)
    before = of_everything(model, optimizer)
    try:
        if how == "sweep":
            sweep = Sweep(Loop(model, optimizer, batches, F.cross_entropy), SweepConfig(num_steps=4))
            sweep.run(on_point=lambda point: setattr(dataset.chance, "at_risk", True))
        else:
            with preserved(model, optimizer, loaders=[batches]):
                train(model, optimizer, batches, 2)
                dataset.chance.at_risk = True
    finally:
        dataset.chance.at_risk = False
    assert not changes(before, of_everything(model, optimizer))
    with pytest.raises((RuntimeError, ConnectionError, EOFError)):
        list(elsewhere)  # who asks for a batch hears of it
