"""What the tests call "bit for bit as before": a fingerprint of their own making, which shares nothing with the engine.

A fingerprint is a flat dict from a readable path to a plain value: bytes become hashes, identities become `id`s. The
test keeps every object alive meanwhile, so that equal ids mean the same object. `changes` names the first differences.
"""

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

Prints = dict[str, Any]


def of_everything(*things: Any, loaders: tuple[Any, ...] = ()) -> Prints:
    """Fingerprint of modules, optimizers, schedulers, scalers, plain objects, loaders, and the process's generators."""
    prints: Prints = of_generators()
    for number, thing in enumerate(things):
        name = f"{type(thing).__name__}{number}"
        if isinstance(thing, nn.Module):
            of_module(prints, name, thing)
        elif isinstance(thing, torch.optim.Optimizer):
            of_optimizer(prints, name, thing)
        else:
            of_value(prints, name, thing, set())
    for number, loader in enumerate(loaders):
        of_loader(prints, f"loader{number}", loader)
    return prints


def changes(before: Prints, after: Prints) -> list[str]:
    """What differs, in words, the first ten."""
    gone = [f"{key} is gone" for key in before.keys() - after.keys()]
    came = [f"{key} has come" for key in after.keys() - before.keys()]
    moved = [f"{key}: {before[key]} -> {after[key]}" for key in before if key in after and before[key] != after[key]]
    order = ["the order of things"] if not (gone or came) and list(before) != list(after) else []
    return sorted(moved + gone + came)[:10] + order


def of_generators() -> Prints:
    return {
        "python rng": digest(repr(random.getstate()).encode()),
        "numpy rng": digest(repr([np.asarray(part).tobytes() for part in np.random.get_state()]).encode()),
        "torch rng": digest(torch.get_rng_state().numpy().tobytes()),
        "grad mode": torch.is_grad_enabled(),
        "default dtype": str(torch.get_default_dtype()),
        "autocast": (torch.is_autocast_enabled("cpu"), str(torch.get_autocast_dtype("cpu"))),
    }


def of_module(prints: Prints, path: str, module: nn.Module) -> None:
    for name, part in module.named_modules(remove_duplicate=False):
        here = f"{path}/{name}"
        prints[f"{here} is"] = (id(part), type(part))
        prints[f"{here} training"] = part.training
        for kind in ("_parameters", "_buffers", "_modules"):
            entries: Mapping[str, Any] = getattr(part, kind)
            prints[f"{here} {kind}"] = (id(entries), tuple((key, id(value)) for key, value in entries.items()))
            if kind != "_modules":
                for key, tensor in entries.items():
                    if tensor is not None:
                        of_tensor(prints, f"{here}.{key}", tensor)
        prints[f"{here} non-persistent"] = tuple(sorted(part._non_persistent_buffers_set))
        prints[f"{here} attributes"] = tuple(sorted(vars(part)))
        for key, value in vars(part).items():
            if key.endswith("_hooks") and isinstance(value, Mapping):
                prints[f"{here}.{key}"] = tuple(map(id, value.values()))
            elif key not in ("_parameters", "_buffers", "_modules"):
                if not type(part).__module__.startswith(("torch.nn.parallel", "torch._dynamo")):
                    of_value(prints, f"{here}.{key}", value, set())


def of_optimizer(prints: Prints, path: str, optimizer: torch.optim.Optimizer) -> None:
    prints[f"{path} groups"] = (id(optimizer.param_groups), tuple(map(id, optimizer.param_groups)))
    for number, group in enumerate(optimizer.param_groups):
        here = f"{path}[{number}]"
        prints[f"{here} keys"] = tuple(group)
        prints[f"{here} params"] = (id(group["params"]), tuple(map(id, group["params"])))
        for key, value in group.items():
            if key != "params":
                of_value(prints, f"{here}.{key}", value, set())
        for index, parameter in enumerate(group["params"]):
            of_tensor(prints, f"{here}.params[{index}]", parameter)
    prints[f"{path} state"] = (id(optimizer.state), tuple(map(id, optimizer.state)))
    for number, entry in enumerate(optimizer.state.values()):
        prints[f"{path} state {number}"] = id(entry)
        of_value(prints, f"{path} state {number}", entry, set())
    prints[f"{path} attributes"] = tuple(sorted(vars(optimizer)))
    for key, value in vars(optimizer).items():
        if key not in ("param_groups", "state"):
            of_value(prints, f"{path}.{key}", value, {id(optimizer)})


