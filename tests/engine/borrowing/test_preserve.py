"""Whatever happens to borrowed things inside the block, outside they are the same objects with the same bits."""

import copy
import dataclasses
import random
import types
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, Subset

from lrwidget.engine.borrowing import room as borrowing_room
from lrwidget.engine.borrowing.preserve import preserved
from lrwidget.engine.borrowing.room import LARGE, LockedRoom, aligned, room_for
from lrwidget.engine.errors import GiveBackError, InputError, InputTypeError
from tests.engine.oracle import changes, of_everything
from tests.engine.zoo import FEATURES, Augmented, Wild, adam, classification, loader, net, train


def unchanged(*things: Any, by: Callable[[], object], loaders: tuple[Any, ...] = (), **options: Any) -> None:
    """Do something to the things inside the block; outside, nothing has changed."""
    before = of_everything(*things, loaders=loaders)
    with preserved(*things, loaders=loaders, verify=True, **options) as block:
        by()
        assert changes(before, of_everything(*things, loaders=loaders)), "nothing was done"
    assert block.verified is True
    assert not changes(before, of_everything(*things, loaders=loaders))


# Tensors --------------------------------------------------------------------------------------------------------------

DAMAGE: dict[str, Callable[[nn.Linear], object]] = {
    "in place": lambda m: m.weight.data.fill_(7),
    "nan": lambda m: m.weight.data.fill_(float("nan")),
    "negative zero": lambda m: m.bias.data.fill_(-0.0),
    "data": lambda m: setattr(m.weight, "data", torch.zeros(9)),
    "another layout": lambda m: setattr(m.weight, "data", m.weight.data.t()),
    "another parameter": lambda m: setattr(m, "weight", nn.Parameter(torch.zeros(6, 6))),
    "deleted": lambda m: delattr(m, "weight"),
    "resized": lambda m: m.mask.resize_(2),
    "frozen": lambda m: m.requires_grad_(False),
    "half": lambda m: m.half(),
    "gradient gone": lambda m: setattr(m.weight, "grad", None),
    "gradient changed": lambda m: m.weight.grad.mul_(2),  # type: ignore[union-attr]
    "another gradient": lambda m: setattr(m.bias, "grad", torch.ones(6)),
    "hook": lambda m: m.weight.register_hook(lambda g: g),
    "post hook": lambda m: m.weight.register_post_accumulate_grad_hook(lambda p: None),
    "module hook": lambda m: m.register_forward_hook(lambda *a: None),
    "attribute": lambda m: setattr(m, "extra", 3),
    "tensor attribute": lambda m: setattr(m.weight, "extra", 3),
    "buffer": lambda m: m.register_buffer("extra", torch.zeros(1)),
    "buffer gone": lambda m: m.register_buffer("mask", None),
    "submodule": lambda m: m.add_module("extra", nn.Linear(1, 1)),
    "eval": lambda m: m.eval(),
    "patched method": lambda m: setattr(m, "forward", lambda x: x),
    "order": lambda m: m._parameters.update(weight=m._parameters.pop("weight")),
    "history in a buffer": lambda m: m.mask.mul_(m.weight.sum()),
    "meta": lambda m: m.to_empty(device="meta"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_module_survives(damage: str) -> None:
    model = nn.Linear(6, 6)
    model.register_buffer("mask", torch.zeros(6), persistent=False)
    model(torch.randn(3, 6)).sum().backward()
    unchanged(model, by=lambda: DAMAGE[damage](model))


def test_parameters_keep_their_memory_so_that_views_and_ties_stay_valid() -> None:
    flat = torch.randn(12)
    model = nn.Linear(3, 4, bias=False)
    model.weight = nn.Parameter(flat.view(4, 3))
    tied = nn.Linear(3, 4, bias=False)
    tied.weight = model.weight
    before = flat.clone()
    with preserved(model, tied):
        nn.init.zeros_(model.weight)
    assert torch.equal(flat, before)
    assert tied.weight is model.weight
    assert model.weight.data_ptr() == flat.data_ptr()


@pytest.mark.parametrize("size", [0, 80000])
def test_a_storage_that_was_freed_or_moved_holds_the_values_again(size: int) -> None:
    module = nn.Module()
    module.register_buffer("it", torch.arange(100.0))
    view = module.it[10:20]
    with preserved(module, verify=True):
        module.it.untyped_storage().resize_(size)
        if size:
            module.it.zero_()
    assert torch.equal(module.it, torch.arange(100.0))
    assert torch.equal(view, torch.arange(10.0, 20.0))


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last), id="channels last"),
        pytest.param(torch.randn(4, 6).t(), id="transposed"),
        pytest.param(torch.randn(8, 8)[:, ::3], id="with gaps"),
        pytest.param(torch.zeros(1, 3).expand(5, 3), id="expanded"),
        pytest.param(torch.randn(3, 1, 4).expand(3, 7, 4), id="expanded in the middle"),
        pytest.param(torch.tensor(3), id="one integer"),
        pytest.param(torch.tensor(True), id="one bool"),
        pytest.param(torch.empty(0, 3), id="empty"),
        pytest.param(torch.randn(3, dtype=torch.complex64), id="complex"),
        pytest.param(torch.randn(3, dtype=torch.complex64).conj(), id="conjugated"),
        pytest.param(torch.randn(4).to(torch.bfloat16), id="bfloat16"),
        pytest.param(torch.randn(4).to(torch.float8_e4m3fn), id="float8"),
        pytest.param(torch.randn(10).as_strided((4, 3), (2, 1)), id="overlapping"),
    ],
)
@pytest.mark.parametrize("others", [0, LARGE], ids=["small model", "large model"])
def test_tensors_of_every_layout_and_type_come_back(tensor: torch.Tensor, others: int) -> None:
    module = nn.Module()
    module.register_buffer("others", torch.zeros(others, dtype=torch.uint8))
    module.register_buffer("it", tensor)
    bits = copy.deepcopy(tensor.contiguous().resolve_conj())
    with preserved(module, verify=True):
        module.others.fill_(7)
        base = tensor if tensor._base is None else tensor._base
        base.zero_()
        module.it = None
    assert module.it is tensor
    now = tensor.contiguous().resolve_conj()
    raw = torch.view_as_real(now) if now.is_complex() else now
    was = torch.view_as_real(bits) if bits.is_complex() else bits
    assert raw.reshape(-1).view(torch.uint8).tolist() == was.reshape(-1).view(torch.uint8).tolist()
    assert not module.others.any()


