"""What a run did: the LR, momentum and loss of every step, and what each epoch and each cycle came to."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from lrwidget.engine.errors import RecordError
from lrwidget.engine.plain import FloatArray, frozen_floats
from lrwidget.engine.plans.cycle import Cycle
from lrwidget.engine.plans.plan import Plan
from lrwidget.engine.record import pack_floats, save, unpack_floats, written_whole
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.sweeps.tracker import LossTracker, beta_for, smoothed_by
from lrwidget.engine.words import format_lr

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPoint:
    """One pass over the training loader.

    Attributes:
        epoch: 1 for the first.
        step: optimizer steps done at its end, counted over the whole run.
        train_loss: mean loss of its steps, each measured before the step.
        valid_loss: mean over the validation samples after its last step, or None without `valid_dl`.
        metrics: name to mean over the validation samples.
    """

    epoch: int
    step: int
    train_loss: float
    valid_loss: float | None
    metrics: Mapping[str, float]


def smoother(total_steps: int) -> LossTracker:
    """What smooths the losses of a run of so many steps.

    It remembers 2 % of them, so that it lags by no more than can be seen on an axis of all steps; of fewer than 500
    steps 10, which takes three quarters of the noise away, as long as that is at most 5 %.
    """
    return LossTracker(beta_for(total_steps, min(0.05, max(0.02, 10 / max(1, total_steps)))), math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one cycle of the plan came to, as the head's own part of a `fine_tune`.

    Attributes:
        first: its first step, counted over the whole run.
        steps: steps of it that were done.
        planned: steps of it that were planned.
        frozen: names of the groups that stood still.
        norms: names of those of them whose norm layers trained nevertheless.
        lrs: for every group (first, highest, last) LR of the steps done, (G, 3); NaN for one added later.
        first_loss: mean training loss of the first tenth of its steps.
        last_loss: mean training loss of the last tenth of its steps.
    """

    first: int
    steps: int
    planned: int
    frozen: tuple[str, ...]
    norms: tuple[str, ...]
    lrs: tuple[tuple[float, float, float], ...]
    first_loss: float
    last_loss: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class History:
    """A run, step by step; immutable, and the same while it grows as when it is over.

    Attributes:
        losses: (S,) training loss before each optimizer step.
        lrs: (S, G) LR of every group at each step; NaN before a group was added to the optimizer.
        momentum: (S, G) momentum of every group at each step; NaN where a group has none or the plan leaves it alone.
        epochs: what each epoch came to.
        names: (G,) name of each group.
        total_steps: steps that were planned.
        stop_reason: why it ended; None while it runs.
        seconds: how long it took so far.
        note: the ending in plain words.
        plan: what the run was to do, or None when it is not known.
        layers: (G,) for every group the paths of the modules it holds.
    """

    losses: FloatArray
    lrs: npt.NDArray[np.float64]
    momentum: npt.NDArray[np.float64]
    epochs: tuple[EpochPoint, ...]
    names: tuple[str, ...]
    total_steps: int
    stop_reason: StopReason | None = None
    seconds: float = 0.0
    note: str = ""
    plan: Plan | None = None
    layers: tuple[tuple[str, ...], ...] = ()
    _smoothed: FloatArray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.losses), len(self.names))
        for name in ("lrs", "momentum"):
            array = np.array(getattr(self, name), dtype=np.float64).reshape(shape)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "losses", frozen_floats("losses", self.losses))

    @classmethod
    def seen(cls, smoothed: FloatArray, **fields: Any) -> Self:
        """A history whose smoothed losses (S,) somebody has, who took each as it came; see `smoother`."""
        history = cls(**fields)
        object.__setattr__(history, "_smoothed", frozen_floats("smoothed", smoothed))
        return history

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def smoothed(self) -> FloatArray:
        """(S,) causal, bias-corrected average of the losses, with a memory of 2 to 5 % of the planned steps."""
        if self._smoothed is None:
            object.__setattr__(self, "_smoothed", smoothed_by(smoother(self.total_steps), self.losses))
        assert self._smoothed is not None
        return self._smoothed

    @property
    def best_epoch(self) -> EpochPoint | None:
        """The epoch with the lowest validation loss, or None when none was validated."""
        validated = [e for e in self.epochs if e.valid_loss is not None and math.isfinite(e.valid_loss)]
        return min(validated, key=lambda e: float(e.valid_loss or 0.0), default=None)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What each cycle of the plan came to, as far as the run got; empty when its plan is not known."""
        return tuple(
            self._stage(first, cycle)
            for first, cycle in (self.plan.starts() if self.plan is not None else ())
            if first < len(self)
        )

    def table(self) -> str:
        """The run in words and numbers: its groups, what each cycle did with them, and every epoch."""
        lines = [self.note] if self.note else []
        for name, layers in zip(self.names, self.layers, strict=False):
            lines.append(f"group {name}: {', '.join(layers)}")
        for stage in self.stages:
            done = f"steps {stage.first} to {stage.first + stage.steps - 1}"
            frozen = f", frozen: {', '.join(stage.frozen)}" if stage.frozen else ""
            norms = f" (norm layers{_of(stage)} train)" if stage.norms else ""
            lines.append(f"{done}{frozen}{norms}, loss {stage.first_loss:.4g} → {stage.last_loss:.4g}")
            for name, (first, highest, last) in zip(self.names, stage.lrs, strict=True):
                if not math.isnan(last):
                    lines.append(f"    {name}: lr {format_lr(first)} → {format_lr(highest)} → {format_lr(last)}")
        for epoch in self.epochs:
            names = _apart(["train", "valid"], list(epoch.metrics))
            measured = zip(names, (epoch.train_loss, epoch.valid_loss, *epoch.metrics.values()), strict=True)
            told = (f"{name} {value:.4g}" for name, value in measured if value is not None)
            lines.append(f"epoch {epoch.epoch}, step {epoch.step}: " + ", ".join(told))
        return "\n".join(lines)

    def to_csv(self, path: "str | os.PathLike[str]") -> Path:
        """Write one row per step, for a spreadsheet or pandas; numbers to the last bit.

        Columns: `step` from 0, `epoch` and `cycle` from 1, `loss`, `lr NAME` and `momentum NAME` of every group (empty
        where a run leaves momentum alone, and before a group was added); then, in the last row of every epoch,
        `train_loss`, `valid_loss` and the metrics, one that would have the name of another column as `metric NAME`.
        """
        path = Path(path)
        metrics = list(dict.fromkeys(name for epoch in self.epochs for name in epoch.metrics))
        header = ["step", "epoch", "cycle", "loss"]
        header += [f"{what} {name}" for what in ("lr", "momentum") for name in self.names]
        ends = {epoch.step - 1: epoch for epoch in self.epochs}
        starts = [first for first, _ in self.plan.starts()] if self.plan is not None else [0]
        with written_whole(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_apart([*header, "train_loss", "valid_loss"], metrics))
            for step in range(len(self)):
                epoch = 1 + sum(e.step <= step for e in self.epochs)
                cycle = sum(first <= step for first in starts)
                moved = ["" if math.isnan(v) else v for v in (*self.lrs[step].tolist(), *self.momentum[step].tolist())]
                row = [step, epoch, cycle, float(self.losses[step]), *moved]
                if step in ends:
                    end = ends[step]
                    row += [end.train_loss, "" if end.valid_loss is None else end.valid_loss]
                    row += [end.metrics.get(name, "") for name in metrics]
                writer.writerow(row + [""] * (len(header) + 2 + len(metrics) - len(row)))
        return path

    def _stage(self, first: int, cycle: Cycle) -> Stage:
        here = slice(first, min(first + cycle.steps, len(self)))
        losses, lrs_SG = self.losses[here], self.lrs[here]
        tenth = max(1, len(losses) // 10)
        return Stage(
            first=first,
            steps=len(losses),
            planned=cycle.steps,
            frozen=tuple(compress(self.names, cycle.frozen)),
            norms=tuple(compress(self.names, cycle.spared())),
            lrs=tuple(_ends(lr_S[np.isfinite(lr_S)].tolist()) for lr_S in lrs_SG.T),
            first_loss=float(np.mean(losses[:tenth])),
            last_loss=float(np.mean(losses[-tenth:])),
        )

    def plot(self) -> "Figure":
        """A matplotlib figure of the run: losses, and the LRs and momentum of every step. Imports matplotlib."""
        from lrwidget.static import history_figure

        return history_figure(self)

    def save(self, path: "str | os.PathLike[str]") -> Path:
        """Write the run as JSON; `lrwidget.load` reads it back equal to the last bit."""
        return save(self, path)

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON can hold them: NaN and infinities as strings."""
        return {
            "losses": pack_floats(self.losses),
            "lrs": [pack_floats(row) for row in self.lrs],
            "momentum": [pack_floats(row) for row in self.momentum],
            "epochs": [
                {
                    **asdict(e),
                    "train_loss": pack_floats([e.train_loss])[0],
                    "valid_loss": None if e.valid_loss is None else pack_floats([e.valid_loss])[0],
                    "metrics": dict(zip(e.metrics, pack_floats(list(e.metrics.values())), strict=True)),
                }
                for e in self.epochs
            ],
            "names": list(self.names),
            "total_steps": self.total_steps,
            "stop_reason": None if self.stop_reason is None else self.stop_reason.value,
            "seconds": self.seconds,
            "note": self.note,
            "plan": None if self.plan is None else self.plan.to_dict(),
            "layers": [list(paths) for paths in self.layers],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The run that `to_dict` described, or `RecordError` when a field is missing, unknown or wrong."""
        known = {f.name for f in fields(cls) if f.init}
        if plain.keys() != known:
            raise RecordError(
                f"Got a history with {', '.join(sorted(plain))}; expected exactly {', '.join(sorted(known))}."
            )
        try:
            reason = plain["stop_reason"]
            return cls(
                losses=unpack_floats(plain["losses"]),
                lrs=np.array([unpack_floats(row) for row in plain["lrs"]]),
                momentum=np.array([unpack_floats(row) for row in plain["momentum"]]),
                epochs=tuple(_epoch(e) for e in plain["epochs"]),
                names=tuple(plain["names"]),
                total_steps=int(plain["total_steps"]),
                stop_reason=None if reason is None else StopReason(reason),
                seconds=float(plain["seconds"]),
                note=str(plain["note"]),
                plan=None if plain["plan"] is None else Plan.from_dict(plain["plan"]),
                layers=tuple(tuple(paths) for paths in plain["layers"]),
            )
        except (TypeError, ValueError, KeyError) as error:
            raise RecordError(f"Got a history that cannot be: {error}") from error


def _ends(lrs: Sequence[float]) -> tuple[float, float, float]:
    return (lrs[0], max(lrs), lrs[-1]) if lrs else (math.nan, math.nan, math.nan)


def _apart(names: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """Names with those of metrics behind them, which are told from the others by the word "metric" before them."""
    apart = list(names)
    for metric in metrics:
        name = metric
        while name in apart or (name != metric and name in metrics):
            name = f"metric {name}"
        apart.append(name)
    return apart


def _of(stage: Stage) -> str:
    """Whose norm layers train, where that is not so in all frozen groups."""
    return "" if stage.norms == stage.frozen else f" of {', '.join(stage.norms)}"


def _epoch(plain: Mapping[str, Any]) -> EpochPoint:
    valid = plain["valid_loss"]
    return EpochPoint(
        epoch=int(plain["epoch"]),
        step=int(plain["step"]),
        train_loss=float(unpack_floats([plain["train_loss"]])[0]),
        valid_loss=None if valid is None else float(unpack_floats([valid])[0]),
        metrics={name: float(unpack_floats([value])[0]) for name, value in plain["metrics"].items()},
    )
