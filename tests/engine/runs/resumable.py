"""A training that can be killed and gone on with, in this process or in one of its own; and what it came to."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimizer of a process imports it, for a second: once for all that are forked
from torch.nn import functional as F
from torch.utils.data import DataLoader

import lrwidget
from lrwidget.engine.errors import RecordError
from lrwidget.engine.runs.history import History
from tests.engine.oracle import bits, digest, of_generators
from tests.engine.zoo import Augmented, adam, loader, net

STEPS = 18
"""Of the training in `work`: a frozen epoch of six steps and two more."""


class Killed(BaseException):
    """Stands for the end of the process where a real one would be too slow."""


def seed(number: int) -> None:
    torch.manual_seed(number), np.random.seed(number), random.seed(number)


def came_to(model: Any, optimizer: Any, history: History) -> dict[str, Any]:
    """All that two equal trainings must have in common, as plain values."""
    states = optimizer.state_dict()["state"]
    return {
        "weights": {name: bits(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]},
        "optimizer": repr({index: {key: plain(value) for key, value in s.items()} for index, s in states.items()}),
        "groups": repr([{k: plain(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups]),
        "random": {k: v for k, v in of_generators().items() if k.endswith("rng")},
        "losses": digest(history.losses.tobytes()),
        "lrs": digest(history.lrs.tobytes() + history.momentum.tobytes()),
        "epochs": repr(history.epochs),
        "note": history.note,
    }


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return bits(value), str(value.dtype), tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def without_fsync() -> None:
    """Leave files to the system to write out: it outlives the process that is killed, and a disk that waits is slow."""
    os.fsync = lambda file: None


def work(
    folder: Path,
    *,
    workers: int = 0,
    every: int | None = None,
    validated: bool = True,
    on_step: Callable[[Any], object] = lambda point: None,
) -> dict[str, Any]:
    """Begin the training, or go on with it where a checkpoint says; what it came to."""
    torch.set_num_threads(1)
    begun = any(folder.glob("checkpoint-*.json"))
    seed(99 if begun else 5)  # what a resumed run was made with must not matter
    model = net()
    optimizer = adam(model)
    batches = DataLoader(Augmented(), 8, shuffle=True, num_workers=workers)
    valid = loader(16) if validated else None
    seed(98 if begun else 6)
    if begun:
        history = lrwidget.resume(folder, model, optimizer, batches, F.cross_entropy, valid_dl=valid, on_step=on_step)
    else:
        history = lrwidget.fine_tune(
            model,
            optimizer,
            batches,
            F.cross_entropy,
            epochs=2,
            base_lr=0.05,
            valid_dl=valid,
            checkpoint_dir=folder,
            checkpoint_every=every,
            on_step=on_step,
        )
    return came_to(model, optimizer, history)


# Processes of its own -------------------------------------------------------------------------------------------------

spawner = multiprocessing.get_context("forkserver")
spawner.set_forkserver_preload(["tests.engine.runs.resumable"])


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    process = spawner.Process(target=target, args=args)
    process.start()
    return process


def work_and_tell(folder: str, told: str, workers: int, every: int | None, done: Any = None) -> None:
    """`work`, with what it came to in a file and the steps that it took in `done`; the body of a process."""

    def count(point: Any) -> None:
        if done is not None:
            done.value += 1

    without_fsync()
    multiprocessing.set_start_method("fork", force=True)  # of the loader's workers, as it is in a user's process
    result = work(Path(folder), workers=workers, every=every, on_step=count)
    beside = Path(told + ".part")
    beside.write_text(json.dumps(result))
    beside.replace(told)


def work_and_die(folder: str, told: str, line: int) -> None:
    """`work`, killed by SIGKILL right before the `line`-th line that writes a checkpoint."""
    count = 0
    writing = {"checkpoint.py": None, "record.py": None, "packing.py": None}

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        nonlocal count
        if os.path.basename(frame.f_code.co_filename) not in writing:  # noqa: PTH119
            return None
        if event == "line":
            count += 1
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    without_fsync()
    sys.settrace(trace)
    with contextlib.suppress(RecordError):
        work_and_tell(folder, told, 0, 4)
