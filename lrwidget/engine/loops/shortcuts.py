"""Optimizers without what torch wraps around them for its profiler.

torch's `step` and `zero_grad` tell the profiler when they begin and end, and that takes 40 µs a step whether anybody
profiles or not. Where nobody does, and no hook waits for a step, the work is all that is done here.
"""

from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch.autograd import profiler
from torch.optim import optimizer as torchs


def is_torchs(function: Any) -> bool:
    """Whether torch has defined a function."""
    return Path(torch.__file__).parent in Path(function.__code__.co_filename).parents


ZERO_GRAD = torch.optim.Optimizer.zero_grad
ZERO_GRAD_IS_TORCHS = is_torchs(ZERO_GRAD)
"""Whether nobody had put another in its place before this module was imported."""

AROUND_STEP = torch.optim.Optimizer.profile_hook_step(lambda optimizer: None).__code__
"""What torch puts around the `step` of every optimizer class."""
HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
GLOBAL_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
FOR_PROFILERS = ("torch", "autograd", "profiler", "record_function", "_optimizer_step_code", "__class__", "__name__")
FOR_HOOKS = (*HOOKS, *GLOBAL_HOOKS, "chain", "values", "isinstance", "tuple", "len", "RuntimeError")
# A torch that does anything else there is one whose step is not taken apart.
UNDERSTOOD = {*AROUND_STEP.co_names} <= {*FOR_PROFILERS, *FOR_HOOKS, "cast", "Optimizer"}


def clear_gradients(optimizer: torch.optim.Optimizer) -> None:
    """What `optimizer.zero_grad()` does."""
    if not ZERO_GRAD_IS_TORCHS or own_function(optimizer, "zero_grad") is not ZERO_GRAD or is_profiled():
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def step_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """What `optimizer.step()` does."""
    step = own_function(optimizer, "step")
    if getattr(step, "__code__", None) is not AROUND_STEP or not UNDERSTOOD or is_profiled() or has_hooks(optimizer):
        optimizer.step()
    else:
        step.__wrapped__(optimizer)


def own_function(optimizer: Any, name: str) -> Any:
    """The function behind a method of the optimizer's; None for whatever else is called by that name.

    That may be the method of another optimizer, which a wrapper hands on, or an object around the method, which passes
    for it and does more.
    """
    method = getattr(optimizer, name)
    return method.__func__ if type(method) is MethodType and method.__self__ is optimizer else None


def is_profiled() -> bool:
    """Whether a profiler of torch's is at work: anywhere in the process, or one of the older kind in this thread.

    `torch.profiler.ExecutionTraceObserver` alone, without a profiler, gives no sign, and misses the two names.
    """
    return bool(getattr(profiler, "_is_profiler_enabled", True)) or torch._C._autograd._profiler_enabled()


def has_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether somebody is to be called before or after the optimizer's step."""
    return any(getattr(optimizer, name, True) for name in HOOKS) or any(
        getattr(torchs, name, True) for name in GLOBAL_HOOKS
    )
