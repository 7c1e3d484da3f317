"""Batches come as a plain `for` loop would draw them, pass after pass, and arrive on the device as they were."""

import collections
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, TensorDataset

from lrwidget.engine.errors import EmptyLoaderError, InputError, InputTypeError
from lrwidget.engine.loops.batches import Batches, RanDryError, check_loader, describe_batch, length, to_device
from tests.engine.zoo import Stream, loader

CPU = torch.device("cpu")


class Pair(NamedTuple):
    """A batch as a named tuple."""

    image: torch.Tensor
    label: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Sample:
    """A batch as a frozen dataclass with a field that the constructor does not take."""

    x: torch.Tensor
    name: str
    made: torch.Tensor = dataclasses.field(init=False, default_factory=lambda: torch.zeros(1))


class Graph:
    """A batch that moves itself."""

    def __init__(self, x: torch.Tensor, moved: bool = False) -> None:
        self.x, self.moved = x, moved

    def to(self, device: torch.device) -> "Graph":
        return Graph(self.x.to(device), moved=True)


def draw(batches: Batches, count: int) -> list[Any]:
    return [batches.window()[0] for _ in range(count)]


def test_passes_are_those_of_a_plain_loop_to_the_bit() -> None:
    drawn = draw(Batches(loader()), 18)
    plain = loader()
    expected = [batch for _ in range(3) for batch in plain]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(drawn, expected, strict=True))


def test_asking_whether_a_pass_has_ended_does_not_change_what_is_drawn() -> None:
    asking, plain = Batches(loader()), loader()
    drawn = []
    for _ in range(13):
        asking.pass_ended()
        drawn += asking.window()
    expected = [batch for _ in range(3) for batch in plain][:13]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(drawn, expected, strict=True))


def test_a_pass_ends_where_the_loader_does() -> None:
    batches = Batches([1, 2, 3])
    assert not batches.pass_ended()
    assert draw(batches, 2) == [1, 2]
    assert not batches.pass_ended()
    assert draw(batches, 1) == [3]
    assert batches.pass_ended()
    assert draw(batches, 2) == [1, 2]


def test_windows_do_not_reach_over_the_end_of_a_pass() -> None:
    batches = Batches([1, 2, 3, 4, 5])
    assert [batches.window(2) for _ in range(5)] == [[1, 2], [3, 4], [5], [1, 2], [3, 4]]


def test_a_generator_runs_dry_after_its_last_batch() -> None:
    batches = Batches(i for i in range(3))
    assert draw(batches, 3) == [0, 1, 2]
    with pytest.raises(RanDryError):
        batches.window()


def test_a_loader_that_hands_out_one_iterator_again_and_again_runs_dry_too() -> None:
    class Once:
        def __init__(self) -> None:
            self.items = iter([1, 2])

        def __iter__(self) -> Iterator[int]:
            return self.items

    batches = Batches(Once())
    assert draw(batches, 2) == [1, 2]
    with pytest.raises(RanDryError):
        batches.window()


def test_streams_without_a_length_start_over() -> None:
    stream = DataLoader(Stream(12), batch_size=4)
    assert length(stream) is None
    assert len(draw(Batches(stream), 7)) == 7


def test_an_object_with_only_getitem_is_a_loader() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index == 2:
                raise IndexError
            return index

    assert draw(Batches(Old()), 5) == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("empty", [[], (), DataLoader(TensorDataset(torch.empty(0, 2)), batch_size=2)])
def test_an_empty_loader_is_known_before_it_is_read(empty: Any) -> None:
    with pytest.raises(EmptyLoaderError, match=r"^Got a .* that yields no batch; expected"):
        check_loader(empty)


def test_a_generator_without_batches_is_an_empty_loader() -> None:
    with pytest.raises(EmptyLoaderError):
        Batches(iter(())).window()


@pytest.mark.parametrize("thing", [None, 3, torch.nn.Linear(1, 1), DataLoader, "train.csv"])
def test_what_cannot_be_iterated_over_is_no_loader(thing: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^Got a .* as train_dl; expected"):
        Batches(thing)


def test_copied_batches_protect_the_loaders_own_tensors() -> None:
    mine = [(torch.ones(2), {"y": torch.ones(2)})]
    (x, rest), *_ = Batches(mine, copied=True).window()
    x.zero_()
    rest["y"].zero_()
    assert mine[0][0].sum() == 2
    assert mine[0][1]["y"].sum() == 2


def test_a_dataset_that_returns_its_own_tensors_is_protected_as_well() -> None:
    data = [torch.ones(2), torch.ones(2)]
    raw = DataLoader(data, batch_size=None, collate_fn=lambda x: x)
    Batches(raw, copied=True).window()[0].zero_()
    assert data[0].sum() == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_that_are_new_anyway_are_not_copied_again(workers: int) -> None:
    seen: list[Any] = []
    options: dict[str, Any] = {"num_workers": workers}
    dl = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2, **options)
    batches = Batches(dl, copied=True)
    assert batches._copied is False
    seen += batches.window()
    batches.close()


