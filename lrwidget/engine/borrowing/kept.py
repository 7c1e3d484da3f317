# ruff: noqa: D102 - `Kept` documents what the methods of every record do.
"""One record for each kind of thing that can be given back: what it was, and how it becomes that again.

Everything is put back in place. A tensor stays the same object at the same storage, a dict the same dict with the same
keys in the same order: whatever else refers to them stays valid. Tensors are next door, in `kept_tensors.py`.
"""

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


class Kept(Protocol):
    """One thing as it was found."""

    path: str

    def give_back(self) -> None:
        """Put it back in place."""

    def differs(self) -> bool:
        """Whether the thing is now different from what was kept, to the bit."""


@dataclass(slots=True)
class KeptArray:
    """A NumPy array's values."""

    path: str
    array: "np.ndarray[Any, Any]"
    copy: "np.ndarray[Any, Any]" = field(init=False)

    def __post_init__(self) -> None:
        self.copy = self.array.copy()

    def give_back(self) -> None:
        if self.array.flags.writeable:
            self.array[...] = self.copy

    def differs(self) -> bool:
        return self.array.dtype != object and self.array.tobytes() != self.copy.tobytes()


@dataclass(slots=True)
class KeptContainer:
    """A dict, list, set, deque or bytearray: which objects it holds, in which order."""

    path: str
    container: Any
    content: Any = field(init=False)

    def __post_init__(self) -> None:
        kind = dict if isinstance(self.container, dict) else set if isinstance(self.container, set) else list
        self.content = kind(self.container)

    def give_back(self) -> None:
        if not self.differs():
            return
        if isinstance(self.container, dict):
            restore_dict(self.container, self.content)
            return
        self.container.clear()
        (self.container.update if isinstance(self.container, set) else self.container.extend)(self.content)

    def differs(self) -> bool:
        if isinstance(self.container, dict):
            return not same_entries(self.container, self.content)
        if isinstance(self.container, set):
            return bool(self.container != self.content)
        return len(self.container) != len(self.content) or any(
            a is not b for a, b in zip(self.container, self.content, strict=True)
        )


class KeptEmpties:
    """Containers that hold nothing, in one record: each module has a dozen dicts for hooks alone."""

    def __init__(self) -> None:
        self.path = ""
        self._containers: list[tuple[str, object, Any]] = []

    def add(self, path: str, name: object, container: Any) -> None:
        """Remember one more, with its place in two parts: they are rarely needed in one."""
        self._containers.append((path, name, container))

    def give_back(self) -> None:
        for _, _, container in self._containers:
            if container:
                container.clear()

    def differs(self) -> bool:
        filled = next((f"{path}.{name}" for path, name, container in self._containers if container), "")
        self.path = filled
        return bool(filled)


class KeptAttributes:
    """An object's attributes: which there were, in which order, and which object each of them was.

    Args:
        path: how a message names the object.
        owner: whose.
        only: these attributes alone, whatever the others do; None for all of them.
    """

    def __init__(self, path: str, owner: Any, only: tuple[str, ...] | None = None) -> None:
        self.path = path
        self._owner = owner
        self._only = only
        self._slots = {} if only is not None else slot_values(owner)
        self._attributes = self._now()

    def values(self) -> dict[str, Any]:
        """All that were kept."""
        return self._slots | self._attributes

    def give_back(self) -> None:
        if not same_entries(self._now(), self._attributes):
            if self._only is None:
                # Not by setattr: a module's, or a frozen dataclass's, has opinions.
                restore_dict(vars(self._owner), self._attributes)
            else:
                vars(self._owner).update(self._attributes)
        if self._only is None:
            now = slot_values(self._owner)
            for name, value in self._slots.items():
                if now.get(name, self) is not value:
                    object.__setattr__(self._owner, name, value)
            for name in now.keys() - self._slots.keys():
                object.__delattr__(self._owner, name)

    def differs(self) -> bool:
        return not (
            same_entries(self._now(), self._attributes)
            and (self._only is not None or same_entries(slot_values(self._owner), self._slots))
        )

    def _now(self) -> dict[str, Any]:
        attributes = getattr(self._owner, "__dict__", {})
        names = attributes if self._only is None else self._only
        return {name: attributes[name] for name in names if name in attributes}


class KeptScript:
    """The attributes of a scripted module: they live in C++, and Python sees copies of them."""

    def __init__(self, path: str, module: Any) -> None:
        self.path = path
        self._module = module
        concrete = getattr(module, "_concrete_type", None)  # a traced module has none of its own
        self._values = {name: getattr(module, name) for name in (concrete.get_attributes() if concrete else ())}

    def give_back(self) -> None:
        for name, value in self._values.items():
            if not _same_state(getattr(self._module, name), value):
                setattr(self._module, name, value)

    def differs(self) -> bool:
        return not all(_same_state(getattr(self._module, name), value) for name, value in self._values.items())


