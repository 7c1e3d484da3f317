"""What shows a part of the state."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from lrwidget.state import LRState

STREAMED = {"sweeping": ("curve", "progress"), "training": ("history", "progress")}
"""By the phase that the state is in, traits that change with every few steps of its job."""
CALM_S = 0.45
"""Seconds between two changes of what is only read, two a second on the session's beat: nobody reads ten, and each
draws the page once more."""


class View(ABC):
    """What shows a part of the state; `bind` says when.

    Neither method may call the session back: they may run while the session assigns.

    Attributes:
        watches: traits of the state that it shows.
        refresh_s: seconds that it wants between two redraws while a job streams, such as `CALM_S`; default 0, as soon
            as there is something new.
    """

    watches: ClassVar[tuple[str, ...]] = ()
    refresh_s: ClassVar[float] = 0.0

    @abstractmethod
    def render(self, state: "LRState") -> None:
        """Show the state."""

    def stream(self, state: "LRState") -> None:
        """Show what a running job streams; all else is as it was when it was last rendered."""
        self.render(state)