def test_memory_that_the_system_does_not_have_is_not_taken() -> None:
    assert room_for(1 << 60, 1) is None


def test_room_whose_pages_cannot_be_locked_copies_all_the_same() -> None:
    room = LockedRoom(1 << 10)
    numbers = torch.randn(3, 3, dtype=torch.complex64)
    tensors = [torch.arange(600.0).reshape(20, 30).T, torch.arange(5), numbers, numbers.conj(), numbers.conj().imag]
    copies = [room.copy(tensor) for tensor in tensors]
    room.wait()
    for tensor, kept in zip(tensors, copies, strict=True):
        assert kept.data_ptr() != tensor.data_ptr() and torch.equal(kept, tensor)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much memory locked rooms ask for, block by block; it is given to them without a lock."""
    sizes: list[int] = []

    def fresh(n_bytes: int) -> torch.Tensor:
        sizes.append(n_bytes)
        return torch.empty(n_bytes, dtype=torch.uint8)

    monkeypatch.setattr(LockedRoom, "_fresh", staticmethod(fresh))
    return sizes


def test_no_more_pages_are_locked_than_the_copies_take(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borrowing_room, "LOCKED_BLOCK", 1 << 12)
    tensors = [torch.randn(n) for n in (7, 500, 900, 3000, 11, 2000, 1)]
    total = sum(aligned(tensor.nbytes) for tensor in tensors)
    room = LockedRoom(total)
    copies = [room.copy(tensor) for tensor in tensors]
    assert all(torch.equal(kept, tensor) for kept, tensor in zip(copies, tensors, strict=True))
    assert sum(tensor.nbytes for tensor in tensors) <= sum(asked) <= total + 3 * (1 << 12)  # ends of blocks


def test_tensors_that_fill_a_block_of_locked_pages_take_one(asked: list[int]) -> None:
    room = LockedRoom(4 * 1024)
    for _ in range(4):
        room.copy(torch.randn(256))
    assert sum(asked) == 4 * 1024


@pytest.mark.gpu
def test_a_model_on_a_gpu_comes_back_from_page_locked_memory() -> None:
    model = nn.Sequential(nn.Linear(300, 3000), nn.Linear(3000, 300), nn.Linear(2, 2)).cuda()
    before = [parameter.detach().cpu() for parameter in model.parameters()]
    with preserved(model, snapshot="cpu", verify=True):
        for parameter in model.parameters():
            nn.init.constant_(parameter, 3.0)
    assert all(torch.equal(parameter.cpu(), was) for parameter, was in zip(model.parameters(), before, strict=True))


def test_sparse_gradients_come_back() -> None:
    table = nn.Embedding(10, 3, sparse=True)
    table(torch.tensor([1, 2, 1])).sum().backward()
    grad = table.weight.grad
    assert grad is not None
    before = grad.to_dense().clone()
    unchanged(table, by=grad.zero_)
    assert table.weight.grad is grad
    assert torch.equal(grad.to_dense(), before)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
@pytest.mark.parametrize("touched", [True, False])
def test_a_sparse_buffer_comes_back_whatever_its_layout(layout: str, touched: bool) -> None:
    dense = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    convert = getattr(dense, f"to_sparse_{layout}" if layout != "coo" else "to_sparse")
    module = nn.Module()
    module.register_buffer("adjacency", convert((1, 1)) if layout[0] == "b" else convert())
    held = module.adjacency
    with preserved(module, verify=True) as borrowed:
        if touched:
            held._values().mul_(-1) if layout == "coo" else held.values().mul_(-1)
    assert borrowed.verified
    assert module.adjacency is held
    assert torch.equal(held.to_dense(), dense)


@pytest.mark.parametrize("snapshot", ["meta", "nowhere", 3.5, "cuda:99"])
def test_copies_that_could_not_be_read_again_are_refused_before_anything_is_copied(snapshot: Any) -> None:
    model = net()
    before = of_everything(model)
    with pytest.raises(InputError, match="expected None or a device"):
        preserved(model, snapshot=snapshot)
    assert not changes(before, of_everything(model))


def test_tensors_made_in_inference_mode_come_back() -> None:
    module = nn.Module()
    with torch.inference_mode():
        module.register_buffer("cache", torch.ones(3))

    def write() -> None:
        with torch.inference_mode():
            module.cache.zero_()

    unchanged(module, by=write)


def test_a_graph_built_before_can_still_run_backward_after() -> None:
    def gradients(borrow: bool) -> list[torch.Tensor | None]:
        torch.manual_seed(0)
        model, batches = net(), loader()
        optimizer = adam(model)
        x, y = next(iter(batches))
        loss = F.cross_entropy(model(x), y)
        if borrow:
            with preserved(model, optimizer, loaders=[batches]):
                train(model, optimizer, batches, 3)
        loss.backward()
        return [parameter.grad for parameter in model.parameters()]

    pairs = zip(gradients(borrow=True), gradients(borrow=False), strict=True)
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)


def test_hidden_state_with_history_comes_back() -> None:
    model = nn.RNNCell(3, 3)
    model.h = model(torch.randn(2, 3))
    hidden, node, value = model.h, model.h.grad_fn, model.h.detach().clone()

    with preserved(model):
        model.h = model(torch.randn(2, 3), model.h)
    assert model.h is hidden
    assert hidden.grad_fn is node
    assert torch.equal(hidden, value)


# Optimizers, schedulers, scalers --------------------------------------------------------------------------------------


def test_an_optimizer_keeps_its_dicts_their_order_and_its_state() -> None:
    model = net()
    optimizer = adam(model)
    train(model, optimizer, loader(), 2)
    group = optimizer.param_groups[0]

    def damage() -> None:
        train(model, optimizer, loader(), 2)
        group["lr"], group["initial_lr"] = 5.0, 1.0
        group["betas"] = group.pop("betas")
        optimizer.param_groups.reverse()
        optimizer.state.pop(next(iter(optimizer.state)))
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        optimizer.step = lambda: None

    unchanged(model, optimizer, by=damage)
    assert optimizer.param_groups[0] is group


def test_a_fresh_optimizer_is_fresh_again() -> None:
    model = net()
    optimizer = adam(model)
    unchanged(model, optimizer, by=lambda: train(model, optimizer, loader(), 2))
    assert not optimizer.state
    assert isinstance(optimizer.state, defaultdict)


def test_added_groups_are_taken_out_again() -> None:
    model, more = net(), nn.Linear(2, 2)
    optimizer = adam(model)
    unchanged(model, optimizer, by=lambda: optimizer.add_param_group({"params": more.parameters()}))


def test_schedulers_and_scalers_go_back_to_where_they_were() -> None:
    model = net()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)

    def use() -> None:
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(model(torch.randn(4, FEATURES)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.step()
            scheduler.step()
            plateau.step(1.0)

    before = of_everything(model, optimizer)
    states = [copy.deepcopy(thing.state_dict()) for thing in (scheduler, plateau, scaler)]
    with preserved(model, optimizer, scheduler, plateau, scaler, verify=True):
        use()
    assert not changes(before, of_everything(model, optimizer))
    assert [thing.state_dict() for thing in (scheduler, plateau, scaler)] == states


# Plain objects, containers, generators --------------------------------------------------------------------------------


@dataclasses.dataclass
class Agent:
    """A learner of the user's own making."""

    weights: torch.Tensor
    history: list[float] = dataclasses.field(default_factory=list)
    table: dict[str, Any] = dataclasses.field(default_factory=lambda: {"a": [1, 2], "set": {1, 2}})
    queue: "deque[int]" = dataclasses.field(default_factory=lambda: deque([1, 2, 3], maxlen=3))
    array: Any = dataclasses.field(default_factory=lambda: np.zeros(3))
    space: Any = dataclasses.field(default_factory=lambda: types.SimpleNamespace(n=1, inner=[1]))
    raw: bytearray = dataclasses.field(default_factory=lambda: bytearray(b"abc"))


