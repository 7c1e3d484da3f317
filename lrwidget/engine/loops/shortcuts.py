"""Optimizers without what torch wraps around them for its profiler.

torch's `step` and `zero_grad` tell the profiler when they begin and end, and that takes 40 µs a step whether anybody
profiles or not. Where nobody does, and no hook waits for a step, the work is all that is done here.
"""

import torch
from torch.autograd import profiler
from torch.optim import optimizer as torchs

ZERO_GRAD = torch.optim.Optimizer.zero_grad

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
    if getattr(optimizer.zero_grad, "__func__", None) is not ZERO_GRAD or is_profiled():
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def step_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """What `optimizer.step()` does."""
    step = getattr(optimizer.step, "__func__", None)
    if getattr(step, "__code__", None) is not AROUND_STEP or not UNDERSTOOD or is_profiled() or has_hooks(optimizer):
        optimizer.step()
    else:
        step.__wrapped__(optimizer)  # type: ignore[union-attr]


def is_profiled() -> bool:
    """Whether a profiler of torch's is at work anywhere in the process."""
    return bool(getattr(profiler, "_is_profiler_enabled", True))


def has_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether somebody is to be called before or after the optimizer's step."""
    return any(getattr(optimizer, name, True) for name in HOOKS) or any(
        getattr(torchs, name, True) for name in GLOBAL_HOOKS
    )
