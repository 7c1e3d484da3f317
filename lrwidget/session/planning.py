"""What the screen says, resolved into a plan: the pick, the fields, and what a call asks for in their place."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from lrwidget.engine.errors import InputError, unknown_option
from lrwidget.engine.loops.batches import length
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plain import whole
from lrwidget.engine.plans.plan import Plan, one_cycle
from lrwidget.engine.runs.fit import steps_per_epoch
from lrwidget.state import RunOptions

OPTION_NAMES = frozenset(f.name for f in fields(RunOptions))

SHAPE_OPTIONS = ("preset", "pct_start", "div", "div_final", "momentum", "anneal", "phases")

PLAN_OPTIONS = (*SHAPE_OPTIONS, "freeze_epochs", "frozen")
"""Keywords of `Session.plan`: those of `one_cycle`, with the frozen part in epochs."""


def resolve(
    loop: Loop,
    lrs: Sequence[float],
    frozen: Sequence[bool],
    shown: RunOptions,
    /,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    **options: Any,
) -> Plan:
    """What a run of the loop would do.

    Args:
        loop: tells how many steps an epoch has, and the names of the groups.
        lrs: (G,) the pick.
        frozen: (G,) which groups stand still; empty for none.
        shown: what the fields say.
        epochs: passes over the training loader, instead of what they say.
        steps: optimizer steps, instead of epochs.
        **options: of `PLAN_OPTIONS`, instead of what they say.

    Raises:
        LRWidgetError: no plan can be so.
    """
    if epochs is not None and steps is not None:
        raise InputError(f"Got epochs={epochs} and steps={steps}; expected one of them.")
    if epochs is None and steps is None:
        steps = shown.steps
    for name in options:
        if name not in PLAN_OPTIONS:
            unknown_option("a plan", name, PLAN_OPTIONS)
    epochs = whole(shown.epochs if epochs is None else epochs, "epochs")
    freeze_epochs = whole(options.pop("freeze_epochs", shown.freeze_epochs), "freeze_epochs", least=0)
    per_epoch = steps_per_epoch(loop) if steps is None or freeze_epochs else 0
    freeze_steps = freeze_epochs * per_epoch
    given = {name: getattr(shown, name) for name in SHAPE_OPTIONS} | ({"frozen": frozen} if frozen else {})
    return one_cycle(
        lrs,
        (epochs * per_epoch if steps is None else steps) + freeze_steps,
        [group.name for group in loop.groups],
        freeze_steps=freeze_steps,
        **{**given, **options},
    )


def preview(loop: Loop, lrs: Sequence[float], frozen: Sequence[bool], shown: RunOptions) -> Plan | None:
    """The same without a call; None while no epoch has a length.

    Raises:
        LRWidgetError: no plan can be so.
    """
    if not length(loop.train_dl) and shown.steps is None:
        return None
    return resolve(loop, lrs, frozen, shown)


def taken_over(
    loop: Loop, shown: RunOptions, epochs: int | None, steps: int | None, options: Mapping[str, Any]
) -> RunOptions:
    """The fields after a run that was asked for with these arguments: they stay in them."""
    changes: dict[str, Any] = {name: value for name, value in options.items() if name in OPTION_NAMES}
    if epochs is not None:
        changes.update(epochs=epochs, steps=None)
    if steps is not None and not length(loop.train_dl):
        changes["steps"] = steps
    return replace(shown, **changes)


def program(plan: Plan, loop: Loop) -> str:
    """The plan as a program in plain PyTorch, with the steps of this loop."""
    plain = loop.loss_fn is not None and loop.loss_step is None
    return plan.code(
        step="train_step" if loop.train_step is not None else "loss_fn" if plain else "loss_step",
        n_optimizers=max(1, len(loop.optimizers)),
        amp=loop.amp,
        accumulate=loop.accumulate,
        clip_grad_norm=loop.clip_grad_norm,
    )