class Slotted:
    """An object without a dict."""

    __slots__ = ("absent", "items", "value")

    def __init__(self) -> None:
        self.value, self.items = 1, [1]


def test_plain_objects_come_back_with_all_that_is_in_them() -> None:
    agent, slotted = Agent(torch.ones(3)), Slotted()
    agent.friend = Agent(torch.zeros(2))  # type: ignore[attr-defined]

    def damage_slots() -> None:
        slotted.value, slotted.absent = 2, 3  # type: ignore[attr-defined]
        slotted.items.append(2)

    def damage() -> None:
        agent.weights.add_(1)
        agent.history.append(1.0)
        agent.table["a"].append(3)
        agent.table["b"] = 1
        agent.table["set"].add(9)
        agent.queue.append(4)
        agent.array[:] = 5
        agent.space.n, agent.space.more = 2, 3
        agent.space.inner.clear()
        agent.raw[0] = 0
        agent.friend.weights = torch.ones(1)  # type: ignore[attr-defined]
        agent.new = True  # type: ignore[attr-defined]

    unchanged(agent, by=damage)
    assert bytes(agent.raw) == b"abc"
    with preserved(slotted, verify=True):
        damage_slots()
    assert (slotted.value, slotted.items, hasattr(slotted, "absent")) == (1, [1], False)


