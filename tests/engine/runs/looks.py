"""How often a model's weights are read to see whether they are finite."""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class Looks(TorchFunctionMode):
    """Counts the parameters that are asked for what is not finite, inside a `with` block."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.isfinite, torch.isnan) and isinstance(args[0], nn.Parameter)
        return func(*args, **(kwargs or {}))
