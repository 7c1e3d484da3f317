"""The sweeps that stay on the screen."""

from typing import Any

import pytest

from lrwidget.engine.errors import InputError
from lrwidget.session.kept_sweeps import LONGEST_NAME, MOST_KEPT, KeptSweeps
from lrwidget.state import KeptSweep
from tests.ui.states import a_curve, an_advice


def a_sweep(name: str) -> KeptSweep:
    return KeptSweep(name=name, curve=a_curve(5), advice=an_advice(steepest=1e-3))


def of(names: str, chosen: int | None = None) -> KeptSweeps:
    return KeptSweeps(tuple(map(a_sweep, names)), chosen)


def names(kept: KeptSweeps) -> str:
    return "".join(sweep.name for sweep in kept.sweeps)


def test_a_new_one_is_chosen_and_the_oldest_makes_room() -> None:
    kept = KeptSweeps()
    assert kept.shown is None
    for number in range(MOST_KEPT + 2):
        kept = kept.with_new(a_sweep(chr(ord("a") + number)))
        assert kept.shown is kept.sweeps[-1]
    assert len(kept.sweeps) == MOST_KEPT and names(kept)[0] == "c"


@pytest.mark.parametrize(
    ("chosen", "removed", "left", "then"),
    [
        (0, 0, "bc", 1),
        (1, 1, "ac", 1),
        (2, 2, "ab", 1),
        (2, 0, "bc", 1),
        (0, 2, "ab", 0),
        (None, 1, "ac", None),
    ],
)
def test_the_chosen_one_stays_chosen_and_when_it_goes_the_last_is(
    chosen: int | None, removed: int, left: str, then: int | None
) -> None:
    before = of("abc", chosen)
    kept = before.without(removed)
    assert (names(kept), kept.chosen) == (left, then)
    assert names(before) == "abc", "an immutable value"
    if chosen not in (None, removed):
        assert kept.shown is before.shown


def test_without_the_only_one_none_is_chosen() -> None:
    assert of("a", 0).without(0) == KeptSweeps()


def test_a_name_is_a_text_that_fits_its_row() -> None:
    kept = of("ab", 1).renamed(0, "  small batches ")
    assert [sweep.name for sweep in kept.sweeps] == ["small batches", "b"] and kept.chosen == 1
    assert len(kept.renamed(0, "x" * 500).sweeps[0].name) == LONGEST_NAME
    bad: Any
    for bad in ("", "  ", None, 5):
        with pytest.raises(InputError, match=r"Got .* as a name; expected a text"):
            kept.renamed(0, bad)


@pytest.mark.parametrize("index", [-1, 2])
def test_one_that_is_not_there_is_an_error(index: int) -> None:
    kept = of("ab", 0)
    for do in (kept.choosing, kept.without, lambda i: kept.renamed(i, "a")):
        with pytest.raises(InputError, match=f"Got sweep {index}; expected one of the 2 kept, counted from 0"):
            do(index)
