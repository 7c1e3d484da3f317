"""Beside its references: what fastai 2.8 really does at each step, and one run told four ways.

The tables were printed by scripts/beside_fastai.py, with fastai 2.8.12 and torch 2.13, from the same model and batches.
A row is the LR of each of the three groups, the momentum, and the training loss before the step. fastai computes where
a step is in its cycle in float32: its LRs are within 1e-7 of the highest one of what its own formula gives.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import Plan, fine_tune_plan, one_cycle
from lrwidget.engine.runs.fit import fine_tune, fit
from lrwidget.engine.runs.history import History
from lrwidget.session.session import Session
from tests.engine.zoo import Augmented, adam, loader, net

Row = tuple[float, float, float, float, float]

# fmt: off
ONE_CYCLE_ADAM: list[Row] = [
    (4e-06, 4e-05, 0.0004, 0.95, 1.1784050464630127),
    (3.716718512482818e-05, 0.00037167185124828173, 0.003716718512482818, 0.915450848828304, 1.2139604091644287),
    (9.083281678662004e-05, 0.0009083281678662005, 0.009083281678662004, 0.8595491491806041, 1.264049768447876),
    (9.890739036269117e-05, 0.0009890739036269116, 0.009890739036269117, 0.8510926205635144, 1.1149948835372925),
    (9.04509449350908e-05, 0.000904509449350908, 0.009045094493509081, 0.8595491505564148, 1.0720648765563965),
    (7.500024864862765e-05, 0.0007500024864862765, 0.007500024864862766, 0.8750000013513858, 1.104234218597412),
    (5.522686593312815e-05, 0.0005522686593312815, 0.005522686593312814, 0.8947735818026898, 1.0971759557724),
    (3.454981013235673e-05, 0.00034549810132356723, 0.0034549810132356723, 0.915450844376087, 1.129083275794983),
    (1.654430239195914e-05, 0.00016544302391959128, 0.0016544302391959132, 0.9334565321733626, 1.002764344215393),
    (4.323687190957234e-06, 4.32368719095722e-05, 0.0004323687190957229, 0.9456772695817386, 0.9715632796287537),
]
ONE_CYCLE_ADAM_HEAD = [
    -0.252381831407547, -0.5390218496322632, -0.010471618734300137, 0.41916853189468384, 0.33040523529052734,
    -0.2572157382965088, -0.507827877998352, 0.08697061985731125, 0.4496147632598877, 0.25821664929389954,
    -0.42494645714759827, -0.4550751745700836, 0.2011488974094391, 0.45658203959465027, 0.08736961334943771,
    -0.4258641004562378, -0.3005281686782837, 0.21104250848293304, 0.436222106218338, 0.04679782688617706,
    -0.526084840297699, -0.2507217228412628, 0.38308829069137573, 0.3968461751937866, -0.21517840027809143,
    -0.5153962969779968, -0.028836512938141823,
]
ONE_CYCLE_SGD: list[Row] = [
    (4e-05, 4e-05, 0.0004, 0.95, 1.1784050464630127),
    (0.00037167185124828173, 0.00037167185124828173, 0.003716718512482818, 0.915450848828304, 1.2151415348052979),
    (0.0009083281678662005, 0.0009083281678662005, 0.009083281678662004, 0.8595491491806041, 1.2718104124069214),
    (0.0009890739036269116, 0.0009890739036269116, 0.009890739036269117, 0.8510926205635144, 1.1286537647247314),
    (0.000904509449350908, 0.000904509449350908, 0.009045094493509081, 0.8595491505564148, 1.0949559211730957),
    (0.0007500024864862765, 0.0007500024864862765, 0.007500024864862766, 0.8750000013513858, 1.1228471994400024),
    (0.0005522686593312815, 0.0005522686593312815, 0.005522686593312814, 0.8947735818026898, 1.1236793994903564),
    (0.00034549810132356723, 0.00034549810132356723, 0.0034549810132356723, 0.915450844376087, 1.161412239074707),
    (0.00016544302391959128, 0.00016544302391959128, 0.0016544302391959132, 0.9334565321733626, 1.03851318359375),
    (4.32368719095722e-05, 4.32368719095722e-05, 0.0004323687190957229, 0.9456772695817386, 1.012825846672058),
]
ONE_CYCLE_SGD_HEAD = [
    -0.23986053466796875, -0.5075406432151794, -0.030225958675146103, 0.4361723065376282, 0.32130080461502075,
    -0.268046498298645, -0.47357022762298584, 0.06880403310060501, 0.46022483706474304, 0.24256092309951782,
    -0.3932439088821411, -0.43476036190986633, 0.1919189840555191, 0.462344229221344, 0.1061471626162529,
    -0.43927738070487976, -0.28050678968429565, 0.23916000127792358, 0.46979889273643494, 0.04919338971376419,
    -0.5324758291244507, -0.2552047073841095, 0.35409337282180786, 0.42424866557121277, -0.2090599238872528,
    -0.5010915398597717, -0.04773816466331482,
]
FINE_TUNE: list[Row] = [
    (8e-05, 8e-05, 0.0008, 0.0, 1.1784050464630127),
    (0.00026694054577230177, 0.00026694054577230177, 0.0026694054577230176, 0.0, 1.2149806022644043),
    (0.0007549564171441107, 0.0007549564171441107, 0.007549564171441108, 0.0, 1.2748000621795654),
    (0.0013539852962624623, 0.0013539852962624623, 0.013539852962624624, 0.0, 1.141541838645935),
    (0.0018307294914014119, 0.0018307294914014119, 0.01830729491401412, 0.0, 1.1221503019332886),
    (2e-05, 0.0002, 0.002, 0.0, 1.1578811407089233),
    (3.999999783778271e-05, 0.00039999997837782716, 0.003999999783778271, 0.0, 1.1866554021835327),
    (7.999999567556518e-05, 0.0007999999567556517, 0.007999999567556516, 0.0, 1.2432122230529785),
    (0.0001, 0.001, 0.01, 0.0, 1.1125577688217163),
    (9.504849349101158e-05, 0.0009504849349101157, 0.009504849349101157, 0.0, 1.0911375284194946),
    (8.117468043945326e-05, 0.0008117468043945326, 0.008117468043945326, 0.0, 1.1402372121810913),
    (6.112643022143862e-05, 0.0006112643022143861, 0.0061126430221438615, 0.0, 1.160517692565918),
    (3.8874569778561376e-05, 0.0003887456977856137, 0.0038874569778561373, 0.0, 1.2138638496398926),
    (1.8826319560546738e-05, 0.0001882631956054674, 0.0018826319560546739, 0.0, 1.0894826650619507),
    (4.952510571261108e-06, 4.9525105712611e-05, 0.0004952510571261098, 0.0, 1.0711266994476318),
]
FINE_TUNE_HEAD = [
    -0.22443807125091553, -0.5022991299629211, -0.04119450971484184, 0.449497252702713, 0.31182754039764404,
    -0.28067702054977417, -0.47009530663490295, 0.058909378945827484, 0.47580376267433167, 0.2288976013660431,
    -0.3876306414604187, -0.42663681507110596, 0.17639568448066711, 0.4818086326122284, 0.10546547919511795,
    -0.4380156993865967, -0.31150829792022705, 0.24758177995681763, 0.47515422105789185, 0.027745088562369347,
    -0.5074792504310608, -0.2620386481285095, 0.35130009055137634, 0.4328814446926117, -0.208477184176445,
    -0.497283011674881, -0.05212942883372307,
]
FINE_TUNE_MOMENTUM: list[Row] = [
    (8e-05, 8e-05, 0.0008, 0.95, 1.1784050464630127),
    (0.00026694054577230177, 0.00026694054577230177, 0.0026694054577230176, 0.9402635132410259, 1.2149806022644043),
    (0.0007549564171441107, 0.0007549564171441107, 0.007549564171441108, 0.9148460199404109, 1.273539662361145),
    (0.0013539852962624623, 0.0013539852962624623, 0.013539852962624624, 0.8836465991529967, 1.133714199066162),
    (0.0018307294914014119, 0.0018307294914014119, 0.01830729491401412, 0.8588161723228431, 1.092093586921692),
    (2e-05, 0.0002, 0.002, 0.95, 1.1097227334976196),
    (7.999999567556518e-05, 0.0007999999567556517, 0.007999999567556516, 0.8750000054055436, 1.1246002912521362),
    (9.504849349101158e-05, 0.0009504849349101157, 0.009504849349101157, 0.8549515560245486, 1.1708557605743408),
    (6.112643022143862e-05, 0.0006112643022143861, 0.0061126430221438615, 0.8888739585181465, 1.0442564487457275),
    (1.8826319560546738e-05, 0.0001882631956054674, 0.0018826319560546739, 0.9311744921843751, 1.0076448917388916),
]
FINE_TUNE_MOMENTUM_HEAD = [
    -0.24414943158626556, -0.5092785954475403, -0.02730400487780571, 0.4325038194656372, 0.32293501496315,
    -0.2649189233779907, -0.47423216700553894, 0.07103461027145386, 0.4552780091762543, 0.24670840799808502,
    -0.39479607343673706, -0.43738019466400146, 0.19698090851306915, 0.4568825960159302, 0.10618115961551666,
    -0.43909138441085815, -0.27127107977867126, 0.23675040900707245, 0.4684291183948517, 0.05548173561692238,
    -0.5391719341278076, -0.25287070870399475, 0.3547213077545166, 0.42183199524879456, -0.20984649658203125,
    -0.5019445419311523, -0.04609856382012367,
]
# fmt: on


# fastai ---------------------------------------------------------------------------------------------------------------


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.sin(torch.arange(240.0) * 0.7).reshape(40, 6)
    y = torch.arange(40) % 3
    return list(zip(x.split(8), y.split(8), strict=True))


def three_groups(kind: Any, **options: Any) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    stem = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
    body = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU())
    model = nn.Sequential(stem, body, nn.Linear(8, 3))
    with torch.no_grad():
        for number, layer in enumerate((stem[0], body[0], model[2])):
            for parameter in (layer.weight, layer.bias):
                parameter.copy_(torch.cos(torch.arange(parameter.numel()) * 1.3 + number).reshape(parameter.shape) / 2)
    return model, kind([{"params": part.parameters()} for part in model], lr=0.5, **options)


def held_against(history: History, table: list[Row]) -> None:
    """LRs and momenta of every group at every step, and the losses that come of them."""
    rows = np.array(table)
    scheduled_alike(history, rows)
    np.testing.assert_allclose(history.losses, rows[:, 4], rtol=1e-5)


def scheduled_alike(history: History, rows: np.ndarray) -> None:
    highest = rows[:, :3].max(axis=0)
    np.testing.assert_allclose(history.lrs / highest, rows[:, :3] / highest, rtol=0, atol=1e-7)
    np.testing.assert_allclose(history.momentum, np.repeat(rows[:, 3:4], 3, axis=1), rtol=0, atol=1e-7)


def head_of(model: nn.Sequential) -> list[float]:
    return [*model[2].weight.flatten().tolist(), *model[2].bias.tolist()]


@pytest.mark.parametrize(
    ("kind", "options", "pick", "table", "head"),
    [
        (torch.optim.AdamW, {}, slice(1e-4, 1e-2), ONE_CYCLE_ADAM, ONE_CYCLE_ADAM_HEAD),
        (torch.optim.SGD, {"momentum": 0.9}, slice(1e-2), ONE_CYCLE_SGD, ONE_CYCLE_SGD_HEAD),
    ],
)
def test_the_fastai_preset_does_at_every_step_what_fit_one_cycle_does(
    kind: Any, options: dict[str, float], pick: slice, table: list[Row], head: list[float]
) -> None:
    model, optimizer = three_groups(kind, **options)
    history = fit(model, optimizer, batches(), F.cross_entropy, one_cycle(pick, 10, optimizer, preset="fastai"))
    held_against(history, table)
    np.testing.assert_allclose(head_of(model), head, rtol=1e-4, atol=1e-6)


def test_fine_tune_does_at_every_step_what_fastai_s_does() -> None:
    model, optimizer = three_groups(torch.optim.SGD, momentum=0.9)
    history = fine_tune(model, optimizer, batches(), F.cross_entropy, epochs=1, base_lr=2e-2)
    scheduled_alike(history, np.array(FINE_TUNE_MOMENTUM))


def test_fine_tune_without_momentum_trains_the_weights_that_fastai_s_trains() -> None:
    model, optimizer = three_groups(torch.optim.SGD)
    history = fine_tune(model, optimizer, batches(), F.cross_entropy, epochs=2, base_lr=2e-2)
    held_against(history, FINE_TUNE)
    np.testing.assert_allclose(head_of(model), FINE_TUNE_HEAD, rtol=1e-4, atol=1e-6)


def test_fine_tune_s_two_parts_are_fastai_s_when_momenta_are_forgotten_between_them_as_there() -> None:
    model, optimizer = three_groups(torch.optim.SGD, momentum=0.9)
    plan = fine_tune_plan(2e-2, 5, 5, optimizer)
    for cycle, table in zip(plan.cycles, (FINE_TUNE_MOMENTUM[:5], FINE_TUNE_MOMENTUM[5:]), strict=True):
        held_against(fit(model, optimizer, batches(), F.cross_entropy, Plan(cycles=(cycle,), names=plan.names)), table)
        optimizer.state.clear()
    np.testing.assert_allclose(head_of(model), FINE_TUNE_MOMENTUM_HEAD, rtol=1e-4, atol=1e-6)


# One plan, one truth --------------------------------------------------------------------------------------------------


def world(seed: int = 5) -> tuple[nn.Sequential, torch.optim.Optimizer, DataLoader[Any]]:
    """A model with batch norm and dropout, and data with noise from all three libraries' global generators."""
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
    model = net()
    return model, adam(model), DataLoader(Augmented(), 8, shuffle=True)


