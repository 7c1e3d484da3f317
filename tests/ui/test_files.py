"""The content of what is saved from the screen."""

import csv
import io
import json

import pytest

from lrwidget.engine.plans.plan import one_cycle
from lrwidget.ui.files import history_file, picture_file
from tests.ui.states import NAMES, a_curve, a_history, a_state

HISTORY = a_history(epochs=2)
STATE = a_state(plan=one_cycle(1e-3, 40, NAMES), curve=a_curve(), history=HISTORY)
BEGINS = {"png": b"\x89PNG", "svg": b"<?xml"}


@pytest.mark.parametrize("kind", BEGINS)
def test_each_picture_is_another_and_of_the_kind_asked_for(kind: str) -> None:
    pictures = [picture_file(STATE, what, kind) for what in ("sweep", "schedule", "run")]
    assert all(picture is not None and picture.startswith(BEGINS[kind]) for picture in pictures)
    assert len(set(pictures)) == 3


@pytest.mark.parametrize("what", ["sweep", "schedule", "run"])
def test_there_is_no_picture_of_what_is_not_there(what: str) -> None:
    assert picture_file(a_state(), what, "png") is None


def test_the_numbers_of_a_run_have_every_step() -> None:
    rows = list(csv.DictReader(io.StringIO((history_file(STATE, "csv") or b"").decode())))
    assert [float(row["loss"]) for row in rows] == HISTORY.losses.tolist()
    record = json.loads(history_file(STATE, "json") or b"")
    assert record["history"]["losses"] == HISTORY.losses.tolist()
    assert history_file(a_state(), "csv") is None
