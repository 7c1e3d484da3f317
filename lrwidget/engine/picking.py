"""What moving one marker does to the others. Pure: LRs in, LRs out, one per group in optimizer order."""

from collections.abc import Collection, Sequence


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