def test_what_a_module_holds_in_an_object_of_its_own_comes_back() -> None:
    model = nn.Linear(2, 2)
    model.agent = Agent(torch.ones(3))  # type: ignore[assignment]
    unchanged(model, by=lambda: model.agent.history.append(1.0))  # type: ignore[union-attr,operator]


class Shared(nn.Linear):
    """Keeps a cache for all its objects."""

    cache: ClassVar[dict[int, torch.Tensor]] = {}
    rng: ClassVar[random.Random] = random.Random(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.cache[len(self.cache)] = x
        return super().forward(x) * self.rng.random()


def test_what_a_class_keeps_for_all_its_objects_comes_back() -> None:
    model = Shared(2, 2)
    state = Shared.rng.getstate()
    with preserved(model):
        model(torch.ones(1, 2))
        assert Shared.cache
    assert not Shared.cache
    assert Shared.rng.getstate() == state


def test_who_is_at_work_on_another_thread_is_left_alone() -> None:
    import threading

    class Writer:
        def __init__(self) -> None:
            self.lock, self.lines = threading.Lock(), [1]

    model = nn.Linear(2, 2)
    model.writer = Writer()  # type: ignore[assignment]
    with preserved(model):
        model.writer.lines.append(2)  # type: ignore[union-attr,operator]
    assert model.writer.lines == [1, 2]  # type: ignore[union-attr]


def test_a_progress_bar_in_a_trainer_is_not_rewound() -> None:
    from traitlets import HasTraits, Int

    class Bar(HasTraits):
        value = Int(0)

    Bar.__module__ = "ipywidgets.widgets"
    agent = Agent(torch.ones(1))
    agent.bar = Bar()  # type: ignore[attr-defined]
    with preserved(agent):
        agent.bar.value = 7  # type: ignore[attr-defined]
    assert agent.bar.value == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("generator", "draw"),
    [
        (torch.Generator(), lambda g: torch.rand(1, generator=g)),
        (np.random.default_rng(0), lambda g: g.normal()),
        (np.random.RandomState(0), lambda g: g.rand()),
        (np.random.PCG64(1), lambda g: g.random_raw()),
        (random.Random(0), lambda g: g.random()),
    ],
    ids=["torch", "numpy", "legacy numpy", "bits", "python"],
)
def test_generators_of_every_library_are_rewound(generator: Any, draw: Callable[[Any], Any]) -> None:
    with preserved(generator, verify=True):
        first = draw(generator)
    assert float(draw(generator)) == float(first)


