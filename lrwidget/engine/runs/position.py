"""Where a run is in its data, so that another process can go on with the very next batch.

No loader tells its position, but every loader starts a pass from random states that can be read. Those are kept when a
pass begins. To come back to the middle of it, they are put back, the pass is begun again, as many batches are
drawn and dropped as were used, and then the random states of that moment are put back as well. Worker processes
draw their seeds when a pass begins, so theirs are the same too. Those that live from pass to pass
(`persistent_workers`) draw them before the first pass only: the batches of a later one come in the same order, but what
the workers themselves draw at random is new, because where their generators stand nobody can read.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from lrwidget.engine.borrowing.kept import KeptState, as_state
from lrwidget.engine.borrowing.reach import FUNCTIONS, is_users_module, referred
from lrwidget.engine.errors import InputError
from lrwidget.engine.loops.batches import Batches
from lrwidget.engine.loops.protocols import Loader

PART_LIMIT = 1000
"""A longer container is data."""

OTHER_GENERATORS = """Got {got} random generators in the model, the loader and what they hold; the run was begun with
{expected}. Make them as they were for that run."""


class Position:
    """The place of a run in its data and in all random numbers.

    Args:
        loader: the training loader. One with `state_dict` and `load_state_dict` is asked for its own position.
        roots: what else a step uses: model, loss, the user's own step. The random generators that they and the loader
            hold are found and kept, besides Python's, NumPy's and torch's global ones.
    """

    def __init__(self, loader: Loader, roots: Iterable[Any]) -> None:
        self.batches = Batches(loader, before_pass=self._note_start)
        self._loader = loader
        self._tells = hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        self._generators = [*_global_generators(), *_generators_in([loader, *roots])]
        self._start: list[Any] = []
        self._lived = False

    def state(self) -> dict[str, Any]:
        """The place now. To be asked between a step and the next look at the loader."""
        return {
            "drawn": self.batches.drawn,
            "start": None if self._tells else self._start,
            "workers live": self._lived if self.batches.drawn else self._workers_live(),
            "now": self._random_states(),
            "loader": self._loader.state_dict() if self._tells else None,  # type: ignore[attr-defined]
        }

    def go_to(self, state: Mapping[str, Any], *, at_end: bool = False) -> None:
        """Come to the place that `state` tells: ready for the next batch or, at the end of a run, for none."""
        if self._tells:
            self._loader.load_state_dict(state["loader"])  # type: ignore[attr-defined]
            if state["drawn"]:
                self.batches.join(state["drawn"])
        elif state["drawn"] and not at_end:
            self._put_back_for_a_pass(state["start"], state["workers live"])
            self.batches.skip(state["drawn"])
        if state["drawn"] or at_end:
            self._put_back(state["now"])
        else:
            self._put_back_for_a_pass(state["now"], state["workers live"])

    def _put_back_for_a_pass(self, states: Sequence[Any], lived: bool) -> None:
        """Put the random states back so that a pass which begins now draws from them what it drew then."""
        live = self._workers_live()
        if lived and not live:
            iter(self._loader)
        self._put_back(states)
        if live and not lived:  # what a DataLoader draws when it starts its workers
            torch.empty((), dtype=torch.int64).random_(generator=getattr(self._loader, "generator", None))

    def _workers_live(self) -> bool:
        """Whether a pass that begins now would find its workers at hand, and so would draw no seed for them."""
        loader = self._loader
        return isinstance(loader, DataLoader) and loader.persistent_workers and loader._iterator is not None

    def _note_start(self) -> None:
        self._start, self._lived = self._random_states(), self._workers_live()

    def _random_states(self) -> list[Any]:
        return [generator.read() for generator in self._generators]

    def _put_back(self, states: Sequence[Any]) -> None:
        if len(states) != len(self._generators):
            raise InputError(OTHER_GENERATORS.format(got=len(self._generators), expected=len(states)))
        for generator, state in zip(self._generators, states, strict=True):
            generator.write(state)


def _global_generators() -> Iterator[KeptState]:
    """Python's, NumPy's and torch's, on every device in use."""
    yield KeptState("Python's", random.getstate, random.setstate)
    yield KeptState("NumPy's", np.random.get_state, np.random.set_state)
    yield KeptState("torch's", torch.get_rng_state, torch.set_rng_state)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield KeptState("CUDA's", torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all)
    if torch.backends.mps.is_available():
        yield KeptState("MPS's", torch.mps.get_rng_state, torch.mps.set_rng_state)


def _generators_in(roots: Iterable[Any]) -> Iterator[KeptState]:
    """The random generators that can be reached from the roots, each once, in an order that depends on them alone."""
    seen: dict[int, object] = {}
    ahead = deque(roots)
    while ahead:
        value = ahead.popleft()
        if value is None or isinstance(value, (bool, int, float, str, bytes, torch.Tensor)) or id(value) in seen:
            continue
        seen[id(value)] = value  # held, so that no other object can get its id meanwhile
        generator = as_state("", value)
        if generator is not None:
            yield generator
        else:
            ahead.extend(_parts(value))


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return list(value.values()) if len(value) <= PART_LIMIT else ()
    if isinstance(value, (list, tuple)):
        return value if len(value) <= PART_LIMIT else ()
    if isinstance(value, FUNCTIONS):
        return [item for _, item in referred(value)]
    if isinstance(value, (DataLoader, Dataset, Sampler, nn.Module)) or is_users_module(type(value).__module__):
        attributes = getattr(value, "__dict__", {})
        # A loader that keeps its workers has an iterator at some times and none at others.
        return [item for name, item in attributes.items() if name != "_iterator"]
    return ()
