"""The default step reads every batch that the loop everybody writes can read, and says what it cannot."""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrwidget.engine.errors import BatchError, LossError
from lrwidget.engine.loops.reading import Reading
from lrwidget.engine.loops.step import ExplainedReading

X, Z = torch.arange(6.0).reshape(3, 2), torch.ones(3, 2)
Y = torch.tensor([0.0, 1.0, 2.0])
LABELS = torch.tensor([0, 1, 1])


class One(nn.Module):
    """One input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=1)


class Two(nn.Module):
    """Two inputs, by position or by name."""

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return (x * z).sum(dim=1)


class Optional(nn.Module):
    """One input, and one that may be left out."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return x.sum(dim=1) if mask is None else (x * mask).sum(dim=1)


class Any_(nn.Module):
    """Takes whatever comes."""

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        return torch.stack([*args, *kwargs.values()]).sum(dim=(0, 2))


class Row(NamedTuple):
    """A named tuple of inputs and target."""

    x: torch.Tensor
    z: torch.Tensor
    y: torch.Tensor


@dataclasses.dataclass
class Fields:
    """A dataclass with a target."""

    x: torch.Tensor
    z: torch.Tensor
    target: torch.Tensor


class Graph:
    """A batch that is passed whole, with its target as an attribute."""

    def __init__(self) -> None:
        self.x, self.y = X, Y

    def to(self, device: object) -> "Graph":
        return self


def absolute(output: torch.Tensor, *targets: torch.Tensor) -> torch.Tensor:
    """A loss that tells which output and targets it got."""
    return (output - sum(targets)).abs().sum()


def whole(model: Callable[..., Any], batch: Any, loss_fn: Any = absolute) -> float:
    return Reading(model, loss_fn)(batch).item()


S, SZ = X.sum(dim=1), (X * Z).sum(dim=1)


@pytest.mark.parametrize(
    ("model", "batch", "expected"),
    [
        (One(), (X, Y), (S - Y).abs().sum()),
        (One(), [X, Y], (S - Y).abs().sum()),
        (Two(), (X, Z, Y), (SZ - Y).abs().sum()),
        (Two(), Row(X, Z, Y), (SZ - Y).abs().sum()),
        (Two(), ((X, Z), Y), (SZ - Y).abs().sum()),
        (Two(), ({"x": X, "z": Z}, Y), (SZ - Y).abs().sum()),
        (Two(), {"x": X, "z": Z, "labels": Y}, (SZ - Y).abs().sum()),
        (Two(), {"labels": Y, "z": Z, "x": X}, (SZ - Y).abs().sum()),
        (Two(), Fields(X, Z, Y), (SZ - Y).abs().sum()),
        (One(), (X, Y, Y), (S - 2 * Y).abs().sum()),
        (One(), {"image": X, "label": Y}, (S - Y).abs().sum()),
        (Optional(), (X, Z, Y), (SZ - Y).abs().sum()),
        (Optional(), (X, Y), (S - Y).abs().sum()),
        (Any_(), (X, Z, Y), ((X + Z).sum(dim=1) - Y).abs().sum()),
        (nn.Sequential(One()), (X, Y), (S - Y).abs().sum()),
        (lambda g: g.x.sum(dim=1), Graph(), (S - Y).abs().sum()),
        (torch.compile(One(), backend="eager"), (X, Y), (S - Y).abs().sum()),
        (nn.DataParallel(Two()), (X, Z, Y), (SZ - Y).abs().sum()),
        (functools.partial(Two(), z=Z), (X, Y), (SZ - Y).abs().sum()),
    ],
)
def test_inputs_go_to_the_model_and_targets_to_the_loss(model: Any, batch: Any, expected: torch.Tensor) -> None:
    assert whole(model, batch) == pytest.approx(expected.item())


@pytest.mark.parametrize("batch", [X, (X,), [X]])
def test_an_unlabelled_batch_is_its_own_target(batch: Any) -> None:
    assert whole(nn.Identity(), batch, F.mse_loss) == 0.0