def test_the_process_keeps_its_generators_and_modes() -> None:
    before = of_everything()
    with preserved():
        random.random(), np.random.rand(), torch.rand(1)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_autocast_enabled("cpu", True)
    assert not changes(before, of_everything())


def test_an_autocast_around_the_block_does_not_remember_the_weights_of_inside() -> None:
    model = nn.Linear(4, 4)
    x = torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(x)
        with preserved(model):
            nn.init.ones_(model.weight)
            torch.clear_autocast_cache()
            model(x)
        assert torch.equal(model(x), expected)


def test_a_long_chain_of_objects_does_not_exhaust_the_stack() -> None:
    chain = last = Agent(torch.zeros(1))
    for _ in range(1500):
        chain = Agent(torch.zeros(1), table={"next": chain})
    with preserved(chain):
        last.weights.fill_(1)
    assert not last.weights.any()


def test_a_block_can_be_entered_again() -> None:
    model = nn.Linear(2, 2)
    block = preserved(model, verify=True)
    for _ in range(2):
        before = of_everything(model)
        with block:
            nn.init.zeros_(model.weight)
        assert not changes(before, of_everything(model))


# Functions ------------------------------------------------------------------------------------------------------------

DISCRIMINATOR = net()
RNG = np.random.default_rng(3)


def helper() -> None:
    """Called by a step; refers to globals of its own."""
    DISCRIMINATOR(torch.randn(4, FEATURES))
    RNG.normal()


