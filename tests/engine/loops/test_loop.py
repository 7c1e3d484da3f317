"""Whatever a PyTorch user trains can be swept, and is given back bit for bit, whatever it is made of."""

import copy
import random
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lrwidget.engine.errors import InputError, InputTypeError, ModelMismatchError
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.fit import fit
from lrwidget.engine.sweeps.sweep import Sweep, SweepConfig, range_test
from tests.engine.oracle import changes, of_everything
from tests.engine.zoo import (
    CLASSES,
    FEATURES,
    MODELS,
    OPTIMIZERS,
    Augmented,
    Stream,
    adam,
    classification,
    loader,
    make_optimizer,
    net,
    train,
)

STEPS = 6


def swept(loop: Loop, *things: Any, loaders: tuple[Any, ...] = (), **config: Any) -> int:
    """Sweep; everything is as before; the number of points."""
    before = of_everything(loop.model, *loop.optimizers, *things, loaders=loaders)
    curve = Sweep(loop, SweepConfig(num_steps=STEPS, end_lr=0.1, **config), verify=True).run()
    assert not changes(before, of_everything(loop.model, *loop.optimizers, *things, loaders=loaders))
    assert curve.given_back is True
    return len(curve)


# Models and optimizers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_given_back(name: str, trained: bool) -> None:
    model = MODELS[name]()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    batches = loader()
    if trained:
        train(model, optimizer, batches, 2)
    assert swept(Loop(model, optimizer, batches, F.cross_entropy), loaders=(batches,)) == STEPS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_given_back_and_trains_on_as_without_a_sweep(name: str) -> None:
    def trained(with_sweep: bool) -> list[bytes]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(FEATURES, 5), nn.Dropout(0.2), nn.Linear(5, CLASSES))
        optimizer = make_optimizer(name, model)
        batches = loader()
        loop = Loop(model, optimizer, batches, F.cross_entropy)
        for part in range(2):
            take, drawn = loop.stepper(), loop.batches()
            for _ in range(3):
                take(drawn)
            if with_sweep and part == 0:
                assert swept(loop, loaders=(batches,)) == STEPS
        return [p.detach().numpy().tobytes() for p in model.parameters()]

    assert trained(with_sweep=True) == trained(with_sweep=False)


def test_sparse_embeddings_under_sparse_adam_are_given_back() -> None:
    model = nn.Sequential(nn.EmbeddingBag(10, 4, sparse=True), nn.Linear(4, 3))
    optimizers = [
        torch.optim.SparseAdam(model[0].parameters(), lr=0.1),
        torch.optim.SGD(model[1].parameters(), lr=0.1),
    ]
    batches = [(torch.randint(10, (4, 3)), torch.randint(3, (4,))) for _ in range(3)]
    loop = Loop(model, optimizers, batches, F.cross_entropy)
    assert swept(loop) == STEPS
    loop.stepper()(loop.batches())
    assert model[0].weight.grad.is_sparse
    assert swept(loop) == STEPS


def test_the_attributes_of_a_scripted_model_are_given_back() -> None:
    model = MODELS["scripted"]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer, loader(), 2)
    assert swept(Loop(model, optimizer, loader(), F.cross_entropy)) == STEPS
    assert (model.calls, model.sizes) == (2, [0, 8, 8])


def test_a_model_compiled_for_real_is_given_back_without_a_recompilation() -> None:
    compiled = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return graph.forward

    model = torch.compile(net(), backend=backend)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(1e-3), foreach=False)
    batches = loader()
    train(model, optimizer, batches, 2)
    after_training = compiled
    assert swept(Loop(model, optimizer, batches, F.cross_entropy), loaders=(batches,)) == STEPS
    train(model, optimizer, batches, 2)
    assert compiled == after_training
    torch._dynamo.reset()


