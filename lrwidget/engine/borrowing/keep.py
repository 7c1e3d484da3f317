"""What is reachable from the things a sweep borrows, and so may have to be given back.

A `Keeper` walks from its roots through tensors, containers, modules, other stateful objects of torch and the user's own
objects, and through what the user's functions refer to. It makes one record (`kept.py`) for each thing it meets, once
however often it is met. Immutable values need no record: whoever holds them is restored to hold the same value again.
"""

import argparse
import socket
import threading
import types
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from lrwidget.engine.borrowing.frozen import fixed_parameters, is_wrapper
from lrwidget.engine.borrowing.kept import (
    Kept,
    KeptArray,
    KeptAttributes,
    KeptContainer,
    KeptEmpties,
    KeptLoader,
    KeptScript,
    as_state,
    of_the_process,
)
from lrwidget.engine.borrowing.kept_tensors import KeptTensor, WatchedTensor, copy_all, restore_versions
from lrwidget.engine.borrowing.reach import FUNCTIONS, is_users_module, own_members, referred
from lrwidget.engine.borrowing.written import Binding

STATEFUL = (nn.Module, Optimizer, LRScheduler, Sampler, BatchSampler, Dataset, torch.amp.GradScaler)
"""Classes of torch whose plain attributes are state."""

NAMESPACES = (types.SimpleNamespace, argparse.Namespace, UserDict, UserList, ChainMap)
"""Classes of Python's own that are used as plain objects."""

MODULE_CONTENT = ("_parameters", "_buffers", "_modules")
"""Attributes of a module that need no mention in a path."""

LIVE = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Thread, socket.socket)
"""Who holds one of these is at work on another thread or with another process, and must not be rewound."""

PLAIN = frozenset((type(None), bool, int, float, str, bytes))
"""Values that cannot change: most of what is met. Looked up by class, which is quicker than to ask for an instance."""

SAMPLERS = (Sampler, BatchSampler)
CONTAINERS = (dict, list, set, deque, bytearray)

DATA_LIMIT = 1000
"""In loaders longer containers and larger tensors are data, not state; only their order may be state."""


