"""Optimizers without what torch wraps around them: the same numbers, and nobody who wants to hear of a step misses it.

The oracle is `optimizer.step()` itself.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import lrwidget
from lrwidget.engine.loops import shortcuts
from lrwidget.engine.loops.shortcuts import clear_gradients, step_optimizer

MAKERS: dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    "AdamW, fused": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
    "Adam, looped over": lambda parameters: torch.optim.Adam(parameters, lr=0.1, foreach=False),
    "Adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.1),
    "RMSprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.1),
}


def parameters() -> list[torch.Tensor]:
    return [torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_(), torch.ones(2, requires_grad=True)]


def give_gradients(ps: list[torch.Tensor], step: int) -> None:
    for p in ps:
        p.grad = torch.cos(p.detach() * (step + 1))


@pytest.mark.parametrize("name", MAKERS)
def test_steps_are_those_of_the_optimizer_to_the_last_bit(name: str) -> None:
    ours, theirs = parameters(), parameters()
    short, full = MAKERS[name](ours), MAKERS[name](theirs)
    for step in range(5):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        step_optimizer(short)
        full.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        clear_gradients(short)
        assert all(p.grad is None for p in ours)
    assert torch.is_grad_enabled()


def test_this_torch_is_one_whose_steps_are_understood() -> None:
    """Else every step takes the long way: read what torch wraps around a step now, and what of it can be left out."""
    assert shortcuts.UNDERSTOOD


def test_the_long_way_is_taken_where_torch_does_something_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    ps = parameters()
    optimizer = torch.optim.SGD(ps, lr=0.1)
    told: list[str] = []

    def record(name: str) -> nullcontext[None]:
        told.append(name)
        return nullcontext()

    monkeypatch.setattr(torch.autograd.profiler, "record_function", record)
    step_optimizer(optimizer)
    assert told == []
    monkeypatch.setattr(shortcuts, "UNDERSTOOD", False)
    step_optimizer(optimizer)
    assert told == ["Optimizer.step#SGD.step"]


@pytest.mark.parametrize("kind", ["before", "after", "before any", "after any"])
def test_hooks_are_called_at_every_step_also_those_that_come_later(kind: str) -> None:
    ps = parameters()
    optimizer = torch.optim.SGD(ps, lr=0.1)
    step_optimizer(optimizer)
    heard: list[Any] = []

    def hook(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        heard.append(optimizer)

    register = {
        "before": optimizer.register_step_pre_hook,
        "after": optimizer.register_step_post_hook,
        "before any": register_optimizer_step_pre_hook,
        "after any": register_optimizer_step_post_hook,
    }[kind]
    handle = register(hook)
    try:
        step_optimizer(optimizer)
        step_optimizer(optimizer)
    finally:
        handle.remove()
    step_optimizer(optimizer)
    assert heard == [optimizer, optimizer]


def test_a_profiler_sees_the_steps_of_a_sweep() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (torch.ones(4, 2), torch.zeros(4, 1))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        lrwidget.range_test(model, optimizer, [batch], torch.nn.functional.mse_loss, num_steps=3, diverge_ratio=None)
    counts = {event.key: event.count for event in profiled.key_averages()}
    assert counts["Optimizer.step#SGD.step"] == 3
    assert counts["Optimizer.zero_grad#SGD.zero_grad"] == 3


def test_a_step_that_somebody_has_replaced_is_called() -> None:
    ps = parameters()
    optimizer = torch.optim.SGD(ps, lr=0.1)
    heard = []
    optimizer.step = lambda: heard.append("step")  # type: ignore[method-assign, assignment, return-value]
    optimizer.zero_grad = lambda: heard.append("zero_grad")  # type: ignore[method-assign, assignment, misc, return-value]
    clear_gradients(optimizer)
    step_optimizer(optimizer)
    assert heard == ["zero_grad", "step"]


def test_a_scheduler_of_torchs_hears_of_the_steps(recwarn: pytest.WarningsRecorder) -> None:
    """It warns when it is asked to step before its optimizer has: it counts by a step of its own around torch's."""
    ps = parameters()
    optimizer = torch.optim.SGD(ps, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    give_gradients(ps, 0)
    step_optimizer(optimizer)
    scheduler.step()
    assert not [str(warning.message) for warning in recwarn]


def test_an_optimizer_that_is_none_of_torchs_is_called() -> None:
    class Own:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def zero_grad(self) -> None:
            self.heard.append("zero_grad")

        def step(self) -> None:
            self.heard.append("step")

    own = Own()
    clear_gradients(own)  # type: ignore[arg-type]
    step_optimizer(own)  # type: ignore[arg-type]
    assert own.heard == ["zero_grad", "step"]


def test_the_method_of_another_optimizer_is_called_on_that_one() -> None:
    """A wrapper that hands on the methods of the one inside."""

    class Outer(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            super().__init__([torch.zeros(1, requires_grad=True)], {})
            self.step = inner.step  # type: ignore[method-assign]
            self.zero_grad = inner.zero_grad  # type: ignore[method-assign]

    class Plain(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    for kind in (torch.optim.SGD, Plain):
        ours, theirs = parameters(), parameters()
        outer, full = Outer(kind(ours, lr=0.1)), kind(theirs, lr=0.1)
        give_gradients(ours, 0)
        give_gradients(theirs, 0)
        step_optimizer(outer)
        full.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        clear_gradients(outer)
        assert all(p.grad is None for p in ours)


def test_what_passes_for_a_method_and_does_more_is_called() -> None:
    class Counted:
        def __init__(self, method: Any) -> None:
            self.method, self.calls = method, 0

        def __call__(self) -> Any:
            self.calls += 1
            return self.method()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.method, name)

    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    optimizer.step = step = Counted(optimizer.step)  # type: ignore[method-assign, assignment]
    optimizer.zero_grad = zero_grad = Counted(optimizer.zero_grad)  # type: ignore[method-assign, assignment]
    step_optimizer(optimizer)
    clear_gradients(optimizer)
    assert (step.calls, zero_grad.calls) == (1, 1)


def test_a_zero_grad_that_somebody_had_replaced_before_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    ps = parameters()
    optimizer = torch.optim.SGD(ps, lr=0.1)
    torchs = torch.optim.Optimizer.zero_grad

    def keeping(self: torch.optim.Optimizer) -> None:
        torchs(self, set_to_none=False)

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", keeping)
    monkeypatch.setattr(shortcuts, "ZERO_GRAD", keeping)  # as if it had been there at the import
    monkeypatch.setattr(shortcuts, "ZERO_GRAD_IS_TORCHS", shortcuts.is_torchs(keeping))
    give_gradients(ps, 0)
    clear_gradients(optimizer)
    assert all(p.grad is not None and not p.grad.any() for p in ps)
