"""Rows of numbers that come one by one. Needs numpy only."""

import numpy as np
import numpy.typing as npt


class Rows:
    """A table that grows by a row at a time; a look at all of it costs nothing, however long it is.

    Args:
        columns: numbers in a row.
    """

    def __init__(self, columns: int) -> None:
        self._rows = np.empty((64, columns))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, *row: float) -> None:
        """Add a row; now and then this makes room for as many as there are."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = row
        self._count += 1

    @property
    def columns(self) -> tuple[npt.NDArray[np.float64], ...]:
        """A view of each column, (rows,); to be copied by who keeps it."""
        return tuple(self._rows[: self._count].T)
