"""Suggestions on a curve of 10 000 points."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import Spread, timed
from benchmarks.report import Row
from lrwidget import LossCurve
from lrwidget.engine.sweeps.suggest import minimum_tenth, steepest, suggest, valley


def curve(points: int = 10_000) -> LossCurve:
    """A fall and a rise, with noise."""
    x = np.linspace(-7, 1, points)
    losses = 2.3 - 1.5 / (1 + np.exp(-3 * (x + 3))) + 3 / (1 + np.exp(-6 * (x - 0.5)))
    return LossCurve.from_arrays(10**x, losses + np.random.default_rng(0).normal(0, 0.05, points))


def rows(valley_of_fastai: Callable[..., Any] | None = None, *, quick: bool) -> list[Row]:
    """For the report."""
    points, times_each = (1_000, 2) if quick else (10_000, 20)
    found, one = [], curve(points)
    for name, rule in {"valley": valley, "steepest": steepest, "minimum/10": minimum_tenth, "all": suggest}.items():
        times = [timed(functools.partial(rule, one)).wall * 1e3 for _ in range(times_each)]
        limit = 20.0 if name != "all" else None
        found.append(
            Row(
                f"{name} on {points} points",
                min(times),
                limit,
                "{:.1f} ms",
                detail=f"{Spread.of(times).told('.1f')} ms",
            )
        )
    if valley_of_fastai is not None:
        import torch

        lrs, losses = torch.tensor(one.lrs), torch.tensor(one.losses)
        few = points // 10  # its cost grows with the square, and it would take minutes
        seconds = timed(lambda: valley_of_fastai(lrs[:few], losses[:few], few)).wall
        found.append(Row(f"fastai's valley on {few} points", seconds * 1e3, None, "{:.0f} ms", detail="grows as n²"))
    return found
