"""Nested state of any kind as JSON and tensors, and back: what pickle is used for elsewhere, without running code.

Optimizers, scalers and generators keep dicts in lists in tuples, with tensors and numbers in them. JSON knows lists,
strings, finite numbers, booleans and None; everything else becomes an object with one telling key, as
`{"tuple": [...]}` or `{"tensor": "optimizers.0.state.3.exp_avg"}`, and the tensors go into a dict of their own.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lrwidget.engine.errors import InputTypeError, RecordError

NATIVE = frozenset(
    {
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    }
)
"""What every version of safetensors holds as it is; a tensor of another dtype is held as its bytes."""

Node = Any
"""What JSON can hold."""


def pack(value: Any, tensors: dict[str, torch.Tensor], path: str = "") -> Node:
    """Describe `value` in JSON's terms; its tensors are added to `tensors` as copies on the CPU.

    Args:
        value: None, booleans, numbers, strings, bytes, tensors, arrays, dtypes, and lists, tuples and dicts of those.
        tensors: where tensors go, by the path that leads to them.
        path: how a message names `value`.

    Raises:
        InputTypeError: something else is in it.

    >>> pack({"step": 3, "betas": (0.9, float("inf"))}, {})
    {'dict': [['step', 3], ['betas', {'tuple': [0.9, {'float': 'inf'}]}]]}
    """
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, torch.Tensor):
        return _pack_tensor(value, tensors, path)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        raw = torch.from_numpy(np.frombuffer(value.tobytes(), dtype=np.uint8).copy())
        held = _pack_tensor(raw, tensors, path)
        return {"array": held["tensor"], "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return pack(value.item(), tensors, path)
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Mapping):
        pairs = [[pack(k, tensors, f"{path}.key"), pack(v, tensors, _inside(path, k))] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        # Integers first, without a path for each: the state of a random generator is hundreds of them.
        nodes = [i if type(i) is int else pack(i, tensors, _inside(path, at)) for at, i in enumerate(value)]
        return nodes if isinstance(value, list) else {"tuple": nodes}
    raise InputTypeError(
        f"Got a {type(value).__name__} at {path or 'the top'} of what a checkpoint keeps; expected tensors, numbers, "
        "strings, and lists and dicts of them: nothing is pickled. Train without checkpoint_dir, or keep it elsewhere."
    )


def unpack(node: Node, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The value that `pack` described; tuples are tuples again, and floats the same to the last bit.

    Raises:
        RecordError: nodes that `pack` does not write.
    """
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    if isinstance(node, list):
        return [unpack(item, tensors) for item in node]
    try:
        match node:
            case {"dict": pairs}:
                return {unpack(key, tensors): unpack(item, tensors) for key, item in pairs}
            case {"tuple": items}:
                return tuple(unpack(item, tensors) for item in items)
            # Cloned out of the file's memory, where they lie anyhow: on a tensor that starts at an odd address some
            # sums take another order, and their last bit is another one.
            case {"tensor": name, "dtype": dtype, "shape": shape}:
                return tensors[name].clone().view(getattr(torch, dtype)).reshape(shape)
            case {"tensor": name}:
                return tensors[name].clone()
            case {"array": name, "dtype": dtype, "shape": shape}:
                return np.frombuffer(tensors[name].numpy().tobytes(), dtype=np.dtype(dtype)).reshape(shape).copy()
            case {"float": text}:
                return float(text)
            case {"bytes": text}:
                return bytes.fromhex(text)
            case {"dtype": text}:
                return getattr(torch, text)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RecordError(f"Got {str(node)[:80]}, which cannot be unpacked: {error!r}.") from error
    raise RecordError(f"Got {str(node)[:80]} in a checkpoint; expected what pack() writes.")


def _pack_tensor(tensor: torch.Tensor, tensors: dict[str, torch.Tensor], path: str) -> dict[str, Any]:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        raise InputTypeError(
            f"Got a {tensor.layout} tensor on {tensor.device} at {path}; expected a dense one that holds values, which "
            "is what a checkpoint can keep. Train without checkpoint_dir."
        )
    name = path or "tensor"
    while name in tensors:  # keys may hold dots
        name += "'"
    # A copy in any case: safetensors refuses tensors that share memory, and training goes on.
    held = tensor.detach().to("cpu", copy=True).contiguous()
    if held.dtype in NATIVE:
        tensors[name] = held
        return {"tensor": name}
    tensors[name] = held.reshape(-1).view(torch.uint8)
    return {"tensor": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def _inside(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