@pytest.fixture
def process_group() -> Iterator[None]:
    """A process group of one."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.usefixtures("process_group")
def test_a_ddp_wrapped_model_is_given_back_and_trains_on(view: bool) -> None:
    def trained(with_sweep: bool) -> list[float]:
        torch.manual_seed(0)
        model = nn.parallel.DistributedDataParallel(net(), gradient_as_bucket_view=view)
        optimizer = adam(model)
        batches = loader()
        losses = train(model, optimizer, batches, 3)
        if with_sweep:
            assert swept(Loop(model, optimizer, batches, F.cross_entropy), loaders=(batches,)) == STEPS
        return losses + train(model, optimizer, batches, 3)

    assert trained(with_sweep=True) == trained(with_sweep=False)


@pytest.mark.usefixtures("process_group")
def test_a_fully_sharded_model_is_given_back_and_trains_on() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def trained(with_sweep: bool) -> list[float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))
        mesh = init_device_mesh("cpu", (1,))
        for part in (model[0], model[2], model):
            fully_shard(part, mesh=mesh)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        batches = loader()
        losses = train(model, optimizer, batches, 3)
        if with_sweep:
            range_test(model, optimizer, batches, F.cross_entropy, num_steps=STEPS)
        return losses + train(model, optimizer, batches, 3)

    assert trained(with_sweep=True) == trained(with_sweep=False)


def test_weight_averages_are_given_back() -> None:
    model = net()
    optimizer = adam(model)
    batches = loader()
    ema = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)

    def step(batch: Any) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        ema.update_parameters(model)
        return loss

    step(next(iter(batches)))
    assert swept(Loop(model, optimizer, batches, train_step=step), ema, loaders=(batches,)) == STEPS
    assert swept(Loop(model, optimizer, batches, train_step=step, also=[ema]), ema, loaders=(batches,)) == STEPS
    assert int(ema.n_averaged) == 1


def test_an_average_is_swept_when_it_is_what_is_trained_and_else_refused_with_what_to_pass() -> None:
    model, batches = net(), loader()
    average = torch.optim.swa_utils.AveragedModel(model)
    assert swept(Loop(average, adam(average), batches, F.cross_entropy), loaders=(batches,)) == STEPS
    with pytest.raises(ModelMismatchError, match=r"(?s)^Got an AveragedModel.*expected the model that is.*also="):
        Loop(average, adam(model), batches, F.cross_entropy)


def test_a_frozen_teacher_named_in_also_is_given_back() -> None:
    model, teacher = net(), nn.Linear(FEATURES, CLASSES).requires_grad_(False)

    def loss_step(model: nn.Module, batch: Any) -> torch.Tensor:
        teacher.weight.mul_(0.9)
        return F.mse_loss(model(batch[0]), teacher(batch[0]))

    batches = loader()
    loop = Loop(model, adam(model), batches, loss_step=loss_step, also=[teacher])
    assert swept(loop, teacher, loaders=(batches,)) == STEPS


@pytest.mark.parametrize("in_optimizer", [False, True])
def test_layers_unfrozen_during_the_sweep_are_given_back(in_optimizer: bool) -> None:
    model = net()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad or in_optimizer], lr=0.1)
    calls = []

    def loss_step(model: nn.Module, batch: Any) -> torch.Tensor:
        calls.append(len(calls))
        if len(calls) == 3:
            model[0].requires_grad_(True)  # type: ignore[index]
            if not in_optimizer:
                optimizer.param_groups[0]["params"].extend(model[0].parameters())  # type: ignore[index]
        return F.cross_entropy(model(batch[0]), batch[1])

    batches = loader()
    assert swept(Loop(model, optimizer, batches, loss_step=loss_step), loaders=(batches,)) == STEPS


# Schedulers -----------------------------------------------------------------------------------------------------------

SCHEDULERS: dict[str, Any] = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.5),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "chained": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[3],
    ),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize("tensor_lr", [False, True])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_attached_scheduler_steps_on_as_if_nothing_had_been(name: str, tensor_lr: bool) -> None:
    def lrs(with_sweep: bool) -> list[float]:
        torch.manual_seed(0)
        model = net()
        lr: Any = torch.tensor(0.01) if tensor_lr else 0.01
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        scheduler = SCHEDULERS[name](optimizer)
        batches = loader()
        found = []
        for step in range(6):
            train(model, optimizer, batches, 1)
            if with_sweep and step == 2:
                assert swept(Loop(model, optimizer, batches, F.cross_entropy), loaders=(batches,)) == STEPS
            scheduler.step(1.0) if name == "plateau" else scheduler.step()
            found.append(float(optimizer.param_groups[0]["lr"]))
        return found

    assert lrs(with_sweep=True) == lrs(with_sweep=False)


def test_a_scheduler_that_was_never_stepped_still_warns_when_it_steps_first() -> None:
    model = net()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    range_test(model, optimizer, loader(), F.cross_entropy, num_steps=STEPS)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


def test_a_scheduler_in_the_users_own_step_is_found_and_given_back() -> None:
    model = net()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    batches = loader()

    def step(batch: Any) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item()

    before = copy.deepcopy(scheduler.state_dict())
    assert swept(Loop(model, optimizer, batches, train_step=step), loaders=(batches,)) == STEPS
    assert scheduler.state_dict() == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(next(iter(batches)))


# Loops ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"amp": "bf16"},
        {"amp": "fp16"},
        {"amp": "fp16", "scaler": torch.amp.GradScaler("cpu", init_scale=2.0**40), "clip_grad_norm": 1.0},
        {"accumulate": 3},
        {"accumulate": 2, "amp": "fp16", "clip_grad_norm": 0.1},
        {"clip_grad_norm": 0.1},
    ],
    ids=" ".join,
)
def test_the_steps_options_leave_no_trace(options: dict[str, Any]) -> None:
    model = net()
    optimizer = adam(model)
    batches = loader()
    train(model, optimizer, batches, 2)
    loop = Loop(model, optimizer, batches, F.cross_entropy, **options)
    assert swept(loop, options.get("scaler"), loaders=(batches,)) == STEPS


def test_steps_the_scaler_skips_are_neither_plotted_nor_swept() -> None:
    model = net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    used: list[float] = []
    optimizer = adam(model)
    optimizer.register_step_pre_hook(lambda o, a, k: used.append(o.param_groups[1]["lr"]))
    curve = range_test(model, optimizer, loader(), F.cross_entropy, num_steps=STEPS, amp="fp16", scaler=scaler)
    assert len(curve) == len(used) == STEPS
    assert used == pytest.approx(curve.lrs.tolist())


def test_a_gan_is_swept_and_given_back() -> None:
    maker, critic = nn.Sequential(nn.Linear(4, FEATURES), nn.BatchNorm1d(FEATURES)), nn.Linear(FEATURES, 1)
    for_maker = torch.optim.Adam(maker.parameters(), lr=1e-3)
    for_critic = torch.optim.RMSprop(critic.parameters(), lr=1e-4)
    batches = loader()

    def step(batch: Any) -> float:
        fake = maker(torch.randn(len(batch[0]), 4))
        for_critic.zero_grad()
        loss = critic(fake.detach()).mean() - critic(batch[0]).mean()
        loss.backward()
        for_critic.step()
        for_maker.zero_grad()
        (-critic(fake).mean()).backward()
        for_maker.step()
        for p in critic.parameters():
            p.data.clamp_(-0.1, 0.1)
        return loss.item()

    step(next(iter(batches)))
    loop = Loop(maker, [for_maker, for_critic], batches, train_step=step, also=[critic])
    assert swept(loop, critic, loaders=(batches,), diverge_ratio=None) == STEPS
    # The critic is found through its optimizer and through the step, even when nobody names it.
    loop = Loop(maker, for_maker, batches, train_step=step)
    assert swept(loop, critic, for_critic, loaders=(batches,), diverge_ratio=None) == STEPS


class TinySGD:
    """An optimizer as people write it when they learn."""

    def __init__(self, params: list[torch.Tensor], lr: float) -> None:
        self.param_groups = [{"params": params, "lr": lr}]
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p -= self.param_groups[0]["lr"] * p.grad

    def zero_grad(self) -> None:
        for p in self.param_groups[0]["params"]:
            p.grad = None


class Softmax:
    """A classifier of plain tensors."""

    def __init__(self) -> None:
        self.w = torch.zeros(FEATURES, CLASSES, requires_grad=True)
        self.b = torch.zeros(CLASSES, requires_grad=True)
        self.optimizer = TinySGD([self.w, self.b], lr=0.1)
        self.losses: list[float] = []

    def step(self, batch: Any) -> float:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(batch[0] @ self.w + self.b, batch[1])
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())
        return loss.item()


def test_a_classifier_of_plain_tensors_with_its_own_sgd_is_swept() -> None:
    model = Softmax()
    batches = loader()
    for batch in batches:
        model.step(batch)
    assert swept(Loop(model, model.optimizer, batches, train_step=model.step), loaders=(batches,)) == STEPS
    assert len(model.losses) == 6
    curve = range_test(model, model.optimizer, batches, train_step=model.step, start_lr=1e-3, end_lr=1e3, num_steps=40)
    assert curve.losses.min() < curve.losses[0] < curve.losses[-1]


def test_an_optimizer_of_the_users_own_may_be_stepped_by_the_engine() -> None:
    model = nn.Linear(FEATURES, CLASSES)
    optimizer = TinySGD(list(model.parameters()), lr=0.1)
    assert swept(Loop(model, optimizer, loader(), F.cross_entropy)) == STEPS
    assert optimizer.steps == 0


def test_anything_with_a_way_to_set_its_lrs_is_swept() -> None:
    w = torch.zeros(FEATURES, CLASSES, requires_grad=True)
    rate = {"lr": 0.5}
    used: list[float] = []

    def step(batch: Any) -> torch.Tensor:
        loss = F.cross_entropy(batch[0] @ w, batch[1])
        (grad,) = torch.autograd.grad(loss, w)
        used.append(rate["lr"])
        w.data -= rate["lr"] * grad
        return loss

    curve = range_test(
        rate, None, loader(), train_step=step, set_lrs=lambda lrs: rate.update(lr=lrs[0]), num_steps=STEPS
    )
    assert used == pytest.approx(curve.lrs.tolist())
    assert rate == {"lr": 0.5}
    assert not w.detach().any()


def test_a_loss_step_does_the_forward_and_the_engine_the_rest() -> None:
    model = net()
    optimizer = adam(model)
    batches = [{"a": x, "b": y} for x, y in loader()]
    loop = Loop(model, optimizer, batches, loss_step=lambda m, b: F.cross_entropy(m(b["a"]), b["b"]))
    assert swept(loop) == STEPS


def test_a_loss_with_parameters_and_state_of_its_own_is_given_back() -> None:
    class Running(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.mean += output.detach().mean()
            return F.cross_entropy(output * self.scale, target)

    model, loss_fn = net(), Running()
    optimizer = torch.optim.AdamW([*model.parameters(), *loss_fn.parameters()])
    assert swept(Loop(model, optimizer, loader(), loss_fn), loss_fn) == STEPS


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(Stream(), batch_size=4),
        lambda: list(loader()),
        lambda: tuple(loader()),
        lambda: (batch for batch in [*loader(), *loader()]),
        lambda: iter(loader()),
        lambda: zip(torch.randn(9, 4, FEATURES), torch.zeros(9, 4, dtype=torch.long), strict=True),
        lambda: DataLoader(Augmented(), batch_size=16, shuffle=True),
        lambda: DataLoader(Augmented(), batch_size=16, num_workers=2),
        lambda: DataLoader(Stream(), batch_size=4, num_workers=1, persistent_workers=True),
    ],
    ids=["stream", "list", "tuple", "generator", "iterator", "zip", "augmented", "workers", "persistent"],
)
def test_every_kind_of_loader_is_swept_and_given_back(make: Any) -> None:
    model = net()
    batches = make()
    loaders = (batches,) if isinstance(batches, DataLoader) else ()
    assert swept(Loop(model, adam(model), batches, F.cross_entropy), loaders=loaders) == STEPS


def test_a_model_that_writes_into_its_input_does_not_change_a_list_of_batches() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(FEATURES, CLASSES))
    batches = [classification(8)]
    before = batches[0][0].clone()
    range_test(model, torch.optim.SGD(model.parameters(), lr=0.1), batches, F.cross_entropy, num_steps=STEPS)
    assert torch.equal(batches[0][0], before)


def test_a_user_who_switches_modes_in_the_step_finds_the_modes_as_they_were() -> None:
    model = net()
    optimizer = adam(model)
    batches = loader()

    def step(batch: Any) -> torch.Tensor:
        model.eval() if random.random() < 0.5 else model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    for mode in (True, False):
        model.train(mode)
        assert swept(Loop(model, optimizer, batches, train_step=step), loaders=(batches,)) == STEPS


# Refusals -------------------------------------------------------------------------------------------------------------


def test_a_meta_or_lazy_model_is_refused_when_it_is_attached() -> None:
    meta = nn.Linear(2, 2, device="meta")
    with pytest.raises(InputError, match=r"(?s)^Got a Linear .*meta device.*; expected.*to_empty"):
        Loop(meta, torch.optim.SGD(meta.parameters(), lr=0.1), loader(), F.cross_entropy)
    lazy = nn.LazyLinear(2)
    with pytest.raises(InputError, match=r"(?s)^Got a LazyLinear .*not initialised.*; expected"):
        Loop(lazy, torch.optim.SGD(lazy.parameters(), lr=0.1), loader(), F.cross_entropy)


class Elsewhere(torch.Tensor):
    """Says that it is on another device."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda:1")


