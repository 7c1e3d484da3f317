"""Rows of numbers that come one by one. Needs numpy only."""

from array import array

import numpy as np
import numpy.typing as npt


class Rows:
    """A table that grows by a row at a time; a look at all of it costs no more than the rows since the last look.

    Args:
        columns: numbers in a row.
    """

    def __init__(self, columns: int) -> None:
        self._columns = np.empty((columns, 64))
        self._count = 0
        self._fresh = array("d")  # row by row: numpy would take ten times as long for each

    def __len__(self) -> int:
        return self._count + len(self._fresh) // len(self._columns)

    def append(self, *row: float) -> None:
        """Add a row."""
        self._fresh.extend(row)

    @property
    def columns(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Each column, (rows,), read-only: a view of what is never written again, so that a look copies nothing."""
        if self._fresh:
            self._take_in()
        known = self._columns[:, : self._count]
        known.flags.writeable = False
        return tuple(known)

    def _take_in(self) -> None:
        columns, room = self._columns.shape
        fresh, self._fresh = np.frombuffer(self._fresh).reshape(-1, columns), array("d")
        count = self._count + len(fresh)
        if count > room:
            wider = np.empty((columns, max(count, 2 * room)))
            wider[:, : self._count] = self._columns[:, : self._count]
            self._columns = wider
        self._columns[:, self._count : count] = fresh.T
        self._count = count
