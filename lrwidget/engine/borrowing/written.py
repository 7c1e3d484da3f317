"""What a `set_lrs` function can write an LR into: objects, containers, and names of its own.

`reach.py` leaves the lists and counters of the user's functions alone, because a step may fill them for its user to
see. A `set_lrs` is there to write: what it and the functions it calls refer to is given back with all that is in it,
and so are the names that they bind anew (`global lr`, `nonlocal lr`, `Config.lr = ...`).
"""

import dis
import functools
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lrwidget.engine.borrowing.reach import is_own_file, is_users_module

MISSING = object()
"""What is read from a name that is not bound."""

ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR")
VALUES = (type(None), bool, int, float, complex, str, bytes)


@dataclass(slots=True, eq=False)
class Binding:
    """A name that a function binds anew: which object it stands for is kept and given back."""

    path: str
    read: Callable[[], object]
    write: Callable[[object], None]
    bound: object = field(init=False)

    def __post_init__(self) -> None:
        self.bound = self.read()

    def give_back(self) -> None:
        """Let the name stand for the same object again, or for none."""
        if self.differs():
            self.write(self.bound)

    def differs(self) -> bool:
        """Whether it stands for another object now."""
        return self.read() is not self.bound


def written_by(set_lrs: Any) -> tuple[Any, ...]:
    """The things that a `set_lrs` function refers to, its own object among them, and a `Binding` of each name."""
    found: list[Any] = []
    seen: dict[tuple[int, ...], Any] = {}
    ahead: deque[Any] = deque([set_lrs])
    while ahead:
        thing = ahead.popleft()
        key = (id(thing.__func__), id(thing.__self__)) if isinstance(thing, types.MethodType) else (id(thing),)
        if isinstance(thing, VALUES) or key in seen:
            continue
        seen[key] = thing  # holds it, so that no other one can get its id meanwhile
        if isinstance(thing, functools.partial):
            ahead += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, (types.BuiltinMethodType, types.MethodWrapperType)):
            ahead.append(thing.__self__)
        elif isinstance(thing, types.MethodType):
            ahead += [thing.__self__, thing.__func__]
            if isinstance(thing.__func__, types.FunctionType):
                ahead += _methods(thing.__self__, thing.__func__)
        elif isinstance(thing, types.FunctionType):
            if is_own_file(thing.__code__.co_filename):
                ahead += _values_of(thing)
                found += _bound_by(thing)
        elif not isinstance(thing, (type, types.ModuleType)):
            found.append(thing)
            if thing is set_lrs:
                ahead.append(getattr(thing, "__call__", None))  # noqa: B004
    return tuple(found)


def _values_of(function: types.FunctionType) -> Iterator[Any]:
    """What the names of a function stand for, and the methods it may call."""
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for _, value in _named_by(function):
        yield value
        if _is_place(value):
            yield from (vars(value).get(name) for name in _names(function.__code__, *ATTRIBUTES))
        else:
            yield from _methods(value, function)


def _methods(owner: Any, function: types.FunctionType) -> Iterator[types.MethodType]:
    """The methods of an object that a function may call, going by their names."""
    for name in _names(function.__code__, *ATTRIBUTES):
        method = inspect.getattr_static(type(owner), name, None)
        if isinstance(method, types.FunctionType):
            yield types.MethodType(method, owner)


def _bound_by(function: types.FunctionType) -> Iterator[Binding]:
    """The names that a function binds anew: globals, names of the functions around it, attributes of classes."""
    code, space = function.__code__, function.__globals__
    home = space.get("__name__", "")
    for name in _names(code, "STORE_GLOBAL", "DELETE_GLOBAL"):
        yield Binding(
            f"{home}.{name}", functools.partial(space.get, name, MISSING), functools.partial(_set, space, name)
        )
    stored = _names(code, "STORE_DEREF", "DELETE_DEREF")
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name in stored:
            path = f"{name} in {function.__qualname__}"
            yield Binding(path, functools.partial(_content, cell), functools.partial(_fill, cell))
    for name in _names(code, "STORE_ATTR", "DELETE_ATTR"):
        for label, owner in _named_by(function):
            if _is_place(owner):
                read = functools.partial(vars(owner).get, name, MISSING)
                yield Binding(f"{label}.{name}", read, functools.partial(_set_attribute, owner, name))


def _named_by(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values of the closure and of the globals that a function loads."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, _content(cell)
    for name in _names(function.__code__, "LOAD_GLOBAL"):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _is_place(owner: Any) -> bool:
    """Whether it is a class or a module of the user's, whose attributes are as good as globals."""
    if isinstance(owner, types.ModuleType):
        return is_users_module(owner.__name__) and is_own_file(getattr(owner, "__file__", None) or "")
    return isinstance(owner, type) and is_users_module(owner.__module__)


def _names(code: types.CodeType, *operations: str) -> list[str]:
    """What some of the operations in code, and in the functions inside it, are about."""
    found = [step.argval for step in dis.get_instructions(code) if step.opname in operations]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found += _names(constant, *operations)
    return list(dict.fromkeys(found))


def _set(space: dict[str, Any], name: str, value: object) -> None:
    if value is MISSING:
        space.pop(name, None)
    else:
        space[name] = value


def _set_attribute(owner: Any, name: str, value: object) -> None:
    if value is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _fill(cell: types.CellType, value: object) -> None:
    if value is MISSING:
        del cell.cell_contents
    else:
        cell.cell_contents = value
