"""Claims about a page that may hold a moment later: what it shows comes in several messages and is drawn by frames."""

from collections.abc import Callable
from time import monotonic

SECONDS = 20.0
"""How long a page may take, on a machine that does other things as well; what passes is not slower for it."""


def eventually(claim: Callable[[], None]) -> None:
    """Repeat a claim, which asserts and asks the page anew each time, until it holds."""
    deadline = monotonic() + SECONDS
    while True:
        try:
            return claim()
        except AssertionError:
            if monotonic() > deadline:
                raise
