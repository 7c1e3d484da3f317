"""Losses that are read some steps late: none is lost, changed or taken for another's."""

import pytest
import torch

from lrwidget.engine.loops.late import LateLosses


def test_every_loss_comes_out_once_in_order_and_as_late_as_allowed() -> None:
    late: LateLosses[int] = LateLosses(3)
    out: list[tuple[int, float]] = []
    for step in range(10):
        late.send(step, [torch.tensor(float(step))])
        out += late.arrived()
        assert len(out) == max(0, step + 1 - 3)
    out += late.rest()
    assert out == [(step, float(step)) for step in range(10)]


def test_a_loss_is_the_one_that_was_sent_though_its_tensor_is_used_again() -> None:
    running = torch.zeros(())
    late: LateLosses[int] = LateLosses(2)
    for step in range(6):
        late.send(step, [running.fill_(step)])
    assert [loss for _, loss in late.rest()] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_losses_of_several_batches_and_types_take_turns(shape: tuple[int, ...]) -> None:
    late: LateLosses[str] = LateLosses(1)
    out: list[tuple[str, float]] = []
    for losses in ([1.0], [2.0, 4.0], [8.0], [0.5, 0.5, 2.0]):
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            late.send(
                f"{losses} {dtype}", [torch.full(shape, loss, dtype=dtype, requires_grad=True) for loss in losses]
            )
            out += late.arrived()
    out += late.rest()
    assert [loss for _, loss in out] == [1.0] * 3 + [3.0] * 3 + [8.0] * 3 + [1.0] * 3


def test_losses_arrive_on_the_cpu_whatever_device_is_the_default() -> None:
    late: LateLosses[int] = LateLosses(2)
    with torch.device("meta"):
        for step in range(4):
            late.send(step, [torch.tensor(float(step), device="cpu")])
    assert list(late.rest()) == [(step, float(step)) for step in range(4)]


def test_a_loss_that_is_more_than_a_tensor_or_negated_when_read_is_its_number() -> None:
    class Named(torch.Tensor):
        pass

    late: LateLosses[str] = LateLosses(2)
    late.send("subclass", [torch.tensor(3.0).as_subclass(Named)])
    late.send("negated", [torch.tensor(1 + 2j).conj().imag])
    late.send("both", [torch.tensor(3.0).as_subclass(Named), torch.tensor(5.0)])
    assert list(late.rest()) == [("subclass", 3.0), ("negated", -2.0), ("both", 4.0)]


@pytest.mark.gpu
def test_a_loss_on_a_gpu_is_the_one_that_was_sent_though_its_tensor_is_used_again() -> None:
    running = torch.zeros((), device="cuda")
    late: LateLosses[int] = LateLosses(4)
    out: list[float] = []
    for step in range(200):
        late.send(step, [running.fill_(step)])
        out += [loss for _, loss in late.arrived()]
    out += [loss for _, loss in late.rest()]
    assert out == [float(step) for step in range(200)]
