"""A plan said to torch: as a scheduler for the user's own loop.

It gives the numbers of `Plan.lr_at`, to the last bit. `build` returns torch's own `OneCycleLR` wherever that can
say the plan, with its traps closed: stepping past the end holds the last LR (torch's own rises, goes negative, then
raises), its state is small and can be loaded before or after the optimizer's, and a momentum of 0 stays 0.
"""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from lrwidget.engine.errors import InputError, InputTypeError
from lrwidget.engine.loops.groups import added, describe, set_lr, set_momentum
from lrwidget.engine.loops.protocols import ParamGroup

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan


def build(plan: "Plan", optimizer: Optimizer) -> "PlannedLR":
    """The scheduler that runs `plan` on `optimizer`: a `PlanOneCycleLR` (a real `OneCycleLR`) or a `PlannedLR`.

    Call its `step()` after every `optimizer.step()`. Building it writes the first LR, and the first momentum if the
    plan cycles it, into the optimizer. A group that `optimizer.add_param_group` adds later is taken in at the next
    `step()`: its LR moves as the plan says for the others, up to the one it was given; see `Plan.with_group`.

    Raises:
        InputError: the optimizer has another number of param groups than the plan.
        InputTypeError: something that is no torch optimizer.
    """
    if not isinstance(optimizer, Optimizer):
        raise InputTypeError(f"Got a {type(optimizer).__name__}; expected the torch optimizer that the plan is for.")
    check_groups(plan, optimizer)
    arguments, momentum = plan.one_cycle_lr(), plan.cycles[0].momentum
    moving = [value for value in map(_momentum_of, optimizer.param_groups) if isinstance(value, Tensor) or value]
    if momentum is None or not moving:
        momentum_arguments: dict[str, Any] | None = {"cycle_momentum": False}
    elif len(moving) == len(optimizer.param_groups) and not any(isinstance(value, Tensor) for value in moving):
        momentum_arguments = {"base_momentum": momentum[0], "max_momentum": momentum[1]}
    else:  # OneCycleLR would start momentum where there is none, or replace a tensor
        momentum_arguments = None
    if arguments is None or momentum_arguments is None:
        return PlannedLR(plan, optimizer)
    return PlanOneCycleLR(plan, optimizer, **arguments, **momentum_arguments)


def check_groups(plan: "Plan", optimizer: Optimizer) -> None:
    """Raise unless the optimizer has as many groups as the plan has LRs."""
    n_groups = len(optimizer.param_groups)
    if n_groups != plan.n_groups:
        raise InputError(
            f"Got an optimizer with {n_groups} param groups for a plan of {plan.n_groups} ({', '.join(plan.names)}); "
            "expected the same number. Make the plan again with this optimizer as its groups. A group to be added "
            "while training comes with optimizer.add_param_group after the scheduler was built."
        )


def _momentum_of(group: ParamGroup) -> Any:
    return group["betas"][0] if "betas" in group else group.get("momentum")


class PlannedLR(LRScheduler):
    """Sets the LR of every group, and its momentum if planned, to what the plan says for each step.

    A group without momentum, or with a momentum of 0, keeps it. An LR that is a Tensor is filled in place.

    Attributes:
        plan: what it was built for, with the groups that were added since.
    """

    _added: tuple[tuple[str, float], ...] = ()

    def __init__(self, plan: "Plan", optimizer: Optimizer, **arguments: Any) -> None:
        self.plan = self._begun_with = plan
        super().__init__(optimizer, **arguments)

    def get_lr(self) -> list[Any]:
        """LRs of the current step, (G,); like OneCycleLR's, this writes the momentum on the way."""
        self._take_in_added()
        self._write_momentum()
        return self._planned()

    def _take_in_added(self) -> None:
        """Let the groups that were added to the optimizer join the plan, up to the LR they have now."""
        for at in added([self.optimizer], [self.plan.n_groups]):
            group = describe(None, [self.optimizer])[at]
            self._join(group.name, group.lr)

    def _join(self, name: str, max_lr: float) -> None:
        self.plan = self.plan.with_group(name, max_lr)
        self._added = (*self._added, (self.plan.names[-1], max_lr))

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, as three integers; its numbers are the plan's, but for groups added since."""
        state: dict[str, Any] = {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "total_steps": self.plan.total_steps,
        }
        return {**state, "added": [list(group) for group in self._added]} if self._added else state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to where `state_dict` stands and write that step's LRs into the optimizer.

        So the optimizer's own state may be loaded before or after. The state of a plain `OneCycleLR` does as well.
        Groups that were added in that run must have been added again.

        Raises:
            InputError: the state is of a run with another number of steps, or of groups.
        """
        theirs = state_dict.get("total_steps", self.plan.total_steps)
        if theirs != self.plan.total_steps:
            raise InputError(
                f"Got the state of a schedule of {theirs} steps for a plan of {self.plan.total_steps}; expected "
                "as many. Make the plan with the steps of the run that is resumed: another length is another schedule."
            )
        joined = state_dict.get("added", [])
        if len(self.optimizer.param_groups) < self._begun_with.n_groups + len(joined):
            raise InputError(
                f"Got the state of a schedule to which {', '.join(repr(name) for name, _ in joined)} was added, and an "
                f"optimizer with {len(self.optimizer.param_groups)} param groups; expected "
                f"{self._begun_with.n_groups + len(joined)}. Call optimizer.add_param_group first, as in that run."
            )
        self.plan, self._added = self._begun_with, ()
        for name, max_lr in joined:
            self._join(name, max_lr)
        self._take_in_added()
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict.get("_step_count", self.last_epoch + 1)
        for group, lr in zip(self.optimizer.param_groups, self._planned(), strict=True):
            set_lr(group, lr)
        self._write_momentum()
        self._last_lr = [deepcopy(group["lr"]) for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[Any]:
        """The LRs of the last step, (G,), as copies: torch before 2.13 hands out a Tensor LR that goes on changing."""
        return deepcopy(self._last_lr)

    def _planned(self) -> list[Any]:
        lrs: list[Any] = self.plan.lr_at(self.last_epoch).tolist()
        return lrs

    def _write_momentum(self) -> None:
        momenta = self.plan.momentum_at(self.last_epoch).tolist()
        for group, momentum in zip(self.optimizer.param_groups, momenta, strict=True):
            if momentum == momentum:  # NaN: the plan leaves it alone
                set_momentum(group, momentum)


class PlanOneCycleLR(PlannedLR, OneCycleLR):
    """Torch's OneCycleLR, which computes every LR and momentum of the plan's steps; only the traps around it differ."""

    def get_lr(self) -> list[Any]:
        """OneCycleLR's LRs; the plan's, which are the same, beyond its end and when groups were added."""
        self._take_in_added()
        if self._added or self.last_epoch >= self.plan.total_steps:
            return PlannedLR.get_lr(self)
        return OneCycleLR.get_lr(self)