class Keeper:
    """Keeps whatever is reachable from its roots, and gives all of it back.

    Args:
        roots: name to thing; what a training step changes is among them or reachable from them.
        whole: name to thing; like roots, but copied with all that is frozen in them.
        loaders: name to loader. Of a loader its place and its generators are kept, but none of its data.
        device: where copies of tensors live; None for each tensor's own device.
        frozen: whether frozen parameters of the roots are copied too.
    """

    def __init__(
        self,
        roots: Mapping[str, Any],
        *,
        whole: Mapping[str, Any] | None = None,
        loaders: Mapping[str, Any] | None = None,
        device: torch.device | None = None,
        frozen: bool = False,
    ) -> None:
        self._whole = {name: thing for name, thing in (whole or {}).items() if thing is not None}
        self._ahead: deque[tuple[str, Any, bool]] = deque()
        self._ahead.extend((name, thing, False) for name, thing in {**roots, **self._whole}.items())
        self._ahead.extend((name, loader, True) for name, loader in (loaders or {}).items())
        self._device = device
        self._frozen = frozen
        self._seen: dict[int, object] = {}
        self._found: list[tuple[str, torch.Tensor]] = []
        self._tensors: list[KeptTensor] = []
        self._watched: list[WatchedTensor] = []
        self._loaders: list[KeptLoader] = []
        self._kept: list[Kept] = []
        self._empties = KeptEmpties()
        self._classes: set[type] = set()

    def take(self) -> None:
        """Walk, and copy. Nothing is touched before the very end, when the loaders' own workers are set aside."""
        process = of_the_process()
        while self._ahead:
            path, value, data = self._ahead.popleft()
            if value is None or isinstance(value, (bool, int, float, str, bytes)) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value  # holds the object, so that no other one can get its id meanwhile
            self._meet(path, value, data)
        fixed = set() if self._frozen else fixed_parameters(self._seen.values(), self._whole.values())
        self._tensors = [(WatchedTensor if id(t) in fixed else KeptTensor)(path, t) for path, t in self._found]
        self._watched = [tensor for tensor in self._tensors if isinstance(tensor, WatchedTensor)]
        copy_all(self._tensors, self._device)
        self._kept = [self._empties, *self._kept, *process]
        for loader in self._loaders:
            loader.borrow()

    def catch_up(self) -> None:
        """Copy the parameters that were frozen and are so no longer; to be called before every optimizer step."""
        for tensor in self._watched:
            tensor.catch_up(self._device)

    def give_back(self) -> list[str]:
        """Put everything back; return what could not be, in words. Never stops at the first problem."""
        # Tensors first, since a gradient must fit its tensor; the process last, since nothing must draw after it.
        with torch.no_grad():
            problems = _given_back(self._tensors)
        problems += _given_back(self._kept)
        restore_versions(self._tensors)
        return problems

    def differences(self) -> list[str]:
        """The paths of the things that are not as they were kept."""
        return [kept.path for kept in (*self._tensors, *self._kept) if kept.differs()]

    def n_bytes(self) -> int:
        """How much memory the copies of tensors take."""
        return sum(tensor.n_bytes() for tensor in self._tensors)

    def _meet(self, path: str, value: Any, data: bool) -> None:
        """Record one thing, and put what is inside it on the list.

        Args:
            path: how a message names it.
            value: the thing.
            data: whether it was met inside a loader, where large things are data.
        """
        if isinstance(value, torch.Tensor):
            self._meet_tensor(path, value, data)
        elif isinstance(value, CONTAINERS):
            self._kept.append(KeptContainer(path, value))
            self._enter(path, _items(value) if not data or len(value) <= DATA_LIMIT else (), data)
        elif isinstance(value, tuple):
            self._enter(path, enumerate(value) if not data or len(value) <= DATA_LIMIT else (), data)
        elif (state := as_state(path, value)) is not None:
            self._kept.append(state)
        elif isinstance(value, np.ndarray):
            if not data or _is_small(value):
                self._kept.append(KeptArray(path, value))
                self._enter(path, enumerate(value.flat) if value.dtype == object else (), data)
        elif isinstance(value, DataLoader):
            self._loaders.append(KeptLoader(path, value))
            self._kept.append(self._loaders[-1])
            self._enter(path, vars(value).items(), data=True)
        elif isinstance(value, Binding):
            self._kept.append(value)
        elif isinstance(value, FUNCTIONS):
            self._enter(path, referred(value), data)
        elif isinstance(value, (*STATEFUL, *NAMESPACES)) or _is_users(value):
            # A dataset is data wherever it is met; a sampler holds none of it, but weights and orders.
            self._meet_object(path, value, (data or isinstance(value, Dataset)) and not isinstance(value, SAMPLERS))

    def _meet_tensor(self, path: str, tensor: torch.Tensor, data: bool) -> None:
        if not data or _is_small(tensor):
            self._found.append((path, tensor))
            if vars(tensor):
                self._enter(path, vars(tensor).items(), data)
            if tensor.is_leaf:
                hooks = [getattr(tensor, name, None) for name in ("_backward_hooks", "_post_accumulate_grad_hooks")]
                parts = [("grad", tensor.grad), *(("hooks", h) for h in hooks)]
                self._enter(path, [part for part in parts if part[1] is not None], data)

    def _meet_object(self, path: str, owner: Any, data: bool) -> None:
        if is_wrapper(owner):
            # The rest of its attributes mirrors state in C++: the buckets of DDP, compiled code.
            self._kept.append(KeptAttributes(path, owner, only=("training",)))
            self._enter(path, [(name, vars(owner)[name]) for name in MODULE_CONTENT], data)
            return
        attributes = KeptAttributes(path, owner)
        self._kept.append(attributes)
        self._enter(path, attributes.values().items(), data)
        if isinstance(owner, torch.jit.ScriptModule):
            self._kept.append(KeptScript(path, owner))
            self._enter(path, [*owner.named_parameters(), *owner.named_buffers(), *owner.named_children()], data)
        for kind in type(owner).__mro__:
            if kind not in self._classes:
                self._classes.add(kind)
                self._enter(kind.__name__, own_members(kind), data)

    def _enter(self, path: str, parts: Iterable[tuple[Any, Any]], data: bool) -> None:
        """Put the parts of a thing on the list."""
        for name, value in parts:
            if type(value) in PLAIN:
                continue
            if isinstance(value, CONTAINERS) and not value:
                self._empties.add(path, name, value)
            else:
                self._ahead.append((path if name in MODULE_CONTENT else f"{path}.{name}", value, data))


def _given_back(things: Iterable[Kept]) -> list[str]:
    """Give back as many as can be; what could not, in words."""
    problems = []
    for kept in things:
        try:
            kept.give_back()
        except Exception as error:
            problems.append(f"{kept.path} ({type(error).__name__}: {error})")
    return problems


def _is_small(value: "torch.Tensor | np.ndarray[Any, Any]") -> bool:
    """Whether something in a loader may be state: a few numbers, or an order of samples that is shuffled in place."""
    size = value.numel() if isinstance(value, torch.Tensor) else value.size
    of_floats = value.is_floating_point() if isinstance(value, torch.Tensor) else value.dtype.kind not in "iu"
    return size <= DATA_LIMIT or (value.ndim == 1 and not of_floats)


def _is_users(value: Any) -> bool:
    """Whether its class is the user's or some library's for training, and nobody else is at work on it."""
    kind = type(value)
    if isinstance(value, type) or not is_users_module(kind.__module__):
        return False
    return not any(isinstance(part, LIVE) for part in getattr(value, "__dict__", {}).values())


def _items(container: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(container, bytearray):
        return ()
    if isinstance(container, dict):
        # An optimizer's state has parameters as keys; in a message their place says more than their numbers.
        return [(i if isinstance(key, torch.Tensor) else key, item) for i, (key, item) in enumerate(container.items())]
    return enumerate(container)