class OwnLoss(nn.Module):
    """Returns its own loss in one of many ways."""

    def __init__(self, wrap: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> Any:
        return self.wrap((x.sum(dim=1) - labels).pow(2).mean())


WRAPS: dict[str, Callable[[torch.Tensor], Any]] = {
    "scalar": lambda loss: loss,
    "one element": lambda loss: loss.reshape(1),
    "tuple": lambda loss: (loss, X),
    "dict": lambda loss: {"logits": X, "loss": loss},
    "object": lambda loss: types.SimpleNamespace(loss=loss, logits=X),
    "parts": lambda loss: {"box": loss / 4, "class": loss * 3 / 4},
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("batch", [(X, Y), {"x": X, "labels": Y}])
def test_a_model_may_return_its_own_loss(wrap: str, batch: Any) -> None:
    assert whole(OwnLoss(WRAPS[wrap]), batch, None) == pytest.approx((S - Y).pow(2).mean().item())


OUTPUTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "tensor": lambda out: out,
    "tuple": lambda out: (out, "attention"),
    "logits key": lambda out: {"hidden": X, "logits": out},
    "first value": lambda out: {"out": out},
    "logits attribute": lambda out: types.SimpleNamespace(logits=out),
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    "loss_fn", [nn.CrossEntropyLoss(), F.cross_entropy, functools.partial(F.cross_entropy, label_smoothing=0.0)]
)
def test_losses_of_torch_get_the_tensor_in_the_output(output: str, loss_fn: Any) -> None:
    expected = F.cross_entropy(X, LABELS).item()
    assert whole(lambda x: OUTPUTS[output](x), (X, LABELS), loss_fn) == pytest.approx(expected)


def test_a_loss_of_the_users_gets_the_output_as_it_is() -> None:
    got: list[Any] = []

    def loss_fn(output: Any, target: Any) -> torch.Tensor:
        got.append(output)
        return output["a"].sum()

    whole(lambda x: {"a": x, "b": x}, (X, Y), loss_fn)
    assert set(got[0]) == {"a", "b"}


@pytest.mark.parametrize("batch", ["text", 3, None, 2.0, ()])
def test_a_batch_that_nothing_is_in_is_an_error_that_shows_the_other_way(batch: Any) -> None:
    with pytest.raises(BatchError, match=r"^Got .*; expected .*loss_step=") as error:
        whole(One(), batch)
    assert "loss_step" in str(error.value)


class Opaque:
    """Knows how to go to a device, and nothing else that anybody here knows of."""

    def __init__(self) -> None:
        self.pixels, self.classes = X, Y

    def to(self, device: torch.device) -> "Opaque":
        return self


@pytest.mark.parametrize("loss_fn", [absolute, F.mse_loss, None])
@pytest.mark.parametrize("model", [nn.Linear(2, 1), One()])
def test_a_batch_that_the_model_cannot_take_as_it_is_is_an_error_that_says_what_to_do(model: Any, loss_fn: Any) -> None:
    with pytest.raises(
        BatchError, match=r"(?s)^Got a batch Opaque, of which the Opaque was.*Expected.*Pass loss_step="
    ) as error:
        ExplainedReading(Reading(model, loss_fn))(Opaque())
    assert "Opaque" in str(error.value.__cause__)
    assert not hasattr(error.value, "__notes__")


def test_a_batch_that_the_model_takes_and_the_loss_does_not_is_told_so_too() -> None:
    model = nn.Module()
    model.forward = lambda batch: batch.pixels
    with pytest.raises(BatchError, match=r"understood: 'Opaque' object has no attribute 'size'"):
        Reading(model, F.mse_loss)(Opaque())


def test_arrays_in_a_batch_are_told_to_be_made_tensors() -> None:
    with pytest.raises(
        BatchError, match=r"(?s)^Got a batch tuple\(ndarray, ndarray\), of which the ndarray.*Expected\stensors"
    ):
        ExplainedReading(Reading(nn.Linear(2, 1), F.mse_loss))((X.numpy(), Y.numpy()))


def test_an_error_of_the_model_that_is_not_about_the_batch_stays_as_it_is() -> None:
    def forward(batch: Opaque) -> Any:
        return batch.pixels + "one"

    with pytest.raises(TypeError, match="unsupported operand") as error:
        ExplainedReading(Reading(forward, None))(Opaque())
    assert not isinstance(error.value, BatchError)
    assert "lrwidget read the batch Opaque as model(Opaque)" in error.value.__notes__[0]


def test_a_batch_that_cannot_be_read_is_one_error_and_not_two() -> None:
    with pytest.raises(BatchError) as error:
        ExplainedReading(Reading(One(), absolute))("text")
    assert error.value.__context__ is None


def test_a_mapping_without_a_target_says_which_keys_would_do() -> None:
    with pytest.raises(BatchError, match=r"without a target; expected one of the keys labels, "):
        whole(Two(), {"x": X, "z": Z})


def test_inputs_that_forward_does_not_take_are_named_beside_those_it_takes() -> None:
    with pytest.raises(BatchError, match=r"inputs a, b; expected names that Two.forward takes: x, z"):
        whole(Two(), {"a": X, "b": Z, "y": Y})


def test_a_model_without_a_loss_of_its_own_is_told_to_be_given_one() -> None:
    with pytest.raises(BatchError, match=r"^Got no loss_fn, and One returned float32 Tensor\(3,\)"):
        whole(One(), (X,), None)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (X, r"shape \(3, 2\), 6 numbers; expected one.*mean\(\)"),
        (torch.empty(0), r"shape \(0,\), 0 numbers; expected one"),
        (1.5, r"type float \(1.5\); expected a tensor"),
        (None, r"type NoneType"),
        ((X.mean(), {}), r"type tuple.*Return the tensor alone, without what else there is to log"),
        ({"loss": X.mean()}, r"type dict.*Return the tensor alone"),
        (torch.tensor(1j), r"complex loss"),
    ],
)
def test_a_loss_that_is_no_single_number_is_refused(loss: Any, said: str) -> None:
    with pytest.raises(LossError, match=f"^Got a (loss of )?{said}" if "complex" not in said else "complex"):
        whole(One(), (X, Y), lambda output, target: loss)


def test_the_users_own_error_carries_how_the_batch_was_read() -> None:
    with pytest.raises(RuntimeError) as error:
        ExplainedReading(Reading(nn.Linear(5, 1), absolute))((X, Y))
    assert (
        "read the batch tuple(float32 Tensor(3, 2), float32 Tensor(3,)) as model(float32 Tensor(3, 2))"
        in error.value.__notes__[0]
    )
    assert "loss_step" in error.value.__notes__[0]
