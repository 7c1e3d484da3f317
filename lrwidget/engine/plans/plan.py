"""A plan: what the user picked, resolved against the param groups; complete, frozen, a pure function of the step.

`one_cycle` and `fine_tune_plan` make a `Plan` of one `Cycle` or two, and `Plan.lr_at` is the schedule itself;
`schedule.py` says the same numbers as a torch scheduler and as source code. Shapes: S steps, G param groups.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from lrwidget.engine.errors import InputError, InputTypeError, RecordError, known_options, unknown_option
from lrwidget.engine.picking import Pick, resolve_lrs
from lrwidget.engine.plain import positive_lr, whole
from lrwidget.engine.plans.cycle import (
    FREEZE,
    PRESETS,
    Anneal,
    Cycle,
    FloatArray,
    IntArray,
    Shape,
    exactly,
    keep,
    one_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from lrwidget.engine.loops.protocols import OptimizerLike

__all__ = ["PRESETS", "Cycle", "Pick", "Plan", "Shape", "fine_tune_plan", "one_cycle", "resolve_lrs"]


Groups: TypeAlias = "OptimizerLike | Sequence[OptimizerLike] | int | Sequence[str]"

NO_GROUPS = """Got a {kind} as groups; expected the optimizer, a list of several, the number of param groups, or their
names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a run needs to set LRs: a frozen value, the one truth behind preview, training, scheduler and code.

    Attributes:
        cycles: the stages, one after the other; most plans have one, a fine-tune that starts frozen has two.
        names: one per param group, in optimizer order, (G,).
    """

    cycles: tuple[Cycle, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        keep(self, "cycles", tuple(self.cycles))
        keep(self, "names", tuple(str(name) for name in self.names))
        if not self.cycles:
            raise InputError("Got a plan without a cycle; expected one or more. Make it with one_cycle().")
        for cycle in self.cycles:
            if len(cycle.max_lrs) != len(self.names):
                raise InputError(
                    f"Got a cycle with {len(cycle.max_lrs)} LRs for {len(self.names)} param groups "
                    f"({', '.join(self.names)}); expected one LR per group."
                )
        if len({cycle.momentum is None for cycle in self.cycles}) > 1:
            raise InputError("Got cycles with and without momentum; expected it in all of them or in none.")
        for i, name in enumerate(self.names):
            if len({cycle.spared()[i] for cycle in self.cycles if cycle.frozen and cycle.frozen[i]}) > 1:
                raise InputError(
                    f"Got cycles in which the norm layers of the frozen group {name!r} train, and others in which they "
                    "stand still; expected the same in all of them."
                )

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all cycles together."""
        return sum(cycle.steps for cycle in self.cycles)

    @property
    def n_groups(self) -> int:
        """Param groups the plan is for, G."""
        return len(self.names)

    @property
    def max_lrs(self) -> tuple[float, ...]:
        """Highest LR of every group in the last cycle, (G,)."""
        return self.cycles[-1].max_lrs

    def lr_at(self, step: ArrayLike) -> FloatArray:
        """LR of every group at a step: (G,) for one step, (S, G) for S of them.

        Steps are optimizer steps counted from 0; the LR is the one that step is taken with. From `total_steps` on
        the last one holds.

        >>> one_cycle(0.1, 10, 1).lr_at([2, 9, 99]).ravel().tolist()
        [0.1, 4e-07, 4e-07]
        """
        return self._at(step, Cycle.lr_at)

    def momentum_at(self, step: ArrayLike) -> FloatArray:
        """Momentum of every group at a step, shaped like `lr_at`; NaN where the plan leaves momentum alone."""
        return self._at(step, Cycle.momentum_at)

    def _at(self, step: ArrayLike, values: Callable[[Cycle, IntArray], FloatArray]) -> FloatArray:
        steps = np.asarray(step)
        if steps.size and not np.issubdtype(steps.dtype, np.integer):
            raise InputTypeError(f"Got the step {step!r}; expected a whole number, or an array of them.")
        step_S = np.minimum(steps.astype(np.int64).ravel(), self.total_steps - 1)
        if np.any(step_S < 0):
            raise InputError(f"Got the step {step_S.min()}; expected 0 or more: steps are counted from 0.")
        value_SG = np.empty((step_S.size, self.n_groups))
        for first, cycle in self.starts():
            here_S = (first <= step_S) & (step_S < first + cycle.steps)
            value_SG[here_S] = values(cycle, step_S[here_S] - first)
        return value_SG.reshape(*steps.shape, self.n_groups)

    def starts(self) -> tuple[tuple[int, Cycle], ...]:
        """Every cycle with the step of the plan it starts at."""
        return tuple((sum(c.steps for c in self.cycles[:i]), cycle) for i, cycle in enumerate(self.cycles))

    def boundaries(self) -> tuple[tuple[float, str], ...]:
        """Where each phase begins, in steps (possibly between two), and what it is called. For drawing.

        >>> fine_tune_plan(1e-3, 100, 10, 2).boundaries()
        ((0.0, 'frozen: warm-up'), (10.0, 'warm-up'), (40.0, 'anneal'))
        """
        # What stands still from beginning to end is no phase of its own.
        still = tuple(all(frozen) for frozen in zip(*(cycle.frozen or (False,) for cycle in self.cycles), strict=False))
        return tuple(
            (first + begin, f"frozen: {name}" if any(cycle.frozen) and cycle.frozen != still else name)
            for first, cycle in self.starts()
            for begin, name in cycle.phase_begins()
        )

    def with_group(self, name: str, max_lr: float, index: int | None = None) -> Self:
        """The plan for an optimizer that got one more param group: it moves as the others do, up to `max_lr`.

        A run takes in what `optimizer.add_param_group` adds in this way, with the LR that the group was given as its
        `max_lr`, and so does a scheduler. The group is frozen in no cycle.

        Args:
            name: of the group; gets a counter when there is one of that name.
            max_lr: its highest LR, the same in every cycle.
            index: where it is among the groups; default None: behind all of them.

        >>> fine_tune_plan(1e-3, 100, 10, ["body", "head"]).with_group("stem", 1e-5, 0).max_lrs
        (1e-05, 5e-06, 0.0005)
        """
        from lrwidget.engine.loops.groups import unique

        max_lr = positive_lr(max_lr, f"the LR of the added group {name!r}")
        at = self.n_groups if index is None else index
        name = unique([*self.names, str(name)])[-1]
        return replace(
            self,
            names=(*self.names[:at], name, *self.names[at:]),
            cycles=tuple(cycle.with_group(max_lr, at) for cycle in self.cycles),
        )

    def one_cycle_lr(self) -> dict[str, Any] | None:
        """The arguments with which torch's `OneCycleLR` gives these very LRs; None where it cannot.

        It cannot when there are two cycles, when phases end elsewhere or mix their curves, when the final LR is
        relative to the highest, and when the warm-up has no step, where it raises or misses its own peak.
        Momentum is not among the arguments: whether it may be cycled depends on the optimizer.
        """
        cycle, *more = self.cycles
        native = cycle.ends == "torch" and cycle.div_final_of == "initial" and cycle.anneal != "linear-cos"
        if more or not native or not 0 < cycle.phase_ends()[0] == cycle.pct_start * cycle.steps - 1:
            return None
        arguments: dict[str, Any] = {
            "max_lr": list(cycle.max_lrs),
            "total_steps": cycle.steps,
            "pct_start": cycle.pct_start,
            "div_factor": cycle.div,
            "final_div_factor": cycle.div_final,
        }
        if cycle.anneal == "linear":
            arguments["anneal_strategy"] = "linear"
        if cycle.phases == 3:
            arguments["three_phase"] = True
        return arguments

    def scheduler(self, optimizer: "Optimizer") -> "LRScheduler":
        """A torch scheduler for your own loop: `OneCycleLR` itself where it can say the plan; see `schedule.build`."""
        from lrwidget.engine.plans.schedule import build

        return build(self, optimizer)

    def code(self, **how: Any) -> str:
        """A training loop in plain PyTorch that runs this plan without lrwidget.

        Args:
            **how: a step goes, when it is not `loss_fn(model(inputs), targets)`, backward, step: `accumulate`,
                `clip_grad_norm`, `amp`, `step`, `n_optimizers`; see `lrwidget.engine.plans.program.StepSource`.
        """
        from lrwidget.engine.plans.program import StepSource, program

        known = [field.name for field in fields(StepSource)]
        for name in how:
            if name not in known:
                unknown_option("plan.code()", name, known)
        return program(self, StepSource(**how))

    def plot(self) -> "Figure":
        """A matplotlib figure of LR and momentum over the steps."""
        from lrwidget.static import plan_figure

        return plan_figure(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, as JSON takes them."""
        return {"names": list(self.names), "cycles": [asdict(cycle) for cycle in self.cycles]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The plan that `to_dict` described.

        Raises:
            InputError: a key that is unknown or missing, or a value that no plan can have.
        """
        held = exactly(data, cls)
        for name, of_what in (("names", "texts"), ("cycles", "cycles")):
            if not isinstance(held[name], list | tuple):
                raise RecordError(f"Got {name}={held[name]!r} in a plan; expected a list of {of_what}.")
        return cls(names=held["names"], cycles=tuple(Cycle.from_dict(cycle) for cycle in held["cycles"]))

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        from lrwidget.engine import record

        record.save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a plan that `save` wrote.

        Raises:
            RecordError: the file holds something else.
        """
        from lrwidget.engine import record

        found = record.load(path)
        if not isinstance(found, cls):
            raise RecordError(f"Got a {type(found).__name__} in {path}; expected a plan.")
        return found


@known_options
def one_cycle(
    max_lr: Pick,
    total_steps: int,
    groups: Groups,
    *,
    preset: str = "torch",
    freeze_steps: int = 0,
    frozen: Sequence[bool] | None = None,
    train_norms: bool | None = None,
    pct_start: float | None = None,
    div: float | None = None,
    div_final: float | None = None,
    momentum: tuple[float, float] | Literal["preset"] | None = "preset",
    anneal: Anneal | None = None,
    phases: Literal[2, 3] | None = None,
) -> Plan:
    """Plan one cycle of LRs: up to `max_lr`, then down.

    Args:
        max_lr: highest LR: one for all groups, `slice(lo, hi)`, `slice(hi)`, or one per group; see `resolve_lrs`.
        total_steps: optimizer steps in all, 1 or more; epochs times batches, divided by what is accumulated.
        groups: the optimizer, or a list of several (only counted and named here), the number of groups, or their names.
        preset: a name in `PRESETS`, which gives the defaults of the keywords below; `"torch"`, because its code is
            the few lines everyone knows.
        freeze_steps: of the steps, how many come first in a cycle of their own at the same LRs, with all groups
            frozen but the last, climbing for 99 % of it as fastai's fine_tune does; default 0.
        frozen: one flag per group: those that do not train in any step of the plan; default None: all do. Nothing of
            them changes but the running statistics of their batch norms, which follow the data.
        train_norms: whether norm layers of frozen groups train on. True: all of them, as when fastai's `freeze()` is
            followed by a fit. False: none. Default None: those of groups that `freeze_steps` freeze, so that they
            fit what trains later, and none of groups that are `frozen` all along.
        pct_start: share of the steps that warm up; this keyword and the following are explained in `Shape`.
        div: the first LR is `max_lr / div`.
        div_final: the final LR is the first one (`torch`, `fastai_v1`, `smith`, `linear`, `cosine`) or the highest
            (`fastai`, `fine_tune`) divided by this.
        momentum: `(low, high)`, or None to leave the optimizer's own alone.
        anneal: `"cos"`, `"linear"` or `"linear-cos"`.
        phases: 2 or 3.

    Raises:
        InputError: a value out of range, or as many LRs as there are not groups.
        InputTypeError: a keyword that does not exist.

    >>> one_cycle(slice(1e-4, 1e-2), 500, ["body", "head"]).max_lrs
    (0.0001, 0.01)
    """
    names = _names(groups)
    one_of(preset, "preset", tuple(PRESETS))
    given = {"pct_start": pct_start, "div": div, "div_final": div_final, "anneal": anneal, "phases": phases}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if momentum != "preset":
        chosen["momentum"] = momentum
    shape = replace(PRESETS[preset], **chosen)
    total_steps = whole(total_steps, "total_steps")
    freeze_steps = whole(freeze_steps, "freeze_steps", least=0)
    if freeze_steps >= total_steps:
        raise InputError(
            f"Got freeze_steps={freeze_steps} of total_steps={total_steps}; expected fewer: total_steps counts them in."
        )
    lrs = resolve_lrs(max_lr, len(names))
    still_G = _flags(frozen, names)
    norms_G = tuple(still and not train_norms for still in still_G)
    cycle = _cycle(
        shape, steps=total_steps - freeze_steps, max_lrs=lrs, frozen=still_G, frozen_norms=norms_G, preset=preset
    )
    if not freeze_steps:
        return Plan(cycles=(cycle,), names=names)
    if still_G[-1]:
        raise InputError(
            f"Got freeze_steps={freeze_steps}, in which only the last group trains, and {names[-1]!r}, which is the "
            "last, frozen; expected a group that trains in every step. Take freeze_steps=0, or do not freeze it."
        )
    waits_G = tuple(waits and not still for waits, still in zip(_all_but_last(names), still_G, strict=True))
    climb = replace(shape, pct_start=FREEZE.pct_start, phases=2)
    head_first = _cycle(
        climb,
        steps=freeze_steps,
        max_lrs=lrs,
        frozen=_all_but_last(names),
        frozen_norms=tuple(
            train_norms is False if waits else norms for waits, norms in zip(waits_G, norms_G, strict=True)
        ),
        preset=preset,
    )
    return Plan(cycles=(head_first, cycle), names=names)


@known_options
def fine_tune_plan(
    base_lr: float,
    steps: int,
    freeze_steps: int,
    groups: Groups,
    *,
    lr_mult: float = 100.0,
    train_norms: bool = True,
    pct_start: float = 0.3,
    div: float = 5.0,
) -> Plan:
    """Plan what fastai v2's `Learner.fine_tune` does: the last group alone, then everything at half the LR.

    First `freeze_steps` (one epoch in fastai) at `slice(base_lr)`, all groups frozen but the last, climbing for 99 % of
    them; then `steps` at `slice(base_lr/2/lr_mult, base_lr/2)`. With one group nothing can be frozen.

    Args:
        base_lr: LR of the last group while the others are frozen; fastai's default is 2e-3.
        steps: optimizer steps after unfreezing, 1 or more.
        freeze_steps: optimizer steps before, 0 or more; 0 leaves the frozen cycle out, and `base_lr` is halved still.
        groups: the optimizer, or a list of several, the number of groups, or their names.
        lr_mult: how many times slower the first group is than the last after unfreezing.
        train_norms: the norm layers of the frozen groups train on meanwhile; default True, as in fastai.
        pct_start: share of `steps` that warms up.
        div: the second cycle starts at its `max_lr / div`.

    >>> fine_tune_plan(2e-3, 300, 100, ["stem", "body", "head"]).max_lrs
    (1e-05, 0.0001, 0.001)
    """
    names = _names(groups)
    base_lr, lr_mult = positive_lr(base_lr, "base_lr"), positive_lr(lr_mult, "lr_mult")
    shape = replace(PRESETS["fine_tune"], pct_start=pct_start, div=div)
    half = base_lr / 2
    lrs = resolve_lrs(slice(half / lr_mult, half), len(names))
    main = _cycle(shape, steps=steps, max_lrs=lrs, preset="fine_tune")
    if not whole(freeze_steps, "freeze_steps", least=0):
        return Plan(cycles=(main,), names=names)
    head_first = _cycle(
        FREEZE,
        steps=freeze_steps,
        max_lrs=resolve_lrs(slice(base_lr), len(names)),
        frozen=_all_but_last(names),
        frozen_norms=() if train_norms else _all_but_last(names),
        preset="fine_tune",
    )
    return Plan(cycles=(head_first, main), names=names)


def _cycle(shape: Shape, **rest: Any) -> Cycle:
    return Cycle(**asdict(shape), **rest)


def _all_but_last(names: Sequence[str]) -> tuple[bool, ...]:
    return (True,) * (len(names) - 1) + (False,)


def _flags(frozen: Sequence[bool] | None, names: Sequence[str]) -> tuple[bool, ...]:
    """One flag per group: whether it does not train."""
    if frozen is None:
        return (False,) * len(names)
    flags = tuple(frozen) if isinstance(frozen, Iterable) else (None,)
    if not all(isinstance(flag, bool | np.bool_) for flag in flags):
        raise InputTypeError(
            f"Got frozen={frozen!r}; expected one True or False per group ({', '.join(names)}), in optimizer order."
        )
    if len(flags) != len(names):
        raise InputError(
            f"Got {len(flags)} flags in frozen={frozen!r} for {len(names)} groups ({', '.join(names)}); expected one "
            "True or False per group, in optimizer order."
        )
    if all(flags):
        raise InputError(
            f"Got frozen={frozen!r}, which freezes every group ({', '.join(names)}); expected one that trains."
        )
    return tuple(map(bool, flags))


def _names(groups: Groups) -> tuple[str, ...]:
    optimizers = tuple(groups) if isinstance(groups, list | tuple) else (groups,)
    if optimizers and all(isinstance(getattr(one, "param_groups", None), list) for one in optimizers):
        from lrwidget.engine.loops.groups import describe

        return tuple(group.name for group in describe(None, optimizers))
    if isinstance(groups, Iterable) and not isinstance(groups, str | bytes):
        entries = tuple(groups)
        names = tuple(name for name in entries if isinstance(name, str))
        if not entries:
            raise InputError("Got no group names; expected one per param group of the optimizer.")
        if len(names) < len(entries):
            kinds = ", ".join(dict.fromkeys(type(entry).__name__ for entry in entries))
            raise InputTypeError(NO_GROUPS.format(kind=f"{type(groups).__name__} of {kinds}"))
        return names
    try:
        n_groups = whole(groups, "groups")
    except InputTypeError:
        shown = f" ({groups!r})" if isinstance(groups, str | float | bool) else ""
        raise InputTypeError(NO_GROUPS.format(kind=f"{type(groups).__name__}{shown}")) from None
    return ("all layers",) if n_groups == 1 else tuple(f"group {i}" for i in range(n_groups))