def test_a_model_on_two_devices_is_told_to_bring_its_own_forward() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = nn.Parameter(torch.zeros(2, 2).as_subclass(Elsewhere))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match=r"(?s)^Got a Sequential whose parameters are on cpu and cuda:1; expected one"):
        Loop(model, optimizer, loader(), F.cross_entropy)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"model": nn.Linear}, InputTypeError, r"as model; expected a torch.nn.Module|the class Linear"),
        ({"model": "net"}, InputTypeError, r"Got a str as model; expected a torch.nn.Module"),
        ({"optimizer": "adam"}, InputTypeError, r"Got a str as optimizer; expected an object with param_groups"),
        ({"optimizer": []}, InputTypeError, r"Got a list without entries as optimizer"),
        ({"optimizer": torch.optim.Adam}, InputTypeError, r"as optimizer; expected an object with param_groups"),
        ({"loss_fn": 3}, InputTypeError, r"Got a int as loss_fn; expected a function"),
        ({"train_dl": None}, InputTypeError, r"Got a NoneType as train_dl; expected something to iterate"),
        ({"loss_step": len, "train_step": len}, InputError, r"Got both loss_step and train_step; expected one"),
        ({"train_step": len, "amp": "fp16"}, InputError, r"Got train_step together with amp"),
        ({"amp": "int8"}, InputError, r"Got amp='int8'; expected None"),
        ({"loss_step": 3}, InputTypeError, r"Got a int as loss_step; expected a function: loss_step\(model, batch\)"),
        ({"train_step": "step"}, InputTypeError, r"Got a str as train_step; expected a function: train_step\(batch\)"),
        ({"set_lrs": 1e-3}, InputTypeError, r"Got a float as set_lrs; expected a function: set_lrs\(lrs\)"),
        ({"also": "ema"}, InputTypeError, r"Got also=\('ema',\); expected .* objects in also"),
        ({"names": "stem"}, InputTypeError, r"Got names='stem'; expected a list of texts"),
        ({"scaler": 2.0**16}, InputTypeError, r"Got a float as scaler; expected a torch.amp.GradScaler"),
    ],
)
def test_what_is_no_loop_is_refused(arguments: dict[str, Any], kind: type[Exception], said: str) -> None:
    model = net()
    whole: dict[str, Any] = {"model": model, "optimizer": adam(model), "train_dl": loader(), "loss_fn": F.cross_entropy}
    with pytest.raises(kind, match=said) as error:
        Loop(**{**whole, **arguments})
    assert str(error.value).startswith("Got ")