def bits(model: nn.Module) -> list[bytes]:
    return [tensor.detach().numpy().tobytes() for tensor in model.state_dict().values()]


def on_the_screen(options: dict[str, Any], validated: bool) -> list[bytes]:
    model, optimizer, batches = world()
    session = Session(Loop(model, optimizer, batches, F.cross_entropy, valid_dl=loader(16) if validated else None))
    session.sweep(num_steps=20).wait()
    session.pick(slice(1e-3, 3e-2))
    session.pick_group(0, 2e-3)
    session.fine_tune(epochs=2, **options).wait()
    return bits(model)


def the_plan(options: dict[str, Any]) -> Plan:
    model, optimizer, batches = world()
    session = Session(Loop(model, optimizer, batches, F.cross_entropy))
    session.pick((2e-3, 3e-2))
    return session.plan(epochs=2, **options)


def headless(options: dict[str, Any], validated: bool) -> list[bytes]:
    plan = the_plan(options)
    model, optimizer, batches = world()
    fit(model, optimizer, batches, F.cross_entropy, plan, valid_dl=loader(16) if validated else None)
    return bits(model)


def printed(options: dict[str, Any], validated: bool) -> list[bytes]:
    plan = the_plan(options)
    model, optimizer, batches = world()
    names = {"model": model, "optimizer": optimizer, "train_dl": batches, "loss_fn": F.cross_entropy}
    exec(compile(plan.code(), "plan.code()", "exec"), names)
    return bits(model)