def test_what_a_step_refers_to_by_name_is_found() -> None:
    ema = torch.optim.swa_utils.AveragedModel(net())
    scheduler_of: dict[str, Any] = {"it": torch.optim.SGD(ema.parameters(), lr=1.0, momentum=0.9)}
    owner = Agent(torch.ones(2, requires_grad=True))
    counted: list[int] = []

    coin = random.Random(1)

    def step(batch: object, coin: random.Random = coin) -> float:
        helper()
        coin.random()
        ema(torch.randn(4, FEATURES)).sum().backward()
        scheduler_of["it"].step()
        owner.weights.data.add_(1)
        counted.append(1)
        return 0.0

    things = (DISCRIMINATOR, ema, scheduler_of["it"], owner, RNG, coin)
    before = of_everything(*things)
    with preserved(step, verify=True):
        step(None)
    assert not changes(before, of_everything(*things))
    assert counted == [1], "a list that a function fills is there to see what happened"


def test_the_object_of_a_bound_method_is_found() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model, self.steps = net(), 0

        def step(self, batch: object) -> None:
            self.steps += 1
            self.model(torch.randn(4, FEATURES))

    trainer = Trainer()
    before = of_everything(trainer, trainer.model)
    with preserved(trainer.step):
        trainer.step(None)
    assert not changes(before, of_everything(trainer, trainer.model))


def test_what_a_hook_refers_to_is_found() -> None:
    model, other = net(), net()
    model.register_forward_hook(lambda module, args, output: other(args[0]))
    unchanged(other, model, by=lambda: model(torch.randn(4, FEATURES)))
    before = of_everything(other)
    with preserved(model):
        model(torch.randn(4, FEATURES))
    assert not changes(before, of_everything(other))


# Frozen ---------------------------------------------------------------------------------------------------------------


class Adapter(nn.Module):
    """A frozen base with a small trained path beside it."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width)).requires_grad_(False)
        self.down, self.up = nn.Linear(width, 2, bias=False), nn.Linear(2, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x))


def n_bytes(*tensors: torch.Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def test_a_frozen_base_is_not_copied() -> None:
    model = Adapter()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(torch.randn(2, 256)).sum().backward()
    optimizer.step()
    state = [t for entry in optimizer.state.values() for t in entry.values()]
    with preserved(model, optimizer) as block:
        assert block.n_bytes == n_bytes(*trained, *state, *(p.grad for p in trained if p.grad is not None))
    with preserved(model, optimizer, frozen=True) as block:
        assert block.n_bytes > n_bytes(*model.parameters())


def test_what_changes_is_copied_once_however_often_it_is_seen() -> None:
    model = net()
    flat = torch.zeros(1000)
    model.flat, model.part, model.same = flat, flat[:100], flat.view(10, 100)  # type: ignore[assignment]
    model.tied = model[0]
    with preserved(model, {"again": model, "alias": model[0].weight.detach()}) as block:
        assert block.n_bytes == n_bytes(*model.parameters(), *model.buffers(), flat)


def test_memory_seen_through_several_windows_comes_back_whole() -> None:
    base = torch.randn(100)
    windows = [base[10:40], base[30:70], base[20:35], base[60:90], base[::7]]
    before = base.clone()
    with preserved(windows, verify=True):
        base[10:90] = 0
    assert torch.equal(base, before)


def test_a_frozen_base_that_is_written_to_is_reported() -> None:
    model = Adapter(8)
    with pytest.raises(
        GiveBackError, match=r"(?s)^Got Adapter.*\.0\.weight.*frozen.*expected everything as before.*whole="
    ):
        with preserved(model):
            model.base[0].weight.data.mul_(2)


def test_a_frozen_base_named_as_whole_is_copied() -> None:
    model = Adapter(8)
    before = of_everything(model)
    with preserved(model, whole=[model.base]):
        model.base[0].weight.data.mul_(2)
    assert not changes(before, of_everything(model))


class Momentum(nn.Module):
    """A student and its slow twin, as in MoCo, BYOL, DINO, mean teachers and target networks."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(depth)]
        self.student = nn.Sequential(*layers, nn.Linear(4, 4)) if depth else nn.Linear(4, 4)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for slow, quick in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.data.mul_(0.9).add_(quick.data, alpha=0.1)
            slow.data = slow.data * 1.0
        return self.student(x) - self.teacher(x)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_slow_twin_follows_inside_and_is_back_outside(depth: int) -> None:
    model = Momentum(depth)
    optimizer = torch.optim.SGD(model.student.parameters(), lr=0.1)

    def step() -> None:
        model(torch.randn(4, 4)).pow(2).sum().backward()
        optimizer.step()

    unchanged(model, optimizer, by=step)


