"""What the user has picked, and the way back: every pick is a step that can be undone, a whole drag is one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrwidget.engine.errors import InputError
from lrwidget.engine.picking import moved, scaled

START_LR = 1e-3
"""Where the markers of an optimizer whose LRs are 0 stand before a sweep."""

DEPTH = 200
"""Picks that can be undone: more than anybody remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """One pick.

    Attributes:
        lrs: (G,) one LR per group, in optimizer order.
        by_hand: inner groups that were put where they are, and do not follow the outer ones.
        chosen: whether the user chose it, and not the optimizer or a recommendation.
    """

    lrs: tuple[float, ...]
    by_hand: frozenset[int] = frozenset()
    chosen: bool = True


class Picks:
    """The pick as it is, those before it, and those that were undone.

    Args:
        lrs: where the markers stand before anybody has picked.
    """

    def __init__(self, lrs: tuple[float, ...]) -> None:
        self.now = Picked(lrs=lrs, chosen=False)
        self._before: list[Picked] = []
        self._after: list[Picked] = []
        self._drag_from: Picked | None = None

    @property
    def can_undo(self) -> bool:
        """Whether there is a pick before this one."""
        return bool(self._before)

    @property
    def can_redo(self) -> bool:
        """Whether a pick was undone and none was chosen since."""
        return bool(self._after)

    def put(self, picked: Picked, *, dragging: bool = False) -> None:
        """Take a pick; those of one drag, and where it ends, are one step.

        What nobody chose, as a recommendation that comes with the end of a sweep, leaves what was undone to be redone.
        """
        if self._drag_from is None:
            self._before = [*self._before, self.now][-DEPTH:]
        self._drag_from = (self._drag_from or self.now) if dragging else None
        self.now = picked
        if picked.chosen:
            self._after = []

    def moved(self, index: int, lr: float, *, together: bool) -> Picked:
        """The pick with one group's LR set, counted from where a drag began, if one is under way.

        Args:
            index: which group, 0 ... G − 1.
            lr: its LR.
            together: all others move along by the same factor; otherwise the inner groups follow the outer ones,
                except those that were put somewhere by hand.
        """
        start = self._drag_from or self.now
        if together:
            factor = lr / start.lrs[index]
            lrs = tuple(lr if i == index else other * factor for i, other in enumerate(start.lrs))
            return replace(start, lrs=lrs, chosen=True)
        inner = 0 < index < len(start.lrs) - 1
        by_hand = start.by_hand | {index} if inner else start.by_hand
        return Picked(lrs=moved(start.lrs, index, lr, by_hand), by_hand=by_hand)

    def scaled(self, max_lr: float, *, chosen: bool = True) -> Picked:
        """The pick with the fastest group at `max_lr`, at the ratios that it has."""
        return replace(self.now, lrs=scaled(self.now.lrs, max_lr), chosen=chosen)

    def undo(self) -> bool:
        """Back by one step; False when there is none."""
        if not self._before:
            return False
        self._after.append(self.now)
        self.now, self._drag_from = self._before.pop(), None
        return True

    def redo(self) -> bool:
        """Forward again by one step; False when there is none."""
        if not self._after:
            return False
        self._before.append(self.now)
        self.now, self._drag_from = self._after.pop(), None
        return True


def usable(lrs: Sequence[float]) -> tuple[float, ...]:
    """Where markers can stand: a log axis has no place for an LR of 0."""
    return tuple(lr if math.isfinite(lr) and lr > 0 else START_LR for lr in lrs)


def positive(lr: float) -> float:
    """An LR as a marker can have it.

    Raises:
        InputError: it is no number, or none above 0.
    """
    if isinstance(lr, bool) or not isinstance(lr, (int, float)) or not (math.isfinite(lr) and lr > 0):
        raise InputError(f"Got a learning rate of {lr!r}; expected a finite number above 0, such as 3e-4.")
    return float(lr)
