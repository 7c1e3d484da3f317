"""Small real models, data and optimizers for the engine's tests: seeded, quick, and awkward where users' are."""

import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

FEATURES, CLASSES = 6, 3


def classification(samples: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (N, 6) and class numbers (N,) that can be learned."""
    maker = torch.Generator().manual_seed(7)
    x = torch.randn(samples, FEATURES, generator=maker)
    y = (x @ torch.randn(FEATURES, CLASSES, generator=maker)).argmax(dim=1)
    return x, y


def loader(samples: int = 48, batch_size: int = 8, seed: int = 3, **options: Any) -> "DataLoader[Any]":
    """A shuffling loader with a generator of its own."""
    options.setdefault("generator", torch.Generator().manual_seed(seed))
    options.setdefault("shuffle", True)
    return DataLoader(TensorDataset(*classification(samples)), batch_size=batch_size, **options)


def net() -> nn.Sequential:
    """A classifier with everything a forward pass can change: BatchNorm's buffers and Dropout's randomness."""
    return nn.Sequential(
        nn.Linear(FEATURES, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, CLASSES)
    )


def adam(model: nn.Module, **options: Any) -> torch.optim.AdamW:
    """AdamW over two groups with LRs a decade apart."""
    parameters = list(model.parameters())
    half = len(parameters) // 2
    return torch.optim.AdamW(
        [{"params": parameters[:half], "lr": 1e-3}, {"params": parameters[half:], "lr": 1e-2}], **options
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any, steps: int) -> list[float]:
    """A plain loop, as a user would write it; the losses."""
    losses: list[float] = []
    while len(losses) < steps:
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return losses


class Wild(nn.Module):
    """Writes in forward whatever a module can write: buffers in place and rebound, attributes, lists, arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 8)
        self.head = nn.Linear(8, CLASSES)
        self.register_buffer("counted", torch.zeros((), dtype=torch.long))
        self.register_buffer("hidden", torch.zeros(8), persistent=False)
        self.register_buffer("rebound", torch.zeros(8))
        self.register_buffer("absent", None)
        self.calls = 0
        self.seen: list[int] = []
        self.stats: dict[str, Any] = {"mean": 0.0}
        self.array = np.zeros(3)
        self.memory: torch.Tensor | None = None
        self.noise = np.random.default_rng(5)
        self.coin = random.Random(5)
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.body(x)) + torch.randn(8, generator=self.generator) * 0.01
        self.calls += 1
        self.seen.append(len(x))
        self.stats["mean"] = float(h.detach().mean())
        self.stats[f"call {self.calls}"] = self.calls
        self.array += 1
        self.memory = h.detach()
        self.late = self.calls
        self.counted += 1
        self.hidden.mul_(0.9).add_(h.detach().mean(0))
        self.rebound = self.rebound * 0.9
        self.absent = torch.ones(1)
        return self.head(h * (1 + 0.01 * self.noise.normal() + 0.01 * self.coin.random()))


