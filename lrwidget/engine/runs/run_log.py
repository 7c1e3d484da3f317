"""What a run has done so far: the loss of every step, what each epoch came to, and how long it took."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lrwidget.engine.plans.group_schedule import GroupSchedule
from lrwidget.engine.runs.ending import Ending
from lrwidget.engine.runs.history import EpochPoint, History, smoother
from lrwidget.engine.sweeps.rows import Rows


class RunLog:
    """Takes losses and epochs as they come; a `History` of them at any time.

    Args:
        total: steps that were planned.

    Attributes:
        epochs: those that have ended.
        seconds: how long it took.
    """

    def __init__(self, total: int) -> None:
        self.epochs: list[EpochPoint] = []
        self.seconds = 0.0
        self._losses = Rows(2)
        self._tracker = smoother(total)

    @property
    def steps(self) -> int:
        """How many were done."""
        return len(self._losses)

    @property
    def within_epoch(self) -> bool:
        """Whether there are steps behind the last epoch that has ended."""
        return self.steps > (self.epochs[-1].step if self.epochs else 0)

    def took(self, loss: float) -> None:
        """One step more."""
        self._losses.append(loss, self._tracker.update(loss))

    def end_epoch(self, valid_loss: float | None, metrics: Mapping[str, float]) -> EpochPoint:
        """What the epoch that ends with the last step came to."""
        losses = self._losses.columns[0][self.epochs[-1].step if self.epochs else 0 :]
        epoch = EpochPoint(
            epoch=len(self.epochs) + 1,
            step=self.steps,
            train_loss=float(losses.mean() if len(losses) else math.nan),
            valid_loss=valid_loss,
            metrics=metrics,
        )
        self.epochs.append(epoch)
        return epoch

    def history(self, schedule: GroupSchedule, ending: Ending) -> History:
        """All of it, with the LRs and momenta of its steps."""
        losses, smoothed = self._losses.columns
        lrs, momenta = schedule.rows(len(losses))
        return History.seen(
            smoothed,
            losses=losses,
            lrs=lrs,
            momentum=momenta,
            epochs=tuple(self.epochs),
            names=schedule.plan.names,
            total_steps=schedule.plan.total_steps,
            stop_reason=ending.reason,
            seconds=self.seconds,
            note=ending.note,
            plan=schedule.plan,
            layers=schedule.layers,
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "losses": self._losses.columns[0].copy(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "seconds": self.seconds,
        }

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Have what `state` has."""
        self.seconds = state["seconds"]
        self.epochs = [EpochPoint(**epoch) for epoch in state["epochs"]]
        for loss in state["losses"].tolist():
            self.took(loss)