def test_the_frozen_layers_of_a_stack_are_no_twins_of_those_that_train() -> None:
    block = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32))
    model = nn.Sequential(*(copy.deepcopy(block) for _ in range(6)))
    model[:4].requires_grad_(False)
    with preserved(model) as kept:
        assert kept.n_bytes == n_bytes(*(p for p in model.parameters() if p.requires_grad))


def test_a_frozen_embedding_that_renormalises_itself_comes_back() -> None:
    table = nn.Embedding.from_pretrained(torch.randn(10, 4) * 10, freeze=True, max_norm=1.0)
    model = nn.Sequential(table, nn.Linear(4, 1))
    unchanged(model, by=lambda: model(torch.arange(5)))


def test_a_frozen_parameter_with_a_gradient_moves_in_its_optimizer_and_comes_back() -> None:
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 3)).sum().backward()
    model.requires_grad_(False)
    unchanged(model, optimizer, by=optimizer.step)


def test_a_frozen_base_in_the_optimizer_is_not_copied_either() -> None:
    model = Adapter()
    optimizer = torch.optim.AdamW(model.parameters())
    with preserved(model, optimizer) as block:
        assert block.n_bytes == n_bytes(*(p for p in model.parameters() if p.requires_grad))
        model(torch.randn(2, 256)).sum().backward()
        optimizer.step()


# Loaders --------------------------------------------------------------------------------------------------------------


class Stateful(Sampler[int]):
    """Shuffles one list in place, over and over, and counts."""

    def __init__(self, size: int) -> None:
        self.order, self.array, self.tensor = list(range(size)), np.arange(size), torch.arange(size)
        self.epoch, self.coin = 0, random.Random(0)

    def __iter__(self) -> Any:
        self.epoch += 1
        self.coin.shuffle(self.order)
        np.random.shuffle(self.array)
        self.tensor.copy_(self.tensor[torch.randperm(len(self.tensor))])
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


class Jitter:
    """A transform as users write them: a callable object deep inside a dataset, with a generator of its own."""

    def __init__(self) -> None:
        self.rng, self.calls = np.random.default_rng(0), 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + self.rng.normal()


