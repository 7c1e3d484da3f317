"""LRs of param groups out of a pick, and what moving one marker does to the others. Pure.

LRs are in optimizer order, one per group.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import TypeAlias

from lrwidget.engine.errors import InputError, InputTypeError
from lrwidget.engine.plain import positive_lr, whole

Pick: TypeAlias = float | slice | Sequence[float]
"""What a user chooses: one LR for all groups, a slice over them (fastai's meaning), or one LR per group."""


def resolve_lrs(pick: Pick, n_groups: int) -> tuple[float, ...]:
    """One LR per param group, in optimizer order.

    A number goes to every group. `slice(lo, hi)` is geometric, `lo · (hi/lo)^(i/(n−1))`: `lo` for the first group, `hi`
    for the last and for the only one. `slice(hi)` is `hi/10` for all groups but the last. A sequence has one per group.
    `lo` may be above `hi`: a new stem in front of a pretrained body wants just that.

    >>> resolve_lrs(slice(1e-5, 1e-3), 3)
    (1e-05, 0.0001, 0.001)
    >>> resolve_lrs(slice(0.1), 3)
    (0.01, 0.01, 0.1)

    Raises:
        InputError: an LR that is not finite and above 0, a wrong number of LRs, a slice with a step or without an end.
        InputTypeError: something that is no number, slice or sequence.
    """
    n_groups = whole(n_groups, "n_groups")
    if isinstance(pick, slice):
        return _spread(pick, n_groups)
    if isinstance(pick, str | bytes | Mapping | Set):
        raise InputTypeError(
            f"Got a {type(pick).__name__} as max_lr; expected one LR, slice(lo, hi), or one LR per group, "
            "in optimizer order."
        )
    if not isinstance(pick, Iterable) or getattr(pick, "ndim", 1) == 0:
        return (positive_lr(pick, "max_lr"),) * n_groups
    lrs = tuple(positive_lr(lr, f"max_lr[{i}]") for i, lr in enumerate(pick))
    if len(lrs) != n_groups:
        raise InputError(
            f"Got {len(lrs)} LRs for {n_groups} param groups; expected one per group, in optimizer order. "
            "Pass slice(lo, hi) to spread two LRs over any number of groups."
        )
    return lrs


def _spread(pick: slice, n_groups: int) -> tuple[float, ...]:
    if pick.step is not None or pick.stop is None:
        raise InputError(
            f"Got {pick}; expected slice(lo, hi), spread geometrically from the first group to the last, "
            "or slice(hi), hi for the last group and hi/10 for the others."
        )
    high = positive_lr(pick.stop, "the slice's end")
    if pick.start is None:
        return (high / 10,) * (n_groups - 1) + (high,)
    low = positive_lr(pick.start, "the slice's start")
    # The last is written out: low · (high/low) need not round to high.
    return (*(low * (high / low) ** (i / (n_groups - 1)) for i in range(n_groups - 1)), high)


def scaled(lrs: Sequence[float], max_lr: float) -> tuple[float, ...]:
    """All LRs times one factor, so that the fastest group's is `max_lr`: the ratios between groups stay."""
    fastest = max(lrs)
    # The fastest is written out: lr · (max_lr/lr) need not round to max_lr.
    return tuple(max_lr if lr == fastest else lr * (max_lr / fastest) for lr in lrs)


def moved(lrs: Sequence[float], index: int, lr: float, by_hand: Collection[int] = ()) -> tuple[float, ...]:
    """One group's LR set; when it is the first's or the last's, the ones between follow.

    The first and the last group are the ends of a slice: the inner ones lie geometrically between them,
    `lo · (hi/lo)^(i/(n−1))`, except those that were put somewhere by hand.

    Args:
        lrs: (G,) LRs before.
        index: which group was moved, 0 ... G − 1.
        lr: where to.
        by_hand: inner groups that stay where they are.
    """
    after = list(lrs)
    after[index] = lr
    last = len(after) - 1
    if index in (0, last):
        for i in range(1, last):
            if i not in by_hand:
                after[i] = after[0] * (after[last] / after[0]) ** (i / last)
    return tuple(after)