@pytest.mark.parametrize("way", [headless, printed])
@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "fastai"},
        {"preset": "smith", "freeze_epochs": 1},
        {"freeze_epochs": 2, "momentum": (0.8, 0.9)},
        {"preset": "fine_tune", "freeze_epochs": 1},
        {"preset": "fastai_v1", "anneal": "linear"},
        {"pct_start": 0.0},
    ],
    ids=str,
)
def test_a_run_after_a_pick_the_same_run_headless_and_the_printed_program_train_the_same_weights(
    options: dict[str, Any], validated: bool, way: Callable[[dict[str, Any], bool], list[bytes]]
) -> None:
    assert way(options, validated) == on_the_screen(options, validated)


# lrwidget may be installed where the tests run: an isolated Python is made blind to it.
BLIND = """
import sys
sys.modules["lrwidget"] = None
"""

PLANS = {
    "torch": one_cycle(slice(1e-3, 1e-1), 11, ["body", "head"]),
    "torch, body frozen": one_cycle(slice(1e-3, 1e-1), 11, ["body", "head"], frozen=[True, False]),
    "smith, frozen first": one_cycle(0.1, 9, ["body", "head"], preset="smith", freeze_steps=4),
    "fine-tune": fine_tune_plan(0.05, 8, 4, ["body", "head"]),
    "fine-tune, norms still": fine_tune_plan(0.05, 8, 4, ["body", "head"], train_norms=False),
}

