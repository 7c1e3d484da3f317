"""Rows of numbers that come one by one. Needs numpy only."""

import numpy as np
import numpy.typing as npt

CHUNK = 512
"""Rows that wait in a list before they are moved to the array, where they take a sixth of the memory."""


class Rows:
    """A table that grows by a row at a time; a look at all of it costs no more than the rows since the last look.

    Args:
        columns: numbers in a row.
    """

    def __init__(self, columns: int) -> None:
        self._rows = np.empty((64, columns))
        self._count = 0
        self._fresh: list[tuple[float, ...]] = []  # a list takes a row in a tenth of the time that an array does

    def __len__(self) -> int:
        return self._count + len(self._fresh)

    def append(self, *row: float) -> None:
        """Add a row."""
        self._fresh.append(row)
        if len(self._fresh) == CHUNK:
            self._take_in()

    @property
    def columns(self) -> tuple[npt.NDArray[np.float64], ...]:
        """A view of each column, (rows,); to be copied by who keeps it."""
        if self._fresh:
            self._take_in()
        return tuple(self._rows[: self._count].T)

    def _take_in(self) -> None:
        fresh, self._fresh = self._fresh, []
        count = self._count + len(fresh)
        if count > len(self._rows):
            room = np.empty((max(count, 2 * len(self._rows)), self._rows.shape[1]))
            room[: self._count] = self._rows[: self._count]
            self._rows = room
        self._rows[self._count : count] = fresh
        self._count = count
