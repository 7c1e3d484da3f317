"""What is packed comes back the same, to the last bit and of the same type; what cannot be packed is named."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwidget.engine.errors import InputTypeError, RecordError
from lrwidget.engine.packing import pack, unpack

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
keys = st.text(max_size=5) | st.integers(0, 9) | st.booleans()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def there_and_back(value: Any) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    node = json.loads(json.dumps(pack(value, tensors), allow_nan=False))
    return unpack(node, tensors)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes() or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return [*a] == [*b] and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@settings(max_examples=300)
@given(trees)
def test_any_tree_comes_back_of_the_same_types_and_bits(tree: Any) -> None:
    assert same(there_and_back(tree), tree)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.bfloat16,
        torch.float16,
        torch.int64,
        torch.bool,
        torch.uint8,
        torch.complex64,
        torch.complex128,
        torch.float8_e4m3fn,
        torch.uint16,
    ],
    ids=str,
)
def test_tensors_of_every_dtype_come_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(math.prod(shape)).reshape(shape).to(dtype)
    again = there_and_back({"a": [tensor]})["a"][0]
    assert (again.dtype, again.shape) == (dtype, tensor.shape)
    assert again.reshape(-1).view(torch.uint8).tolist() == tensor.reshape(-1).view(torch.uint8).tolist()


def test_views_and_shared_memory_become_tensors_of_their_own() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    again = there_and_back([whole, whole.T, whole[1], whole.expand(2, 3, 4)])
    for one, other in zip([whole, whole.T, whole[1], whole.expand(2, 3, 4)], again, strict=True):
        assert torch.equal(one, other)
    assert len({tensor.data_ptr() for tensor in again}) == 4


def test_what_is_packed_does_not_change_with_the_tensor() -> None:
    tensor, tensors = torch.zeros(3), dict[str, torch.Tensor]()
    node = pack(tensor, tensors)
    tensor += 1
    assert unpack(node, tensors).tolist() == [0, 0, 0]


def test_a_tensor_comes_back_where_memory_of_its_own_begins() -> None:
    # In a file it may lie at any byte; some sums over it would then be taken in another order.
    held = torch.zeros(65, dtype=torch.uint8)[1:].view(torch.uint8)
    assert unpack({"tensor": "t"}, {"t": held}).data_ptr() % 64 == 0


def test_arrays_and_states_of_every_generator_come_back() -> None:
    for state in (
        np.random.get_state(),
        np.random.default_rng(3).bit_generator.state,
        np.random.RandomState(3).get_state(),
        __import__("random").Random(3).getstate(),
        np.array([[1.5, math.nan]]),
        np.array([], dtype=np.uint32),
    ):
        assert repr(there_and_back(state)) == repr(state)


def test_keys_with_dots_do_not_collide() -> None:
    tree = {"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}
    again = there_and_back(tree)
    assert (again["a"]["b"].item(), again["a.b"].item()) == (1, 0)


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), print, lambda: 0, torch.eye(2).to_sparse(), torch.empty(2, device="meta"), 1j]
)
def test_what_only_pickle_could_keep_is_named_with_its_place(value: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^Got a .* at optimizer\.state\.0"):
        pack({"optimizer": {"state": [value]}}, {})


@pytest.mark.parametrize(
    "node",
    [
        {"poem": 1},
        {"tensor": "none"},
        {"dict": 3},
        {"dict": [[1]]},
        {"float": "x"},
        {"bytes": "zz"},
        {"dtype": "flat32"},
        {"tensor": "t", "dtype": "float32", "shape": [7]},
        {"tuple": 3},
        {"array": "t", "dtype": "<f8", "shape": [7]},
        {},
    ],
)
def test_a_node_that_pack_does_not_write_is_refused(node: Any) -> None:
    with pytest.raises(RecordError, match=r"^Got "):
        unpack(node, {"t": torch.zeros(3)})
