"""Kernels of both generations, as fixtures."""

from collections.abc import Iterator

import pytest

from tests.kernel.kernels import Kernel

GENERATIONS = [pytest.param(7, id="ipykernel7"), pytest.param(6, id="ipykernel6")]


@pytest.fixture(params=GENERATIONS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel of each generation, fresh for every test: for a test that leaves something behind."""
    with Kernel(request.param, tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel


@pytest.fixture(params=GENERATIONS, scope="module")
def shared_kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel of each generation, shared by a module's tests: saves each of them the seconds of importing torch."""
    with Kernel(request.param, tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel
