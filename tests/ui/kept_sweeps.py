"""Sweeps that are over and stay on the screen."""

from typing import Any

from lrwidget.state import KeptSweep
from tests.ui.states import a_curve


def kept(*names: str, **extras: Any) -> tuple[KeptSweep, ...]:
    """A kept sweep for each name, each with a curve of its own; `extras` as `a_curve` takes them."""
    curves = [a_curve(**extras) for _ in names]
    return tuple(
        KeptSweep(name=name, curve=curve, advice=curve.suggest()) for name, curve in zip(names, curves, strict=True)
    )
