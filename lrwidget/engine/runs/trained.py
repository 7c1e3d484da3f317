"""The state of everything that a run trains, as a tree of tensors and numbers, and back into the same objects.

Not `state_dict` alone: that leaves out the buffers that are not persistent, and hidden states and counters in plain
attributes, which steps change as well. Everything is checked against the objects at hand before the first is touched.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrwidget.engine.borrowing.attributes import Attributes
from lrwidget.engine.borrowing.reach import FUNCTIONS, is_users_module, referred
from lrwidget.engine.errors import InputError, InputTypeError
from lrwidget.engine.loops.loop import Loop

WITHOUT_STATE = """Got a {kind} as {what}; expected state_dict() and load_state_dict(), without which a checkpoint
cannot keep it. Train without checkpoint_dir, or name what holds its weights in also=[...]."""

OTHER = """Got {what} with {got}; the run was begun with {expected}. Build the model and the optimizer as they were for
that run."""

OTHER_KIND = """Got {got} as {what}; the run was begun with {expected}, whose state no other kind can go on from.
Make the optimizer as it was for that run."""

OTHER_OPTIONS = """Got {what} and a checkpoint of which only one has {missing} in its param groups; expected the same
options in both. Make the optimizer as it was for that run."""

TRAINABLE = (nn.Module, Optimizer, LRScheduler, torch.amp.GradScaler)
"""What a user's step may train without our being told."""

State = dict[str, Any]


class Trained:
    """What a run of this loop changes: model, loss function, optimizers, scaler, and the things in `also`.

    A step of the user's own may train more than that, a discriminator with its optimizer: the models, optimizers,
    schedulers and scalers that it refers to are found and kept as well.

    Args:
        loop: the training loop.
        scaler: the one its steps use.

    Raises:
        InputTypeError: one of them does not tell its state.
    """

    def __init__(self, loop: Loop, scaler: torch.amp.GradScaler | None) -> None:
        things = {"the model": loop.model, "the scaler": scaler}
        things |= {"the loss function": loop.loss_fn} if isinstance(loop.loss_fn, nn.Module) else {}
        things |= {f"optimizer {i}" if i else "the optimizer": o for i, o in enumerate(loop.optimizers)}
        things |= {f"also[{i}]": thing for i, thing in enumerate(loop.also)}
        known = {id(thing) for thing in things.values()}
        known |= {id(part) for m in things.values() if isinstance(m, nn.Module) for part in m.modules()}
        steps = [step for step in (loop.loss_fn, loop.loss_step, loop.train_step) if step is not None]
        found = [(name, thing) for name, thing in _referred(steps) if id(thing) not in known]
        things |= {f"{name} (step {i})": thing for i, (name, thing) in enumerate(found)}
        self._things = {what: thing for what, thing in things.items() if thing is not None}
        for what, thing in self._things.items():
            told = hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")
            if not told and not (what == "the model" and loop.also):
                raise InputTypeError(WITHOUT_STATE.format(kind=type(thing).__name__, what=what))
        self._attributes = {what: Attributes(m) for what, m in self._things.items() if isinstance(m, nn.Module)}

    def state(self) -> State:
        """Where all of it is now. Tensors are the living ones: copy them before the next step."""
        states = {what: _state_of(thing) for what, thing in self._things.items() if hasattr(thing, "state_dict")}
        for what, attributes in self._attributes.items():
            states[what]["attributes"] = attributes.state()
        return states

    def put_back(self, state: Mapping[str, Any]) -> None:
        """Make all of it what it was when `state` was taken.

        Raises:
            InputError: this is another model, or another optimizer; nothing has been changed.
        """
        for put in self.check(state):
            put()
        for what, attributes in self._attributes.items():
            attributes.put_back(state[what]["attributes"])

    def check(self, state: Mapping[str, Any]) -> list[Callable[[], object]]:
        """What puts the state back, one thing at a time; raises as `put_back` does when it does not fit."""
        told = {what: thing for what, thing in self._things.items() if hasattr(thing, "state_dict")}
        if told.keys() != state.keys():
            raise InputError(OTHER.format(what="a run", got=", ".join(told), expected=", ".join(state)))
        return [_checked(what, thing, state[what]) for what, thing in told.items()]


def _referred(functions: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """What the user's functions train, by the names they use for it; each once."""
    seen: dict[int, object] = {}
    ahead: deque[tuple[str, Any]] = deque(("step", function) for function in functions)
    while ahead:
        name, value = ahead.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, TRAINABLE):
            yield name, value
        elif isinstance(value, FUNCTIONS):
            ahead.extend(referred(value))
        elif is_users_module(type(value).__module__):
            ahead.extend(getattr(value, "__dict__", {}).items())


