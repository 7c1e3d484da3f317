"""What is saved from the screen: which file, when there is something to save, and when it travels."""

import base64
import gzip
import os
import re
from typing import Any

import pytest

from lrwidget.engine.plans.plan import one_cycle
from lrwidget.state import Phase
from lrwidget.ui.views.exports import MOST_BYTES, Exports
from tests.ui.hands import INSTANCES, press, texts_of
from tests.ui.states import NAMES, a_curve, a_history, a_state

PLAN = one_cycle(1e-3, 40, NAMES)


class Saving(Exports):
    def __init__(self, content: bytes | None = b"<content>") -> None:
        self.told: list[Any] = []

        def give(*asked: str) -> bytes | None:
            self.told.append(asked)
            return content

        super().__init__(on_picture=give, on_history=give)


@pytest.fixture
def saving() -> Saving:
    saving = Saving()
    saving.render(a_state(plan=PLAN, curve=a_curve(), history=a_history()))
    return saving


def link_of(saving: Exports) -> tuple[str, str, bytes]:
    """Name, media type and content of the file that is offered."""
    found = re.search(r'download="([^"]+)" href="data:([^;]+);base64,([^"]+)"', texts_of(saving.view))
    assert found is not None, texts_of(saving.view)[:200]
    return found[1], found[2], base64.b64decode(found[3])


@pytest.mark.parametrize("what", ["sweep", "schedule", "run"])
@pytest.mark.parametrize(("kind", "media"), [("png", "image/png"), ("svg", "image/svg+xml")])
def test_a_picture_is_drawn_and_sent_when_it_is_asked_for(saving: Saving, what: str, kind: str, media: str) -> None:
    assert saving.told == [] and texts_of(saving.view) == ""
    saving.what.value, saving.kind.value = what, kind
    press(saving.picture)
    assert saving.told == [(what, kind)]
    assert link_of(saving) == (f"lrwidget-{what}.{kind}", media, b"<content>")


@pytest.mark.parametrize(("kind", "media"), [("csv", "text/csv"), ("json", "application/json")])
def test_the_numbers_of_a_run_likewise(saving: Saving, kind: str, media: str) -> None:
    press({"csv": saving.csv, "json": saving.json}[kind])
    assert saving.told == [(kind,)]
    assert link_of(saving) == (f"lrwidget-history.{kind}", media, b"<content>")


def test_what_cannot_be_given_is_not_offered() -> None:
    saving = Saving(content=None)
    saving.render(a_state(plan=PLAN, history=a_history()))
    press(saving.picture)
    press(saving.csv)
    assert texts_of(saving.view) == ""


def test_only_what_there_is_can_be_saved_and_the_newest_is_chosen() -> None:
    saving = Saving()
    saving.render(a_state())
    assert not saving.view.children
    state = a_state(plan=PLAN)
    saving.render(state)
    assert saving.what.options == ("schedule",) and saving.csv.layout.display == "none"
    state.curve = a_curve()
    saving.render(state)
    assert saving.what.value == "sweep" and saving.csv.layout.display == "none"
    state.history = a_history(steps=0)
    saving.render(state)
    assert "run" not in saving.what.options and saving.csv.layout.display == "none"
    state.history = a_history()
    saving.render(state)
    assert saving.what.value == "run"
    assert saving.csv.layout.display == saving.json.layout.display == ""


def test_what_was_chosen_stays_chosen(saving: Saving) -> None:
    saving.what.value = "schedule"
    saving.render(a_state(plan=one_cycle(2e-3, 40, NAMES), curve=a_curve(), history=a_history(50)))
    assert saving.what.value == "schedule"


def test_a_file_is_offered_until_something_else_is_on_the_screen() -> None:
    saving, state = Saving(), a_state(plan=PLAN)
    saving.render(state)
    press(saving.picture)
    saving.render(state)
    assert "download" in texts_of(saving.view)
    state.plan = one_cycle(2e-3, 40, NAMES)
    saving.render(state)
    assert "download" not in texts_of(saving.view)


def test_a_file_that_is_saved_while_a_run_trains_is_offered_until_it_ends() -> None:
    saving, state = Saving(), a_state(plan=PLAN, phase=Phase.TRAINING, history=a_history(10))
    saving.render(state)
    press(saving.csv)
    state.history = a_history(20)
    saving.render(state)
    assert "download" in texts_of(saving.view)
    state.phase = Phase.IDLE
    saving.render(state)
    assert "download" not in texts_of(saving.view)


def test_a_large_file_travels_packed() -> None:
    content = b"0.1234,0.5678\n" * MOST_BYTES
    saving = Saving(content)
    saving.render(a_state(history=a_history()))
    press(saving.csv)
    name, media, packed = link_of(saving)
    assert (name, media) == ("lrwidget-history.csv.gz", "application/gzip")
    assert len(packed) < MOST_BYTES and gzip.decompress(packed) == content


def test_a_file_that_is_too_large_is_not_sent_and_what_writes_it_is_said() -> None:
    saving = Saving(os.urandom(2 * MOST_BYTES))
    saving.render(a_state(history=a_history()))
    press(saving.json)
    assert "3.0 MB" in texts_of(saving.view) and "w.history.save(...)" in texts_of(saving.view)
    assert "download" not in texts_of(saving.view)


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    for state in (a_state(), a_state(plan=PLAN)):
        view = Saving()
        view.render(state)
        view.close()
    assert set(INSTANCES) == before
