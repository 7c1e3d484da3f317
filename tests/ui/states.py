"""What the tests of the screen show: states as a session would assign them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lrwidget.engine.loops.groups import Group
from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.sweeps.curve import LossCurve
from lrwidget.engine.sweeps.suggest import Advice, Suggestion
from lrwidget.engine.sweeps.sweep import SweepConfig
from lrwidget.state import LRState, RunOptions

NAMES = ("stem", "body", "head")
LRS = (3e-5, 3e-4, 3e-3)


def a_state(names: tuple[str, ...] = NAMES, lrs: tuple[float, ...] = LRS, **traits: Any) -> LRState:
    """Three groups and a pick, before any sweep."""
    groups = tuple(Group(name=name, n_params=9408, layers=(f"{name}.0",), lr=1e-3) for name in names)
    return LRState(groups=groups, lrs=lrs, **{"config": SweepConfig(), "options": RunOptions(), **traits})


def a_curve(points: int = 100, last: float = 10.0, noise: float = 0.0, **extras: Any) -> LossCurve:
    """Flat at 2, down to 1 between 1e-4 and 1e-1, then up without end; from 1e-7 to `last`."""
    lrs = np.geomspace(1e-7, last, points)
    x = np.log10(lrs)
    losses = 2 - 1 / (1 + np.exp(-3 * (x + 2.5))) + np.exp(4 * (x + 0.3))
    return LossCurve(lrs, losses + noise * np.random.default_rng(0).standard_normal(points), **extras)


def an_advice(**lrs: float | None) -> Advice:
    """Suggestions by rule name; the first is recommended."""

    def suggestion(rule: str, lr: float | None) -> Suggestion:
        band = (None, None) if lr is None else (lr / 2, lr * 2)
        return Suggestion(rule, lr, *band, f"why {rule} says so")

    found = {rule.replace("_", "/"): suggestion(rule.replace("_", "/"), lr) for rule, lr in lrs.items()}
    first = next(iter(found.values()))
    return Advice({**found, "recommended": first})


def a_history(steps: int = 100, epochs: int = 0, **metrics: float) -> History:
    """A run of 200 planned steps whose loss halves; `epochs` of them have ended, the second being the best."""
    losses: npt.NDArray[np.float64] = np.geomspace(2, 1, steps)
    return History(
        losses=losses,
        lrs=np.full((steps, 1), 1e-3),
        momentum=np.full((steps, 1), np.nan),
        epochs=tuple(
            EpochPoint(epoch=e, step=20 * e, train_loss=1.5, valid_loss=1 + abs(e - 2) / 10, metrics=metrics)
            for e in range(1, epochs + 1)
        ),
        names=("all layers",),
        total_steps=200,
    )
