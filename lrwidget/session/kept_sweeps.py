"""The sweeps that stay on the screen to be compared with each other: the last few, each with a name, one chosen."""

from dataclasses import dataclass, replace
from typing import Any, Self

from lrwidget.engine.errors import InputError
from lrwidget.state import KeptSweep

MOST_KEPT = 12
"""Sweeps on the screen: more curves nobody tells apart. The oldest goes first."""

LONGEST_NAME = 60
"""Letters of a sweep's name: what fits into its row."""


@dataclass(frozen=True, slots=True)
class KeptSweeps:
    """An immutable row of kept sweeps; every change is a new one.

    Attributes:
        sweeps: oldest first.
        chosen: which of them curve and advice are of; None while a sweep runs.
    """

    sweeps: tuple[KeptSweep, ...] = ()
    chosen: int | None = None

    @property
    def shown(self) -> KeptSweep | None:
        """The chosen one."""
        return None if self.chosen is None else self.sweeps[self.chosen]

    def with_new(self, sweep: KeptSweep) -> Self:
        """One more, which is the chosen one."""
        sweeps = (*self.sweeps, sweep)[-MOST_KEPT:]
        return replace(self, sweeps=sweeps, chosen=len(sweeps) - 1)

    def choosing(self, index: int) -> Self:
        """Another one chosen."""
        self._check(index)
        return replace(self, chosen=index)

    def without(self, index: int) -> Self:
        """One less; when it was the chosen one, the last of the others is."""
        self._check(index)
        sweeps = (*self.sweeps[:index], *self.sweeps[index + 1 :])
        chosen = self.chosen
        if chosen == index:
            chosen = len(sweeps) - 1 if sweeps else None
        elif chosen is not None:
            chosen -= chosen > index
        return replace(self, sweeps=sweeps, chosen=chosen)

    def renamed(self, index: int, name: str) -> Self:
        """One called something else."""
        self._check(index)
        named = replace(self.sweeps[index], name=_name(name))
        return replace(self, sweeps=(*self.sweeps[:index], named, *self.sweeps[index + 1 :]))

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self.sweeps):
            raise InputError(f"Got sweep {index}; expected one of the {len(self.sweeps)} kept, counted from 0.")


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"Got {name!r} as a name; expected a text.")
    return name.strip()[:LONGEST_NAME]
