"""The state of one widget as any thread may write to it, a running job's as well."""

import logging
import threading
from typing import Any

from lrwidget.state import LRState

Changes = dict[str, Any]
"""Names of the state's traits and their new values."""

WATCHER_FAILED = "Something that watches the state failed; the job goes on."

log = logging.getLogger(__name__)


class Screen:
    """Writes to a state, several traits at once.

    Args:
        state: what the screen shows.

    Attributes:
        lock: held while the state is read and assigned, never while a job runs: traitlets knows nothing of threads.
    """

    def __init__(self, state: LRState) -> None:
        self.state = state
        self.lock = threading.RLock()

    def show(self, **changes: Any) -> None:
        """Assign to the state; what goes wrong where it is watched from is no reason to end a job."""
        try:
            with self.lock, self.state.hold_trait_notifications():
                for name, value in changes.items():
                    setattr(self.state, name, value)
        except Exception:
            log.exception(WATCHER_FAILED)
