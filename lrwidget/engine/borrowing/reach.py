"""What the user's functions refer to: a step that is a plain function changes models that nobody passed to anyone.

A `train_step` written in a notebook uses the generator, the discriminator and both their optimizers by name. They are
found through its closure, its defaults and the globals that its code, and the code of the functions it calls, names.
Only what a training step changes by its nature is taken: modules, optimizers, schedulers, scalers, loaders, random
generators and tensors that want gradients. A list or a counter that a user's function fills is left as it is: it may
well be there to see what happened.
"""

import functools
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from lrwidget.engine.borrowing.kept import is_generator

CHANGEABLE = (nn.Module, Optimizer, LRScheduler, torch.amp.GradScaler, DataLoader)
FUNCTIONS = (types.FunctionType, types.MethodType, types.GeneratorType, functools.partial)

CONTAINER_LIMIT = 100
"""A longer list is data."""

SCREENS = (
    "lrwidget",
    "ipywidgets",
    "traitlets",
    "IPython",
    "ipykernel",
    "bqplot",
    "matplotlib",
    "tqdm",
    "fastprogress",
)
NOT_STATE = ("builtins", "torch", "numpy", *SCREENS)
"""Packages whose objects are no state of a training, or are known by their class; progress bars must not be rewound."""

LIBRARIES = tuple(
    {str(Path(path)) for name, path in sysconfig.get_paths().items() if "lib" in name}
    | {str(Path(torch.__file__).parents[1]), str(Path(np.__file__).parents[1])}
)


def referred(function: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of what a function refers to: what may change, and further functions to look into.

    Args:
        function: a function, a bound method (whose object is found as well), a `functools.partial`, or a generator,
            which cannot be rewound itself, but what it draws from can.
    """
    if isinstance(function, types.GeneratorType):
        frame = function.gi_frame
        yield from _changeable("generator", tuple(frame.f_locals.values()) if frame is not None else ())
        return
    if isinstance(function, types.MethodType):
        yield "self", function.__self__
        function = function.__func__
    if isinstance(function, functools.partial):
        yield "function", function.func
        yield from _changeable("argument", (*function.args, *function.keywords.values()))
    if not isinstance(function, types.FunctionType):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield from _changeable(name, cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    yield from _changeable("default", (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()))
    if is_own_file(function.__code__.co_filename):
        for name in _names(function.__code__):
            yield from _changeable(name, function.__globals__.get(name))


def own_members(kind: type) -> Iterator[tuple[str, Any]]:
    """The functions that a class of the user's own defines, and what it keeps for all its objects."""
    module = sys.modules.get(kind.__module__)
    if not is_users_module(kind.__module__) or not is_own_file(getattr(module, "__file__", None) or ""):
        return
    for name, member in vars(kind).items():
        function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
        if isinstance(function, types.FunctionType) or (name[:2] != "__" and not isinstance(member, type)):
            yield name, function


def is_users_module(name: str) -> bool:
    """Whether a module is neither Python's, nor NumPy's, nor torch's, nor one of those that only show something."""
    home = name.partition(".")[0]
    return home not in sys.stdlib_module_names and home not in NOT_STATE


@functools.lru_cache(maxsize=4096)
def is_own_file(filename: str) -> bool:
    """Whether code comes from the user's own files or notebook, and from no installed library."""
    return not filename.startswith((*LIBRARIES, "<frozen"))


def _names(code: types.CodeType) -> Iterator[str]:
    """The globals and attributes that code names, in the functions inside it as well."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _changeable(name: str, value: Any, depth: int = 2) -> Iterator[tuple[str, Any]]:
    """The value, or what is in it when it is a container or an object, if a training step may change it."""
    if isinstance(value, (*CHANGEABLE, *FUNCTIONS)) or is_generator(value):
        yield name, value
    elif isinstance(value, torch.Tensor):
        if value.requires_grad and value.is_leaf:
            yield name, value
    elif depth and not isinstance(value, (type, types.ModuleType, str, bytes)):
        for part, item in _parts(value):
            if not isinstance(item, FUNCTIONS):
                yield from _changeable(f"{name}.{part}", item, depth - 1)


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items()) if len(value) <= CONTAINER_LIMIT else ()
    if isinstance(value, (list, tuple)):
        return enumerate(value) if len(value) <= CONTAINER_LIMIT else ()
    if is_users_module(type(value).__module__):
        return list(getattr(value, "__dict__", {}).items())
    return ()
