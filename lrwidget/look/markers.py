"""What stands beside the markers of the param groups."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lrwidget.engine.words import format_lr

NAME_LETTERS, LEAST_LETTERS = 28, 10
"""Letters of a group's name beside its marker: at most, and as long as there is any room."""
MARKER_GAP = 2.0
"""Room between a marker and its label, in letters."""


def fastest(lrs: tuple[float, ...]) -> int:
    """Index of the group with the highest LR, whose marker is `max_lr`; the last of equals, which is the head."""
    return max(range(len(lrs)), key=lambda index: (lrs[index], index))


def marker_text(names: Sequence[str], lrs: tuple[float, ...], index: int) -> str:
    """What stands beside a group's marker: its name and LR, and whether it is `max_lr`.

    >>> marker_text(["body", "head"], (1e-4, 1e-3), 1), marker_text(["all layers"], (1e-3,), 0)
    ('head  0.001 · max_lr', 'max_lr  0.001')
    """
    if len(names) < 2:
        return f"max_lr  {format_lr(lrs[index])}"
    return f"{names[index]}  {format_lr(lrs[index])}{' · max_lr' if index == fastest(lrs) else ''}"


def shortened(name: str, at_most: int) -> str:
    """A name in so many letters or fewer, with an ellipsis in the middle.

    >>> shortened("head", 9), shortened("encoder.layers.2", 9)
    ('head', 'enco…rs.2')
    """
    if len(name) <= at_most:
        return name
    tail = (at_most - 1) // 2
    return f"{name[: at_most - 1 - tail]}…{name[len(name) - tail :]}"


def short_names(names: Sequence[str], at_most: int) -> list[str]:
    """Names in so many letters or fewer, which still tell them apart: where their ends are alike, by the middle.

    >>> short_names(["encoder.layers.1.norm.weight", "encoder.layers.2.norm.weight"], 9)
    ['…rs.1.no…', '…rs.2.no…']
    """
    short = [shortened(name, at_most) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    alike = next((k for k, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    start = max(0, alike - (at_most - 2) // 2)
    middle = [f"…{name[start : start + at_most - 2].strip('._')}…" for name in names]
    return [name if len(name) <= at_most else cut for name, cut in zip(names, middle, strict=True)]


def hangs_left(lr: float, others: Sequence[float], ends: tuple[float, float]) -> bool:
    """Whether the label of a marker at `lr` has clearly more room to its left, up to a marker or the end of the axis.

    >>> hangs_left(1e-2, [], (1e-7, 10.0)), hangs_left(1e-2, [3e-3], (1e-7, 10.0))
    (True, False)
    """
    before = lr / max((other for other in (*others, ends[0]) if other < lr), default=lr)
    behind = min((other for other in (*others, ends[1]) if other > lr), default=lr) / lr
    # By a tenth of the axis: a label that is read while it moves should not change sides for less.
    return bool(before > behind * (ends[1] / ends[0]) ** 0.1)


class MarkerLabel(NamedTuple):
    """What stands beside a marker.

    Attributes:
        text: name and LR of its group.
        left: whether it stands on the left.
    """

    text: str
    left: bool


def marker_label(
    names: Sequence[str],
    lrs: tuple[float, ...],
    index: int,
    ends: tuple[float, float],
    letters: float,
    more: str = "",
) -> MarkerLabel:
    """The label of a group's marker, inside of the chart: of what is too long for its room, the name is shortened.

    Args:
        names: of all groups.
        lrs: theirs.
        index: which group.
        ends: of the axis.
        letters: how many fit beside each other into the width of the plot.
        more: what stands behind it.

    >>> marker_label(["body", "head"], (1e-4, 1e-3), 1, (1e-7, 10.0), 40)
    MarkerLabel(text='head  0.001 · max_lr', left=False)
    >>> marker_label(["body", "head.layers.projection"], (1e-4, 1e-1), 1, (1e-7, 10.0), 40).text
    'head.l…ection  0.1 · max_lr'
    """
    lr = lrs[index]
    left = hangs_left(lr, [*lrs[:index], *lrs[index + 1 :]], ends)
    before = min(max(math.log(lr / ends[0]) / math.log(ends[1] / ends[0]), 0.0), 1.0) * letters
    rooms = {True: before - MARKER_GAP, False: letters - before - MARKER_GAP}
    text = marker_text(names, lrs, index) + more
    if len(text) > rooms[left]:
        left = rooms[True] > rooms[False]
    fits = int(rooms[left]) - (len(text) - len(names[index]))
    short = short_names(names, min(max(fits, LEAST_LETTERS), NAME_LETTERS))
    text = marker_text(short, lrs, index) + more
    if len(text) > rooms[left] and len(names[index]) > LEAST_LETTERS:
        text = text.replace(" · max_lr", "")  # its line is the thick one
    return MarkerLabel(text, left)
