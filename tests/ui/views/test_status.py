"""What is said, and that none of it is taken for HTML."""

import pytest

from lrwidget.ui.parts.note import WARNING
from lrwidget.ui.parts.palette import UNSEEN
from lrwidget.ui.views.status import StatusLine
from tests.ui.hands import INSTANCES
from tests.ui.states import a_state


def test_the_message_is_announced_and_escaped() -> None:
    line = StatusLine()
    line.render(a_state(message="Got <b>; stop."))
    assert "role='status'" in line.view.value and "&lt;b&gt;" in line.view.value
    assert "<pre" not in line.view.value


def test_the_users_traceback_is_shown_as_it_is() -> None:
    line = StatusLine()
    line.render(a_state(message="ValueError", error='File "<stdin>", line 1\n    x < y'))
    assert "role='alert'" in line.view.value
    assert "&lt;stdin&gt;" in line.view.value and "    x &lt; y" in line.view.value


def test_an_error_is_told_in_red_with_its_notes_and_its_traceback_folded_away() -> None:
    line = StatusLine()
    line.render(a_state(failed=True, message="TypeError: no <x>\nlrwidget read the batch as y", error="one\ntwo"))
    head, _, rest = line.view.value.partition("lrwidget read the batch as y")
    assert WARNING in head and "role='alert'" in head and "<b>TypeError: no &lt;x&gt;</b>" in head
    assert "<pre" not in head
    assert rest.index("<details>") < rest.index("one\ntwo") < rest.index("</details>")


def test_an_error_of_one_line_is_not_folded() -> None:
    line = StatusLine()
    line.render(a_state(error="A part could not be drawn."))
    assert "<details>" not in line.view.value and "A part could not be drawn." in line.view.value


def test_a_refused_request_is_red_without_a_traceback_and_the_next_message_is_not() -> None:
    line = StatusLine()
    line.render(a_state(failed=True, message="Got that; expected this."))
    assert WARNING in line.view.value and "<details>" not in line.view.value
    line.render(a_state(message="Sweeping."))
    assert WARNING not in line.view.value and "role='status'" in line.view.value


@pytest.mark.parametrize("where", ["sweep_message", "run_message"])
def test_what_stands_below_a_chart_is_not_seen_twice_but_announced(where: str) -> None:
    line = StatusLine()
    line.render(a_state(message="It ended."))
    assert UNSEEN not in line.view.value
    line.render(a_state(message="It ended.", **{where: "It ended."}))
    assert UNSEEN in line.view.value and "role='status'" in line.view.value and "It ended." in line.view.value


def test_closing_leaves_no_widget_behind() -> None:
    before = set(INSTANCES)
    view = StatusLine()
    view.render(a_state())
    view.close()
    assert set(INSTANCES) == before