def _state_of(thing: Any) -> State:
    if isinstance(thing, Optimizer):
        return {**thing.state_dict(), "kind": type(thing).__name__}
    if not isinstance(thing, nn.Module):
        state: State = thing.state_dict()
        return state
    return {
        "parameters": _named(thing.named_parameters()),
        "buffers": _named(thing.named_buffers()),
        "extra": {name: module.get_extra_state() for name, module in _with_extra(thing).items()},
    }


def _checked(what: str, thing: Any, state: Any) -> Callable[[], object]:
    """What puts the state into the thing; raises when it does not fit."""
    if isinstance(thing, nn.Module):
        held = _named(thing.named_parameters())
        for name in [*held, *(n for n in state["parameters"] if n not in held)]:
            got, expected = held.get(name), state["parameters"].get(name)
            if got is None or expected is None or (got.shape, got.dtype) != (expected.shape, expected.dtype):
                raise InputError(OTHER.format(what=what, got=_told(name, got), expected=_told(name, expected)))
        return lambda: _load_module(thing, state)
    if isinstance(thing, Optimizer):
        _check_kind(what, thing, state)
        got_sizes = [len(group["params"]) for group in thing.param_groups]
        sizes = [len(group["params"]) for group in state["param_groups"]]
        if got_sizes != sizes:
            told = (f"param groups of {' + '.join(map(str, n))} tensors" for n in (got_sizes, sizes))
            raise InputError(OTHER.format(what=what, got=next(told), expected=next(told)))
        return lambda: _load_optimizer(thing, {"state": state["state"], "param_groups": state["param_groups"]})
    return lambda: thing.load_state_dict(state)


def _check_kind(what: str, optimizer: Optimizer, state: State) -> None:
    """Raise when the state is of another kind of optimizer, or of one with other options."""
    got = type(optimizer).__name__
    expected = state.get("kind", got)
    if got != expected:
        raise InputError(OTHER_KIND.format(got=got, what=what, expected=expected))
    if type(optimizer).__module__.startswith("torch."):
        return  # torch fills in what an older version of it did not know
    for held, told in zip(optimizer.param_groups, state["param_groups"], strict=False):
        missing = [key for key in optimizer.defaults if (key in held) != (key in told)]
        if missing:
            raise InputError(OTHER_OPTIONS.format(what=what, missing=" and ".join(map(repr, missing))))


def _load_module(module: nn.Module, state: State) -> None:
    with torch.no_grad():
        for name, parameter in _named(module.named_parameters()).items():
            parameter.copy_(state["parameters"][name])
        now = _named(module.named_buffers())
        for name, value in state["buffers"].items():
            buffer = now.get(name)
            if buffer is not None and (buffer.shape, buffer.dtype) == (value.shape, value.dtype):
                buffer.copy_(value)
            else:  # a forward pass had put another one in its place
                path, _, last = name.rpartition(".")
                device = next((p.device for p in module.parameters()), None)
                _unwrapped(module).get_submodule(path)._buffers[last] = value.to(device)
    for name, part in _with_extra(module).items():
        if name in state["extra"]:
            part.set_extra_state(state["extra"][name])


def _load_optimizer(optimizer: Optimizer, state: State) -> None:
    before = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, old in zip(optimizer.param_groups, before, strict=True):
        for key, value in group.items():
            if isinstance(value, torch.Tensor) and isinstance(old.get(key), torch.Tensor):
                # Compiled and capturable optimizers hold on to the very tensor.
                with torch.no_grad():
                    group[key] = old[key].copy_(value)
    # torch turns the state of a half-precision weight into half precision; its optimizer may not have had it so.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, held in state["state"].items():
        if isinstance(index, int) and isinstance(held, dict):
            for key, value in held.items():
                now = optimizer.state[parameters[index]].get(key)
                if isinstance(value, torch.Tensor) and isinstance(now, torch.Tensor) and now.dtype != value.dtype:
                    optimizer.state[parameters[index]][key] = value.to(now.device)


def _named(pairs: Any) -> dict[str, torch.Tensor]:
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in pairs}


def _unwrapped(module: nn.Module) -> nn.Module:
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


def _with_extra(module: nn.Module) -> dict[str, nn.Module]:
    """The submodules that say they have more state than tensors."""
    return {
        name: part
        for name, part in module.named_modules()
        if type(part).get_extra_state is not nn.Module.get_extra_state
    }


def _told(name: str, tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return f"no parameter {name!r}"
    return f"the parameter {name!r} of {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