def test_one_optimizer_given_twice_is_refused() -> None:
    model = net()
    optimizer = adam(model)
    with pytest.raises(InputError, match=r"^Got one optimizer twice; expected each once"):
        Loop(model, [optimizer, optimizer], loader(), F.cross_entropy)


# ---- optimizers that are nobody's but the user's ---------------------------------------------------------------------


class OwnMomentum:
    """Momentum SGD as people write it when they learn: no param groups, an LR and buffers in plain attributes."""

    def __init__(self, parameters: list[torch.Tensor], lr: float) -> None:
        self.parameters, self.lr = parameters, lr
        self.velocity = [torch.zeros_like(p) for p in parameters]

    def step(self) -> None:
        with torch.no_grad():
            for parameter, velocity in zip(self.parameters, self.velocity, strict=True):
                velocity.mul_(0.9).add_(parameter.grad)
                parameter -= self.lr * velocity
                parameter.grad = None


class PlainClassifier:
    def __init__(self) -> None:
        self.weight = torch.zeros(6, 3, requires_grad=True)


@pytest.mark.parametrize("passed", [True, False], ids=["passed as optimizer", "only named by the functions"])
def test_an_optimizer_without_param_groups_is_given_back(passed: bool) -> None:
    torch.manual_seed(0)
    model = PlainClassifier()
    own = OwnMomentum([model.weight], lr=0.1)
    batches = [(torch.randn(8, 6), torch.arange(8) % 3) for _ in range(4)]

    def train_step(batch: Any) -> torch.Tensor:
        loss = F.cross_entropy(batch[0] @ model.weight, batch[1])
        loss.backward()
        own.step()
        return loss

    def set_lrs(lrs: tuple[float, ...]) -> None:
        (own.lr,) = lrs

    optimizer: Any = own if passed else None
    curve = range_test(model, optimizer, batches, train_step=train_step, set_lrs=set_lrs, num_steps=9)
    assert len(curve) == 9
    assert own.lr == 0.1
    assert not own.velocity[0].any()
    assert not model.weight.any()


