"""What the screen shows, as one observable object; no widgets, no torch calls, no behaviour.

Every value is immutable: assign a new one, never change one in place (traitlets would not notice). Only the session
assigns; views read it in `render(state)`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from traitlets import Bool, Enum, HasTraits, Instance, Int, TraitError, Tuple, Unicode, validate

from lrwidget.engine.plans.cycle import Anneal
from lrwidget.engine.plans.plan import Plan
from lrwidget.engine.runs.history import History
from lrwidget.engine.sweeps.curve import LossCurve
from lrwidget.engine.sweeps.suggest import Advice
from lrwidget.engine.sweeps.sweep import SweepConfig


class Phase(StrEnum):
    """Who has the model at this moment."""

    IDLE = "idle"
    """The user: no job is running."""
    SWEEPING = "sweeping"
    """A sweep has borrowed it and will give it back."""
    TRAINING = "training"
    """A run trains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the running job is.

    Attributes:
        step: optimizer steps done, 0 ... `total`.
        total: optimizer steps planned.
        loss: the smoothed training loss, or NaN before the first step.
        lr: the fastest group's LR at the last step, or NaN before it.
        steps_per_second: the pace so far, pauses left out, or None while there is none.
        seconds_left: an estimate from that pace, or None while there is none.
    """

    step: int
    total: int
    loss: float = math.nan
    lr: float = math.nan
    steps_per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptSweep:
    """A sweep that is over and stays on the screen, to be compared with others.

    Attributes:
        name: what the user calls it; `sweep 1` and so on until they do.
        curve: its points, one or more.
        advice: every rule's answer for it.
    """

    name: str
    curve: LossCurve
    advice: Advice


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the fields beside the schedule say: how a pick becomes a plan.

    Attributes:
        epochs: passes over the training loader, 1 or more; default 5, what a fine-tune commonly takes.
        steps: optimizer steps in their place, for a loader that has no length; default None.
        preset: a name of `lrwidget.engine.plans.plan.PRESETS`; it gives the defaults of the other fields.
        pct_start: share of the steps that warm up, 0 ... 1; None: the preset's.
        div: the run starts at `max_lr / div`; None: the preset's.
        div_final: how far the run anneals, by the preset's formula; None: the preset's.
        freeze_epochs: passes before those, with only the last group (and the norm layers) training; default 0.
        momentum: `(low, high)`; None to leave the optimizer's own alone; "preset", the default.
        anneal: the curve between two levels; None: the preset's.
        phases: 2, or 3 for Smith's; None: the preset's.
    """

    epochs: int = 5
    steps: int | None = None
    preset: str = "torch"
    pct_start: float | None = None
    div: float | None = None
    div_final: float | None = None
    freeze_epochs: int = 0
    momentum: tuple[float, float] | Literal["preset"] | None = "preset"
    anneal: Anneal | None = None
    phases: Literal[2, 3] | None = None


class LRState(HasTraits):
    """The state of one widget. Unknown names are refused, so that a misspelt one cannot be lost."""

    title = Unicode(help="`ResNet18 · AdamW · 3 groups`, shown on top.")
    groups = Tuple(help="One `Group` per param group, in optimizer order.")
    phase = Enum(list(Phase), Phase.IDLE, help="Who has the model: the user, a sweep or a run.")
    stopping = Bool(False, help="Stop was asked for and the job has not reached a step boundary yet.")
    config = Instance(SweepConfig, help="What the Sweep button will do: range, steps, mode.")
    paused = Bool(False, help="The job waits between two steps, and keeps the model.")
    validating = Bool(False, help="The run validates, and takes no step meanwhile.")
    curve = Instance(LossCurve, allow_none=True, help="The sweep's points so far, or those of the chosen sweep.")
    advice = Instance(Advice, allow_none=True, help="Every rule's answer for a finished curve.")
    sweeps = Tuple(help="Every `KeptSweep`, oldest first; one that runs is not among them yet.")
    chosen = Int(None, allow_none=True, help="Which of `sweeps` curve and advice are of; None while a sweep runs.")
    lrs = Tuple(help="The pick: one LR per group, in optimizer order; all above 0 and finite.")
    together = Bool(False, help="A dragged marker takes all others along, at their ratios.")
    frozen = Tuple(help="One bool per group: it does not train in a run. Empty when none is frozen.")
    can_undo = Bool(False, help="There is a pick before this one.")
    can_redo = Bool(False, help="A pick was undone and none was chosen since.")
    options = Instance(RunOptions, help="How the pick becomes a plan.")
    plan = Instance(Plan, allow_none=True, help="The pick resolved: exactly what a run would do now.")
    progress = Instance(Progress, allow_none=True, help="How far the running job is; None when none runs.")
    history = Instance(History, allow_none=True, help="The run so far, or the last run.")
    keeps_best = Bool(False, help="The weights of the run's best epoch are kept, to return to.")
    message = Unicode(help="What happened last and what to do next, in plain words.")
    failed = Bool(False, help="Whether the message tells of an error.")
    error = Unicode(help="The user's own traceback when their code raised; empty otherwise.")
    sweep_message = Unicode(help="How the sweep on the screen ended; empty while it runs.")
    run_message = Unicode(help="How the run on the screen ended; empty while it runs.")

    def __init__(self, **traits: Any) -> None:
        unknown = [name for name in traits if not self.has_trait(name)]
        if unknown:
            raise TraitError(f"Got {unknown}; LRState has {sorted(self.traits())}.")
        super().__init__(**traits)

    @validate("lrs")
    def _lrs_fit_the_groups(self, proposal: Any) -> tuple[float, ...]:
        lrs = tuple(float(lr) for lr in proposal["value"])
        if len(lrs) != len(self.groups):
            raise TraitError(f"Got {len(lrs)} LRs for {len(self.groups)} groups; assign one per group.")
        for lr, group in zip(lrs, self.groups, strict=True):
            if not (math.isfinite(lr) and lr > 0):
                raise TraitError(f"Got lr {lr} for group {group.name!r}; expected a finite number above 0.")
        return lrs

    @validate("frozen")
    def _frozen_fits_the_groups(self, proposal: Any) -> tuple[bool, ...]:
        frozen = tuple(bool(still) for still in proposal["value"])
        if frozen and len(frozen) != len(self.groups):
            raise TraitError(f"Got {len(frozen)} flags for {len(self.groups)} groups; assign one per group.")
        return frozen if any(frozen) else ()

    @validate("chosen")
    def _chosen_is_kept(self, proposal: Any) -> int | None:
        index: int | None = proposal["value"]
        if index is not None and not 0 <= index < len(self.sweeps):
            raise TraitError(f"Got sweep {index} of {len(self.sweeps)}; expected one that is kept, or None.")
        return index