def of_loader(prints: Prints, path: str, loader: Any) -> None:
    if isinstance(loader, DataLoader):
        for key, value in vars(loader).items():
            prints[f"{path}.{key} is"] = repr(value) if isinstance(value, (int, float, str)) else id(value)
        for key in ("generator", "sampler", "batch_sampler", "dataset"):
            of_value(prints, f"{path}.{key}", getattr(loader, key), set())
    elif not isinstance(loader, (list, tuple)) and hasattr(loader, "__dict__"):
        of_value(prints, path, loader, set())
    else:
        prints[path] = id(loader)


def of_tensor(prints: Prints, path: str, tensor: torch.Tensor) -> None:
    prints[path] = (id(tensor), type(tensor), tensor.is_leaf, tensor.requires_grad, tuple(tensor.shape), tensor.dtype)
    if tensor.layout == torch.strided:
        prints[f"{path} at"] = (tensor.data_ptr(), tensor.stride(), tensor.storage_offset())
    prints[f"{path} bits"] = bits(tensor)
    if not tensor.is_inference():
        prints[f"{path} version"] = tensor._version
    prints[f"{path} attributes"] = tuple(sorted(vars(tensor)))
    if tensor.is_leaf:
        hooks = (tensor._backward_hooks, getattr(tensor, "_post_accumulate_grad_hooks", None))
        prints[f"{path} hooks"] = tuple(len(each or ()) for each in hooks)
    if tensor.is_leaf:
        prints[f"{path} grad"] = None if tensor.grad is None else (id(tensor.grad), bits(tensor.grad))


def bits(tensor: torch.Tensor) -> str:
    tensor = tensor.detach()
    if tensor.is_meta:
        return "no data"
    if tensor.layout != torch.strided:
        return bits(tensor._indices()) + bits(tensor._values()) + str(tensor.is_coalesced())
    flat = tensor.cpu().contiguous().reshape(-1).clone()  # numpy() would leave its mark on a shared storage
    return digest(flat.view(torch.uint8).numpy().tobytes())


def of_value(prints: Prints, path: str, value: Any, seen: set[int]) -> None:
    """Anything a module, an optimizer, a loader or a user's object may hold."""
    if isinstance(value, (bool, int, str, bytes, type(None))):
        prints[path] = value
    elif isinstance(value, float):
        prints[path] = value.hex()
    elif id(value) in seen:
        return
    elif isinstance(value, torch.Tensor):
        of_tensor(prints, path, value)
    elif isinstance(value, np.ndarray):
        prints[path] = (id(value), digest(value.tobytes()))
    elif isinstance(value, torch.Generator):
        prints[path] = (id(value), digest(value.get_state().numpy().tobytes()))
    elif isinstance(value, np.random.Generator):
        prints[path] = (id(value), repr(value.bit_generator.state))
    elif isinstance(value, np.random.RandomState):
        prints[path] = (id(value), repr([np.asarray(part).tobytes() for part in value.get_state()]))
    elif isinstance(value, random.Random):
        prints[path] = (id(value), repr(value.getstate()))
    elif isinstance(value, Mapping):
        seen.add(id(value))
        prints[path] = (id(value), type(value), tuple(str(key) for key in value))
        for key, item in value.items():
            of_value(prints, f"{path}[{key if isinstance(key, (str, int)) else id(key)}]", item, seen)
    elif isinstance(value, (list, tuple)):
        seen.add(id(value))
        prints[path] = (id(value), type(value), len(value))
        for number, item in enumerate(value):
            of_value(prints, f"{path}[{number}]", item, seen)
    elif isinstance(value, (set, frozenset)):
        prints[path] = (id(value), sorted(map(repr, value)))
    elif hasattr(value, "__dict__") and not callable(value) and not isinstance(value, (type, nn.Module)):
        seen.add(id(value))
        prints[path] = (id(value), type(value), tuple(sorted(vars(value))))
        for key, item in vars(value).items():
            of_value(prints, f"{path}.{key}", item, seen)
    else:
        prints[path] = id(value)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
