"""Whether the weights that train are finite, looked at once for as long as nobody writes to them."""

import torch
from torch import nn

Sign = tuple[tuple[int, int], ...]
"""Object and version of every weight that trains."""


class FiniteWeights:
    """Tells whether a model's weights are still finite, and remembers the answer until they are written to.

    A look reads every weight, and at the end of an epoch the copy of the best, the next step and a checkpoint ask one
    after the other. What was written in between is known from torch's version counters. They miss what goes through
    `.data` and what a replayed graph does, so whoever takes a step says `forget()`.

    Args:
        model: an object that is no module has no weights that could be looked at.
    """

    def __init__(self, model: object) -> None:
        self._model = model if isinstance(model, nn.Module) else None
        self._masks: set[int] = set()
        self._seen: Sign | None = None
        self._answer = True

    def begin(self) -> None:
        """Take the infinities that are there now for meant, as in a mask."""
        self._masks = {id(p) for p in self._training() if bool(torch.isinf(p).any())}
        self.forget()

    def forget(self) -> None:
        """Look again at the next question, whatever the version counters say."""
        self._seen = None

    def unharmed(self) -> bool:
        """Whether all weights that train are finite, but for infinities that were there before."""
        weights = self._training()
        sign = tuple((id(p), p._version) for p in weights)
        if sign != self._seen:
            self._answer, self._seen = all(map(self._is_sound, weights)), sign
        return self._answer

    def _is_sound(self, weight: torch.Tensor) -> bool:
        return not bool(torch.isnan(weight).any() if id(weight) in self._masks else not torch.isfinite(weight).all())

    def _training(self) -> list[torch.Tensor]:
        held = self._model.parameters() if self._model is not None else ()
        return [p for p in held if p.requires_grad and not isinstance(p, nn.parameter.UninitializedParameter)]