class Augmented(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Adds noise from all three libraries' global generators, and from generators of its own."""

    def __init__(self, samples: int = 48) -> None:
        self.x, self.y = classification(samples)
        self.rng = np.random.default_rng(11)
        self.coin = random.Random(11)
        self.generator = torch.Generator().manual_seed(11)
        self.served: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.served.append(index)
        shift = random.random() + np.random.rand() + self.rng.normal() + self.coin.random()
        noise = torch.randn(FEATURES) + torch.randn(FEATURES, generator=self.generator)
        return self.x[index] + 0.1 * shift + 0.1 * noise, self.y[index]


class Stream(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Samples without a length."""

    def __init__(self, samples: int = 24) -> None:
        self.x, self.y = classification(samples)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(list(zip(self.x, self.y, strict=True)))


# Optimizers -----------------------------------------------------------------------------------------------------------

_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "foreach": True},
        {"momentum": 0.9, "fused": True},
        {"lr": torch.tensor(0.1), "foreach": False},
    ],
    "Adam": [{"amsgrad": True}, {"foreach": True}, {"fused": True}, {"lr": torch.tensor(0.1)}, {"maximize": True}],
    "AdamW": [{}, {"foreach": True}, {"fused": True, "lr": torch.tensor(0.1)}, {"betas": (0.0, 0.9)}],
    "Adagrad": [{"fused": True}, {"foreach": True, "initial_accumulator_value": 0.1}],
    "RMSprop": [{"momentum": 0.9, "centered": True}, {"foreach": True}],
    "Rprop": [{}, {"foreach": True}],
    "ASGD": [{}, {"foreach": True}],
    "LBFGS": [{"max_iter": 3}, {"max_iter": 3, "line_search_fn": "strong_wolfe"}],
}
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    f"{name} {options}" if options else name: (kind, options)
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name not in ("Optimizer", "SparseAdam")
    for options in _OPTIONS.get(name, [{}])
}
"""Every optimizer of torch.optim for dense parameters, with the options that change how it keeps its state."""


def make_optimizer(name: str, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of that name, over what of the model it can train."""
    kind, options = OPTIMIZERS[name]
    parameters = [p for p in model.parameters() if p.requires_grad and (p.ndim == 2 or kind.__name__ != "Muon")]
    options = {"lr": 0.1} | {
        key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in options.items()
    }
    return kind(parameters, **options)


# Models ---------------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """Keeps its hidden state from batch to batch, as stateful language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(FEATURES, 5, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(5, CLASSES)
        self.hidden: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, hidden = self.cell(x.unsqueeze(0), self.hidden)
        self.hidden = (hidden[0].detach(), hidden[1].detach())
        return self.head(output.squeeze(0))


class Tied(nn.Module):
    """Two names for one weight, and a buffer that is a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.outward.weight = self.inward.weight
        self.head = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("view", self.inward.weight.detach()[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.outward(torch.relu(self.inward(x))))


class LoRA(nn.Module):
    """A frozen base with trained low-rank adapters."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES)).requires_grad_(False)
        self.down, self.up = nn.Linear(FEATURES, 2, bias=False), nn.Linear(2, CLASSES, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x))


class Looking(nn.Sequential):
    """Hooks that count, change gradients and replace outputs."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))
        self.counts = {"forward": 0, "backward": 0, "gradient": 0}
        self[0].register_forward_hook(self._forward)
        self[2].register_full_backward_hook(self._backward)
        self[0].weight.register_hook(self._gradient)
        self[2].weight.register_post_accumulate_grad_hook(self._accumulated)

    def _forward(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        self.counts["forward"] += 1
        return output * 1.5

    def _backward(self, module: nn.Module, grad_input: Any, grad_output: Any) -> None:
        self.counts["backward"] += 1

    def _gradient(self, grad: torch.Tensor) -> torch.Tensor:
        self.counts["gradient"] += 1
        return grad / 2

    def _accumulated(self, parameter: torch.Tensor) -> None:
        self.counts["gradient"] += 1


def _old_norms() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        first = nn.utils.weight_norm(nn.Linear(FEATURES, 8))  # type: ignore[no-untyped-call]
    return nn.Sequential(first, nn.ReLU(), nn.utils.spectral_norm(nn.Linear(8, CLASSES)))


def _new_norms() -> nn.Module:
    parametrizations = nn.utils.parametrizations
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(FEATURES, 8)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(8, 8)),
        parametrizations.orthogonal(nn.Linear(8, CLASSES)),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(FEATURES, CLASSES),
    "batch norm and dropout": net,
    "wild": Wild,
    "recurrent": Recurrent,
    "tied": Tied,
    "lora": LoRA,
    "hooks": Looking,
    "weight norm and spectral norm by hooks": _old_norms,
    "weight norm, spectral norm and orthogonal by parametrization": _new_norms,
    "compiled": lambda: torch.compile(net(), backend="eager"),  # type: ignore[dict-item,return-value]
    "scripted": lambda: _scripted(),
    "traced by fx": lambda: torch.fx.symbolic_trace(net()),
    "data parallel": lambda: nn.DataParallel(net()),
    "double": lambda: nn.Sequential(_ToDouble(), nn.Linear(FEATURES, CLASSES, dtype=torch.float64)),
    "part in eval mode": lambda: _part_in_eval(),
}


class Counting(nn.Module):
    """Counts in plain attributes, which live in C++ once it is scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(FEATURES, CLASSES), nn.BatchNorm1d(CLASSES)
        self.calls = 0
        self.sizes = [0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.sizes.append(x.size(0))
        return self.norm(self.layer(x))


def _scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: nn.Module = torch.jit.script(Counting())
    return scripted


class _ToDouble(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


def _part_in_eval() -> nn.Module:
    model = net()
    model[1].eval()
    return model