class Transformed(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Applies transforms in a list, a function with a closure, a module and a global."""

    def __init__(self, size: int = 40) -> None:
        self.x, self.y = classification(size)
        self.noise = torch.nn.Dropout(0.5)
        self.noise.register_buffer("calls", torch.zeros(()))
        hidden = torch.Generator().manual_seed(1)
        self.transforms = (Jitter(), lambda x: x + torch.randn(1, generator=hidden), self._last)
        self.hidden = hidden

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        self.noise.calls += 1
        return x + RNG.normal()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.x[index]
        for transform in self.transforms:
            x = transform(x)
        return x, self.y[index]


def test_samplers_transforms_and_collates_are_rewound() -> None:
    collate_rng = random.Random(4)

    def collate(samples: list[Any]) -> Any:
        collate_rng.random()
        return torch.utils.data.default_collate(samples)

    data = Transformed()
    dl = DataLoader(Subset(data, range(40)), 8, sampler=Stateful(40), collate_fn=collate)
    parts = (dl.sampler, data.transforms[0], data.noise, data.hidden, RNG, collate_rng, data)
    before = of_everything(*parts, loaders=(dl,))
    with preserved(loaders=[dl], verify=True):
        assert len(list(dl)) == 5
        dl.sampler.epoch += 1
    assert not changes(before, of_everything(*parts, loaders=(dl,)))


def test_a_distributed_sampler_keeps_its_epoch() -> None:
    data = classification()[0]
    sampler = DistributedSampler(data, num_replicas=2, rank=0)
    dl = DataLoader(data, 4, sampler=sampler)
    sampler.set_epoch(3)
    with preserved(loaders=[dl]):
        sampler.set_epoch(9)
        list(dl)
    assert sampler.epoch == 3


def test_the_data_of_a_loader_is_not_copied() -> None:
    data = [torch.zeros(5000) for _ in range(20)]
    with preserved(loaders=[DataLoader(data, 2), data]) as block:
        assert block.n_bytes == 0


def test_a_loader_inside_a_wrapper_of_the_users_is_found() -> None:
    class ToDevice:
        def __init__(self, dl: Any) -> None:
            self.dl, self.passes = dl, 0

        def __iter__(self) -> Any:
            self.passes += 1
            return iter(self.dl)

    dl = loader(num_workers=0)
    wrapped = ToDevice(dl)
    before = of_everything(wrapped, loaders=(dl,))
    with preserved(loaders=[wrapped]):
        list(wrapped)
    assert not changes(before, of_everything(wrapped, loaders=(dl,)))


def test_persistent_workers_that_started_inside_are_ended_and_the_users_own_live_on() -> None:
    dl = DataLoader(Augmented(16), 8, num_workers=1, persistent_workers=True)
    own = iter(dl)
    next(own)
    with preserved(loaders=[dl]):
        list(dl)
        inside = dl._iterator  # held, so that nothing ends its workers by dropping it
        assert inside is not own
    assert dl._iterator is own
    assert not any(worker.is_alive() for worker in inside._workers)
    assert all(worker.is_alive() for worker in own._workers)
    own._shutdown_workers()


# Refusals and failures ------------------------------------------------------------------------------------------------


def test_a_class_in_place_of_an_object_is_refused() -> None:
    with pytest.raises(InputTypeError, match=r"^Got the class Wild; expected an object"):
        preserved(Wild)


def test_lazy_and_meta_models_are_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"(?s)not initialised yet.*Run one batch"):
        preserved(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(InputError, match=r"(?s)meta device.*to_empty"):
        preserved(nn.Linear(2, 2, device="meta"))


def test_one_thing_that_cannot_be_given_back_does_not_keep_the_others() -> None:
    class Stubborn(random.Random):
        def setstate(self, state: Any) -> None:
            raise RuntimeError("no")

    model = nn.Linear(2, 2)
    before = of_everything(model)
    with pytest.raises(GiveBackError, match=r"^Got Stubborn \(RuntimeError: no\) after giving back"):
        with preserved(Stubborn(), model):
            nn.init.zeros_(model.weight)
    assert not changes(before, of_everything(model))


def test_the_users_error_is_the_cause_when_giving_back_fails_too() -> None:
    model = Adapter(4)
    with pytest.raises(GiveBackError) as caught:
        with preserved(model):
            model.base[0].weight.data.mul_(2)
            raise ZeroDivisionError
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_snapshot_elsewhere_gives_back_the_same() -> None:
    model = net()
    optimizer = adam(model)
    unchanged(model, optimizer, by=lambda: train(model, optimizer, loader(), 2), snapshot="cpu")


def test_a_copy_that_does_not_fit_leaves_everything_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    dl = DataLoader(Augmented(16), 8, num_workers=1, persistent_workers=True)
    own = iter(dl)
    model = net()
    before = of_everything(model, loaders=(dl,))

    def full(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch.Tensor, "clone", full)
    with pytest.raises(torch.OutOfMemoryError):
        with preserved(model, loaders=[dl]):
            pytest.fail("entered")
    monkeypatch.undo()
    assert not changes(before, of_everything(model, loaders=(dl,)))
    assert dl._iterator is own
    own._shutdown_workers()