PRELUDE = """
import torch
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(3)
model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 2))
optimizer = torch.optim.AdamW(
    [{"params": list(model[:2].parameters()), "name": "body"}, {"params": list(model[4].parameters()), "name": "head"}],
    lr=0.5,
)
data = torch.utils.data.TensorDataset(torch.randn(22, 4), torch.randint(0, 2, (22,)))
train_dl = torch.utils.data.DataLoader(data, 6, shuffle=True)
loss_fn = nn.functional.cross_entropy
"""

EACH = """
import json
for program in json.load(sys.stdin):
    names = {}
    exec(program, names)
    print(json.dumps([tensor.numpy().tobytes().hex() for tensor in names["model"].state_dict().values()]))
"""


@pytest.fixture(scope="module")
def trained_by_programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The weights that each plan's program trains in a Python that has torch and not lrwidget."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", BLIND + EACH],
        cwd=tmp_path_factory.mktemp("clean"),
        input=json.dumps([PRELUDE + plan.code() for plan in PLANS.values()]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(PLANS, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", PLANS)
def test_the_printed_program_runs_with_torch_alone_and_trains_what_fit_trains(
    name: str, trained_by_programs: dict[str, list[str]]
) -> None:
    names: dict[str, Any] = {}
    exec(PRELUDE, names)
    fit(names["model"], names["optimizer"], names["train_dl"], names["loss_fn"], PLANS[name])
    assert trained_by_programs[name] == [data.hex() for data in bits(names["model"])]


def test_an_isolated_python_that_is_made_blind_has_no_lrwidget(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", BLIND + "import lrwidget"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ModuleNotFoundError: import of lrwidget halted" in done.stderr