def test_param_groups_that_hold_an_lr_and_nothing_else_will_do() -> None:
    weight = torch.zeros(2, requires_grad=True)
    groups = types.SimpleNamespace(param_groups=[{"lr": 0.1}])

    def train_step(batch: torch.Tensor) -> torch.Tensor:
        loss = (weight - batch).square().sum()
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight.sub_(groups.param_groups[0]["lr"] * gradient)
        return loss

    curve = range_test(None, groups, [torch.ones(2)] * 3, train_step=train_step, end_lr=0.1, num_steps=9)
    assert curve.losses[-1] < curve.losses[0]
    assert groups.param_groups == [{"lr": 0.1}]
    assert not weight.any()


def test_a_snapshot_on_no_device_is_refused_in_words() -> None:
    model = net()
    with pytest.raises(InputError, match=r"Got snapshot='disk'; expected None or a device"):
        range_test(model, adam(model), loader(), F.cross_entropy, snapshot="disk")


@pytest.mark.parametrize("place", ["loss", "callback"])
def test_a_stop_iteration_of_the_users_ends_a_run_as_it_is(place: str) -> None:
    model, batches = net(), loader()
    optimizer = adam(model)
    calls: list[Any] = []

    def third(*args: Any) -> torch.Tensor:
        calls.append(args)
        return F.cross_entropy(*args) if len(calls) < 3 and place == "loss" else next(iter(()))

    plan = one_cycle(1e-2, total_steps=8, groups=optimizer)
    options: dict[str, Any] = {"on_step": third} if place == "callback" else {}
    with pytest.raises(StopIteration):
        fit(model, optimizer, batches, third if place == "loss" else F.cross_entropy, plan, **options)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-2]
