"""The other finders, each asked for the same sweep, and each as its own documentation does it.

A sweep is: remember the weights, do the steps, give the weights back. None of them may stop early, plot or suggest.
Importing this module needs all of them; `make bench` installs them.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from fastai.callback.schedule import lr_find  # noqa: F401 - gives Learner its lr_find
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from ignite.engine import create_supervised_trainer
from ignite.handlers import FastaiLRFinder
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.tuner import Tuner
from torch_lr_finder import LRFinder

from benchmarks.loops import END_LR, START_LR, Training, loss_fn

NEVER = 1e9
"""A ratio of losses that ends no sweep."""


def torch_lr_finder(training: Training, steps: int) -> None:
    """torch-lr-finder, whose user calls `reset` to have the weights back."""
    finder = LRFinder(training.model, training.optimizer, loss_fn)
    with quiet():
        finder.range_test(
            training.loader, start_lr=START_LR, end_lr=END_LR, num_iter=steps, smooth_f=0, diverge_th=NEVER
        )
    finder.reset()


def ignite(training: Training, steps: int) -> None:
    """pytorch-ignite's FastaiLRFinder."""
    trainer = create_supervised_trainer(training.model, training.optimizer, loss_fn)
    finder = FastaiLRFinder()
    to_save = {"model": training.model, "optimizer": training.optimizer}
    with (
        quiet(),
        finder.attach(
            trainer, to_save=to_save, num_iter=steps, start_lr=START_LR, end_lr=END_LR, diverge_th=NEVER
        ) as finding,
    ):
        finding.run(training.loader)


def fastai(training: Training, steps: int) -> None:
    """The `Learner.lr_find` of fastai, around the optimizer as it is."""
    with folder() as path:
        learner = Learner(
            DataLoaders(training.loader, training.loader),
            training.model,
            loss_func=loss_fn,
            opt_func=lambda *_, **__: OptimWrapper(opt=training.optimizer),
            path=path,
        )
        with quiet(), learner.no_bar():
            learner.lr_find(START_LR, END_LR, steps, stop_div=False, show_plot=False, suggest_funcs=None)


def lightning(training: Training, steps: int) -> None:
    """Lightning's Tuner, with everything off that a Trainer does beside training."""
    with folder() as path, quiet():
        trainer = Trainer(
            accelerator="auto",
            devices=1,
            max_steps=steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=path,
        )
        Tuner(trainer).lr_find(
            Module(training),
            training.loader,
            min_lr=START_LR,
            max_lr=END_LR,
            num_training=steps,
            early_stop_threshold=None,
            update_attr=False,
        )


class Module(LightningModule):
    """A training as Lightning wants it."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.model = training.model
        self.lr = START_LR
        self._optimizer = [training.optimizer]  # in a list: a module's own attributes are looked through

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> torch.Tensor:
        """The loss of one batch."""
        inputs, target = batch
        return loss_fn(self.model(inputs), target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The one there is."""
        return self._optimizer[0]


FINDERS: dict[str, Callable[[Training, int], None]] = {
    "torch-lr-finder": torch_lr_finder,
    "ignite": ignite,
    "Lightning": lightning,
    "fastai": fastai,
}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """For the files that some of them write."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what they print: progress bars, advice, deprecations."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        for name in ("lightning", "lightning.pytorch", "lightning.fabric", "ignite"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield


@contextlib.contextmanager
def torch_lr_finder_memory(training: Training) -> Iterator[None]:
    """What torch-lr-finder does when it is made and when it is reset."""
    finder = LRFinder(training.model, training.optimizer, loss_fn)
    yield
    finder.reset()


@contextlib.contextmanager
def ignite_memory(training: Training) -> Iterator[None]:
    """What ignite's finder does when it is attached and detached: a file."""
    trainer = create_supervised_trainer(training.model, training.optimizer, loss_fn)
    to_save = {"model": training.model, "optimizer": training.optimizer}
    with FastaiLRFinder().attach(trainer, to_save=to_save):
        yield


@contextlib.contextmanager
def fastai_memory(training: Training) -> Iterator[None]:
    """What fastai's `LRFinder` callback calls before and after: a file."""
    with folder() as path:
        learner = Learner(
            DataLoaders(training.loader, training.loader),
            training.model,
            loss_func=loss_fn,
            opt_func=lambda *_, **__: OptimWrapper(opt=training.optimizer),
            path=path,
        )
        learner.create_opt()
        with quiet():
            learner.save("_tmp")
            yield
            learner.load("_tmp", with_opt=True)


@contextlib.contextmanager
def lightning_memory(training: Training) -> Iterator[None]:
    """What Lightning's `_lr_find` calls before and after: a file."""
    with folder() as path, quiet():
        trainer = Trainer(
            max_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=path,
        )
        trainer.fit(Module(training), training.loader)  # of no steps: makes it known to the trainer
        trainer.save_checkpoint(path / "lr_find.ckpt")
        yield
        trainer._checkpoint_connector.restore(path / "lr_find.ckpt")


BORROWERS: dict[str, Callable[[Training], contextlib.AbstractContextManager[None]]] = {
    "torch-lr-finder": torch_lr_finder_memory,
    "ignite": ignite_memory,
    "Lightning": lightning_memory,
    "fastai": fastai_memory,
}
