"""What every test shares: cheap tests first, a `gpu` test only where there is a GPU, the same draws at every run."""

import os
from collections import Counter

import pytest
from hypothesis import settings

# A failure must be about the code that changed, not about a number nobody drew before. DRAWS=random goes looking.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("DRAWS", "same"))

# A failure in the engine should be seen before a minute is spent in a browser. The browser comes last for a second
# reason: Playwright keeps an event loop running in the main thread until the session ends.
COST = ("kernel", "notebook", "browser")


def cost(item: pytest.Item) -> int:
    """The rank of a test's most expensive marker; 0 for a plain test."""
    return max((rank for rank, marker in enumerate(COST, start=1) if item.get_closest_marker(marker)), default=0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.parent.name
        if folder in COST:
            item.add_marker(folder)  # tests/kernel and tests/browser mark themselves
    # Of the expensive files the long ones first: two that run side by side then end at about the same time.
    length = Counter(item.path for item in items)
    items.sort(key=lambda item: (cost(item), -length[item.path] if cost(item) else 0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")
