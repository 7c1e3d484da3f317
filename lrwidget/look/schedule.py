"""Plans over their steps: which to draw, on what axis, and where a phase has room for its name.

Shape suffixes: S steps drawn, G param groups.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan

Floats = npt.NDArray[np.float64]


def plan_steps(plan: "Plan", at_most: int) -> npt.NDArray[np.int64]:
    """(S,) steps of a plan to draw: all, or of many even ones and those beside every boundary, where the peaks are.

    Two for a plan of one step, which holds its LR: a line needs two points.
    """
    last = max(1, plan.total_steps - 1)
    corners = [int(step) + near for step, _ in plan.boundaries() for near in (-1, 0, 1)]
    even = np.linspace(0, last, max(2, min(at_most - len(corners), last + 1)))
    return np.unique(np.clip(np.concatenate([even, corners]), 0, last).astype(np.int64))


def wants_log(plan: "Plan") -> bool:
    """Whether the LRs of a plan need a log axis: when groups are more than a factor of 5 apart.

    On a linear one a one-cycle looks as everyone knows it, but slow groups look like zero.
    """
    return max(plan.max_lrs) > 5 * min(plan.max_lrs)


def last_step(plan: "Plan", done: int) -> int:
    """The last step that a run has taken after so many: its LRs are those that it tells; of none, the first."""
    return min(max(0, done - 1), plan.total_steps - 1)


def trained_lrs(plan: "Plan", step_S: npt.NDArray[np.int64], frozen: Sequence[bool] = ()) -> Floats:
    """(S, G) LR of every group; NaN while a group is frozen, where its LR does nothing.

    Args:
        plan: whose LRs.
        step_S: at which steps.
        frozen: groups that do not train whatever the plan says, one flag per group; empty for none.
    """
    lr_SG = plan.lr_at(step_S)
    for first, cycle in plan.starts():
        here_S = (first <= step_S) & (step_S < first + cycle.steps)
        if any(cycle.frozen):
            lr_SG[np.ix_(here_S, np.array(cycle.frozen))] = np.nan
    if any(frozen):
        lr_SG[:, np.array(frozen)] = np.nan
    return lr_SG


def lr_range(lr_SG: Floats, log: bool) -> tuple[float, float]:
    """The LRs to show: from 0, or on a log axis from the lowest of them.

    Where a schedule ends is part of it: a floor above the ends would make groups end alike that do not. Six decades
    below the slowest group's peak is a floor for the schedules that end at 0, which no log axis has. LRs may be NaN;
    when all are, any range will do.
    """
    peaks = [float(lr_S[trains].max()) for lr_S in lr_SG.T if (trains := np.isfinite(lr_S)).any()]
    if not peaks:
        return (1e-7 if log else 0.0), 1.0
    return (max(float(np.nanmin(lr_SG)), min(peaks) / 1e6) if log else 0.0), max(peaks)


def phase_names(plan: "Plan", letter: float = 0.008) -> list[tuple[float, str]]:
    """(first step, name) of the phases with room for their name or its first word.

    Args:
        plan: whose phases.
        letter: width of a letter as a share of the chart's; the default is that of small print on 800 px.
    """
    starts = [*plan.boundaries(), (float(plan.total_steps), "")]
    found = []
    for (step, name), (end, _) in itertools.pairwise(starts):
        room = (end - step) / plan.total_steps
        fitting = [text for text in (name, name.partition(":")[0]) if letter * len(text) < room]
        found += [(step, text) for text in fitting[:1]]
    return found