def test_closing_ends_the_worker_processes_at_once() -> None:
    batches = Batches(loader(num_workers=2))
    batches.window()
    workers = batches._iterator._workers  # type: ignore[union-attr]
    assert all(worker.is_alive() for worker in workers)
    batches.close()
    assert not any(worker.is_alive() for worker in workers)


def test_closing_leaves_persistent_workers_to_their_loader() -> None:
    dl = loader(num_workers=1, persistent_workers=True)
    batches = Batches(dl)
    batches.window()
    batches.close()
    assert all(worker.is_alive() for worker in dl._iterator._workers)
    dl._iterator._shutdown_workers()


def test_every_kind_of_batch_keeps_its_types_on_the_way_to_the_device() -> None:
    x = torch.ones(2)
    nested = {"pair": Pair(x, x), "list": [x, (x, "id")], "sample": Sample(x, "a"), "graph": Graph(x), "none": None}
    moved = to_device(nested, torch.device("meta"))
    assert type(moved) is dict
    assert type(moved["pair"]) is Pair
    assert moved["pair"].label.is_meta
    assert moved["list"][0].is_meta
    assert moved["list"][1][0].is_meta
    assert moved["list"][1][1] == "id"
    assert type(moved["sample"]) is Sample
    assert moved["sample"].x.is_meta
    assert moved["sample"].made.is_meta
    assert moved["sample"].name == "a"
    assert moved["graph"].moved
    assert moved["none"] is None
    assert not x.is_meta


@pytest.mark.parametrize("kind", [collections.OrderedDict, collections.UserDict, dict])
def test_mappings_keep_their_class_and_the_original_its_tensors(kind: type) -> None:
    batch = kind({"x": torch.ones(1)})
    moved = to_device(batch, torch.device("meta"))
    assert type(moved) is kind
    assert moved["x"].is_meta
    assert not batch["x"].is_meta


def test_a_packed_sequence_moves_as_torch_moves_it() -> None:
    packed = pack_sequence([torch.ones(2), torch.ones(1)])
    moved = to_device(packed, CPU)
    assert isinstance(moved, PackedSequence)
    assert moved.batch_sizes.device == CPU


def test_a_batch_is_described_by_kinds_shapes_and_keys() -> None:
    assert describe_batch({"x": torch.ones(2, 3), "y": [torch.ones(1), "a"]}) == (
        "dict(x: float32 Tensor(2, 3), y: list(float32 Tensor(1,), str))"
    )


# Coming back to a place -----------------------------------------------------------------------------------------------


def test_batches_that_are_skipped_are_drawn_and_dropped() -> None:
    batches = Batches([1, 2, 3])
    batches.skip(2)
    assert batches.drawn == 2
    assert batches.window() == [3]
    assert batches.pass_ended()


def test_a_pass_may_be_skipped_to_its_very_end() -> None:
    batches = Batches([1, 2, 3])
    batches.skip(3)
    assert batches.pass_ended()
    batches.start_over()
    assert (batches.drawn, batches.window()) == (0, [1])


def test_a_pass_that_is_shorter_than_what_is_to_be_skipped_is_refused() -> None:
    with pytest.raises(InputError, match=r"^Got a list with 3 batches; expected at least the 5 that the run had seen"):
        Batches([1, 2, 3]).skip(5)


def test_what_was_looked_at_ahead_does_not_count_as_drawn() -> None:
    batches = Batches([1, 2, 3])
    batches.window()
    assert not batches.pass_ended()
    assert batches.drawn == 1


def test_every_pass_is_announced_before_it_begins() -> None:
    told: list[str] = []

    class Telling:
        def __iter__(self) -> Iterator[int]:
            told.append("begins")
            return iter([1, 2])

    batches = Batches(Telling(), before_pass=lambda: told.append("before"))
    for _ in range(2):
        batches.window(5)
        batches.start_over()
    assert told == ["before", "begins"] * 2