@dataclass(slots=True)
class KeptState:
    """What is read and written through a pair of functions: a random generator, a mode of the process."""

    path: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    state: Any = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.read()

    def give_back(self) -> None:
        self.write(self.state)

    def differs(self) -> bool:
        return not _same_state(self.read(), self.state)


class KeptLoader:
    """A `DataLoader`: its attributes, and the workers it keeps between passes.

    It starts fresh workers while it is borrowed: its own, in the middle of an epoch and with generators of their own
    in other processes, wait untouched.
    """

    def __init__(self, path: str, loader: "DataLoader[Any]") -> None:
        self.path = path
        self._loader = loader
        self._attributes = KeptAttributes(path, loader)

    def borrow(self) -> None:
        """Set the user's workers aside."""
        self._loader._iterator = None

    def give_back(self) -> None:
        ours = self._loader._iterator
        self._attributes.give_back()
        if ours is not None and ours is not self._loader._iterator:
            shut_down(ours)

    def differs(self) -> bool:
        return self._attributes.differs()


def shut_down(iterator: object) -> None:
    """End the worker processes of a loader's iterator now, not some time later; nothing for one without any."""
    end = getattr(iterator, "_shutdown_workers", None)
    if end is not None:
        end()


@functools.cache
def _generators() -> tuple[type, ...]:
    # NumPy imports its own when somebody asks for them, in 5 ms: not when this package is imported.
    return torch.Generator, np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random


def is_generator(value: Any) -> bool:
    """Whether it is a random generator of Python's, NumPy's or torch's."""
    return isinstance(value, _generators()) and not isinstance(value, random.SystemRandom)


def as_state(path: str, value: Any) -> KeptState | None:
    """The record of a random generator; None for anything else."""
    if isinstance(value, torch.Generator):
        return KeptState(path, value.get_state, value.set_state)
    if isinstance(value, np.random.Generator):
        return as_state(path, value.bit_generator)
    if isinstance(value, np.random.BitGenerator):
        return KeptState(path, lambda: value.state, lambda state: setattr(value, "state", state))
    if isinstance(value, np.random.RandomState):
        return KeptState(path, value.get_state, value.set_state)
    if is_generator(value):
        return KeptState(path, value.getstate, value.setstate)
    return None


def of_the_process() -> list[KeptState]:
    """Python's, NumPy's and torch's global generators, on every device in use, and torch's modes on this thread.

    A device that was never used is not woken up to ask for its state. The modes are here because Ctrl-C can strike
    inside the `__exit__` of a `torch.no_grad()` that would have put them back.
    """
    kept = [
        KeptState("Python's random generator", random.getstate, random.setstate),
        KeptState("NumPy's random generator", np.random.get_state, np.random.set_state),
        KeptState("torch's random generator", torch.get_rng_state, torch.set_rng_state),
        KeptState("torch's grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled),
        KeptState("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        KeptState("autocast on cpu", lambda: _autocast("cpu"), lambda state: _set_autocast("cpu", state)),
    ]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        kept += [
            KeptState("CUDA's random generators", torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all),
            KeptState("autocast on cuda", lambda: _autocast("cuda"), lambda state: _set_autocast("cuda", state)),
        ]
    if torch.backends.mps.is_available():
        kept.append(KeptState("MPS's random generator", torch.mps.get_rng_state, torch.mps.set_rng_state))
    if hasattr(torch, "xpu") and torch.xpu.is_initialized():  # type: ignore[no-untyped-call]
        kept.append(KeptState("XPU's random generators", torch.xpu.get_rng_state_all, torch.xpu.set_rng_state_all))
    return kept


def slot_values(owner: Any) -> dict[str, Any]:
    """The attributes that an object has in slots."""
    names = (name for kind in type(owner).__mro__ for name in _slots(kind))
    return {name: getattr(owner, name) for name in names if name[:2] != "__" and hasattr(owner, name)}


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def same_entries(a: dict[Any, Any], b: dict[Any, Any]) -> bool:
    """Whether two dicts hold the same objects under the same keys in the same order."""
    return len(a) == len(b) and all(map(is_, a, b)) and all(map(is_, a.values(), b.values()))


def restore_dict(target: dict[Any, Any], content: dict[Any, Any]) -> None:
    """Make `target` hold what `content` does. What is right already is not touched: another thread may be reading."""
    for key in [key for key in target if key not in content]:
        del target[key]
    for key, value in content.items():
        if key not in target or target[key] is not value:
            target[key] = value
    if not same_entries(target, content):
        target.clear()
        target.update(content)


def _same_state(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same_state(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same_state, a, b))
    return bool(a == b)


def _autocast(device: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)


def _set_autocast(device: str, state: tuple[bool, torch.dtype]) -> None:
    torch.set_autocast_enabled(device, state[0])
    torch.set_autocast_dtype(device, state[1])
    # Under an autocast of the user's own it holds casts of the weights as they were in the meantime.
    torch.clear_autocast_cache()
