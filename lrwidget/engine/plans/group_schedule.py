"""A plan applied to an optimizer's param groups: LR and momentum of every step, and the optimizer's own afterwards.

Groups may be added on the way. They join the plan, up to the LR that they were given.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lrwidget.engine.errors import InputError
from lrwidget.engine.loops import groups
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.loops.protocols import ParamGroup
from lrwidget.engine.plans.plan import Plan

OTHER_MOMENTA = """Got an optimizer whose groups have a momentum of {got}; the run was begun with {expected}. Make the
optimizer as it was for that run."""

Table = npt.NDArray[np.float64]


class GroupSchedule:
    """What each param group trains with at each step of a run, and what it had before.

    Args:
        loop: whose groups are scheduled.
        plan: for as many groups.

    Attributes:
        plan: with the groups that were added since.
        layers: (G,) for every group the paths of the modules it holds.

    Raises:
        InputError: the plan has another number of groups.
    """

    def __init__(self, loop: Loop, plan: Plan) -> None:
        there = groups.describe(None, loop.optimizers) if loop.optimizers else loop.groups
        if plan.n_groups != len(there):
            raise InputError(
                f"Got a plan for {plan.n_groups} groups ({', '.join(plan.names)}) and an optimizer with "
                f"{len(there)} ({', '.join(g.name for g in there)}); expected as many. "
                "Make the plan with groups=optimizer."
            )
        self.plan = plan
        self.layers = tuple(group.layers for group in loop.groups)
        self._loop = loop
        self._sizes = [len(optimizer.param_groups) for optimizer in loop.optimizers]
        self._since = (0,) * plan.n_groups
        self._held: tuple[ParamGroup, ...] = ()
        self._own_lrs: tuple[float, ...] = ()
        self._own_momenta: tuple[float, ...] = ()
        self._lrs_SG = self._momenta_SG = np.empty((0, plan.n_groups))
        self._rows: list[tuple[tuple[float, ...], tuple[float, ...]]] = []

    # The steps -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note what every group has now, to be put back, and work out all steps."""
        self._own_lrs, self._own_momenta = self._loop.lrs(), self._loop.momenta()
        self._held = self._groups()
        self._work_out()

    def write(self, step: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Give every group the LR and the momentum of a step; both, (G,)."""
        lrs, momenta = self._rows[step]
        self._loop.set_lrs(lrs)
        self._loop.set_momenta(momenta)
        return lrs, momenta

    def fastest(self, step: int) -> float:
        """The highest LR of a step."""
        return max(lr for lr in self._rows[step][0] if not math.isnan(lr))

    def rows(self, steps: int) -> tuple[Table, Table]:
        """LRs and momenta of the first steps, (S, G) each; NaN before a group was added."""
        return self._lrs_SG[:steps], self._momenta_SG[:steps]

    def take_in_added(self, step: int) -> None:
        """Let the groups that were added to the optimizers since the last look join the plan, from this step on.

        Raises:
            InputError: a group was taken away.
        """
        optimizers = self._loop.optimizers
        fresh = groups.added(optimizers, self._sizes)
        if not fresh:
            return
        model = self._loop.model if isinstance(self._loop.model, nn.Module) else None
        described, momenta, held = groups.describe(model, optimizers), self._loop.momenta(), self._groups()
        plan = self.plan
        for at in fresh:
            plan = plan.with_group(described[at].name, described[at].lr, at)
        self.plan = plan
        for at in fresh:
            self._since = _inserted(self._since, at, step)
            self.layers = _inserted(self.layers, at, described[at].layers)
            self._held = _inserted(self._held, at, held[at])
            self._own_lrs = _inserted(self._own_lrs, at, described[at].lr)
            self._own_momenta = _inserted(self._own_momenta, at, momenta[at])
        self._sizes = [len(optimizer.param_groups) for optimizer in optimizers]
        self._work_out()

    def check_none_removed(self) -> None:
        """Raise `InputError` when a group was taken away."""
        groups.added(self._loop.optimizers, self._sizes)

    def _work_out(self) -> None:
        """LRs and momenta of every step: the plan's, but for momenta that an optimizer has not, or has at 0."""
        step_S = np.arange(self.plan.total_steps)
        lrs_SG, momenta_SG = self.plan.lr_at(step_S), self.plan.momentum_at(step_S)
        own_G = np.array([*self._own_momenta, *[math.nan] * self.plan.n_groups])[: self.plan.n_groups]
        momenta_SG = np.where((own_G == 0) & np.isfinite(momenta_SG), 0.0, momenta_SG)
        momenta_SG = np.where(np.isnan(own_G), math.nan, momenta_SG)
        not_yet_SG = step_S[:, None] < np.array(self._since)
        lrs_SG[not_yet_SG] = momenta_SG[not_yet_SG] = math.nan
        self._lrs_SG, self._momenta_SG = lrs_SG, momenta_SG
        self._rows = list(zip(map(tuple, lrs_SG.tolist()), map(tuple, momenta_SG.tolist()), strict=True))

    # The optimizer's own -------------------------------------------------------------------------------------------

    def put_back(self) -> None:
        """Give every group that is there now the LR and the momentum that it had before, whichever have come or gone.

        A group that was added after the last step has its own still.
        """
        loop = self._loop
        if not loop.optimizers:
            return  # a set_lrs can write LRs, but tells nobody which there were
        found = [self._place_of(group) for group in self._groups()]
        now = loop.lrs() if None in found else self._own_lrs
        loop.set_lrs([now[i] if at is None else self._own_lrs[at] for i, at in enumerate(found)])
        loop.set_momenta([math.nan if at is None else self._own_momenta[at] for at in found])

    def _groups(self) -> tuple[ParamGroup, ...]:
        return tuple(groups.param_groups(self._loop.optimizers))

    def _place_of(self, group: ParamGroup) -> int | None:
        """Which of the groups it is: the very dict or, when it was loaded or rearranged, one with a parameter of it."""
        for at, held in enumerate(self._held):
            if held is group:
                return at
        tensors = _tensors(group)
        return next((at for at, held in enumerate(self._held) if tensors & _tensors(held)), None)

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, besides what the optimizer keeps itself."""
        return {"plan": self.plan.to_dict(), "own": (self._own_lrs, self._own_momenta), "since": self._since}

    def check(self, state: Mapping[str, Any]) -> None:
        """Raise when the optimizer was made with another momentum, which the one of the checkpoint would overrule."""
        got, expected = self._own_momenta, state["own"][1]
        if not np.array_equal(got, expected, equal_nan=True):
            raise InputError(OTHER_MOMENTA.format(got=_told(got), expected=_told(expected)))

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Have what `state` has; the optimizers have loaded theirs."""
        (self._own_lrs, self._own_momenta), self._since = state["own"], state["since"]
        self._held = self._groups()  # loading has made new dicts
        self._work_out()


def _inserted(values: tuple[Any, ...], at: int, value: Any) -> tuple[Any, ...]:
    return (*values[:at], value, *values[at:])


def _tensors(group: ParamGroup) -> set[int]:
    return {id(p) for p in group.get("params", ()) if isinstance(p, torch.Tensor)}


def _told(momenta: Sequence[float]) -> str:
    return ", ".join("none" if math.isnan(m) else f"{m:g}" for m in momenta)
