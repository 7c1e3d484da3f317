"""State to views: drawn once, soon, at the end for certain, and without harm."""

import logging
import threading
from typing import Any

import pytest

from lrwidget.session.pace import REFRESH_S
from lrwidget.state import LRState, Phase, Progress
from lrwidget.ui.parts.bind import bind
from lrwidget.ui.parts.view import View
from tests.ui.states import a_curve, a_state


class Screen(View):
    """A view that writes down what it was asked to draw."""

    def __init__(self, *watches: str) -> None:
        self.watches = watches  # type: ignore[misc]
        self.drawn: list[tuple[Any, ...]] = []

    def render(self, state: LRState) -> None:
        self.drawn.append(tuple(getattr(state, name) for name in self.watches))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_views_are_drawn_at_once_and_at_every_change() -> None:
    state, screen = a_state(), Screen("message")
    bind(state, [screen])
    state.message = "a"
    state.message = "b"
    assert screen.drawn == [("",), ("a",), ("b",)]


def test_a_view_is_drawn_only_for_what_it_watches() -> None:
    state, screen = a_state(), Screen("title")
    bind(state, [screen])
    state.message = "a"
    assert len(screen.drawn) == 1


def test_traits_can_be_left_out() -> None:
    state, screen = a_state(), Screen("title", "message")
    bind(state, [screen], traits=["title"])
    state.message = "a"
    assert len(screen.drawn) == 1


def test_the_same_values_are_drawn_once_however_many_notifications_there_are() -> None:
    state, screen = a_state(), Screen("title", "message", "error")
    bind(state, [screen])
    with state.hold_trait_notifications():
        state.title, state.message, state.error = "t", "m", "e"
    assert screen.drawn[1:] == [("t", "m", "e")]


def test_a_stream_is_drawn_at_the_pace_of_the_clock() -> None:
    clock = Clock()
    state, screen = a_state(phase=Phase.SWEEPING), Screen("progress")
    bind(state, [screen], refresh_s=0.1, clock=clock)
    for step in range(100):
        clock.now += 0.01
        state.progress = Progress(step=step, total=100)
    assert 9 <= len(screen.drawn) - 1 <= 10


def test_a_view_of_numbers_may_want_them_slower_than_the_others_while_a_job_streams() -> None:
    clock = Clock()
    state, screen, calm = a_state(phase=Phase.SWEEPING), Screen("progress"), Screen("progress", "paused")
    calm.refresh_s = 0.25  # type: ignore[misc]
    bind(state, [screen, calm], refresh_s=0.05, clock=clock)
    for step in range(100):
        clock.now += 0.01
        state.progress = Progress(step=step, total=100)
    assert len(screen.drawn) > 15 and len(calm.drawn) in (4, 5)
    state.paused = True
    assert calm.drawn[-1] == (state.progress, True)
    state.progress = Progress(step=99, total=100)  # what was done before it waited
    assert calm.drawn[-1] == (state.progress, True)
    state.paused = False
    state.progress = Progress(step=100, total=100)
    state.phase = Phase.IDLE
    assert calm.drawn[-1] == (state.progress, False)


def test_what_streams_alone_is_shown_alone_and_all_of_it_when_the_job_is_over() -> None:
    class Streaming(Screen):
        def __init__(self, *watches: str) -> None:
            super().__init__(*watches)
            self.streamed: list[Any] = []

        def stream(self, state: LRState) -> None:
            self.streamed.append(state.curve)

    clock = Clock()
    state, screen = a_state(phase=Phase.SWEEPING), Streaming("curve", "message")
    bind(state, [screen], refresh_s=0.1, clock=clock)
    curves = [a_curve() for _ in range(3)]
    for curve in curves:
        clock.now += 0.2
        state.curve = curve
    assert screen.streamed == curves and len(screen.drawn) == 1
    state.message = "said while it runs"
    assert screen.drawn[1:] == [(curves[-1], "said while it runs")]
    state.phase = Phase.IDLE
    state.curve = last = a_curve()
    assert screen.streamed == curves and screen.drawn[-1] == (last, "said while it runs")


def test_a_curve_that_is_chosen_while_a_run_trains_is_drawn_at_once() -> None:
    state, screen = a_state(phase=Phase.TRAINING), Screen("curve")
    bind(state, [screen], refresh_s=1e9, clock=Clock())
    for curve in (a_curve(), a_curve()):
        state.curve = curve
        assert screen.drawn[-1] == (curve,)


def test_a_view_can_be_drawn_once_more_though_nothing_has_changed() -> None:
    state, screen, other = a_state(), Screen("message"), Screen("message")
    binding = bind(state, [screen, other])
    binding.redraw(screen)
    assert screen.drawn == [("",), ("",)] and other.drawn == [("",)]


def test_all_that_a_session_shows_at_its_own_pace_is_drawn() -> None:
    clock = Clock()
    state, screen = a_state(phase=Phase.SWEEPING), Screen("progress")
    bind(state, [screen], clock=clock)
    for step in range(10):
        clock.now += REFRESH_S
        state.progress = Progress(step=step, total=10)
    assert len(screen.drawn) == 1 + 10


def test_the_end_of_a_job_is_drawn_though_the_pace_would_forbid_it() -> None:
    clock = Clock()
    state, screen = a_state(phase=Phase.SWEEPING), Screen("curve")
    bind(state, [screen], refresh_s=0.1, clock=clock)
    last = a_curve()
    state.curve = last
    assert len(screen.drawn) == 1  # within the pause after the first drawing
    state.phase = Phase.IDLE
    assert screen.drawn[-1] == (last,)


def test_when_no_job_runs_nothing_waits() -> None:
    state, screen = a_state(), Screen("curve")
    bind(state, [screen], refresh_s=1e9, clock=Clock())
    last = a_curve()
    state.curve = last
    assert screen.drawn[-1] == (last,)


def test_a_pick_is_drawn_at_once_while_a_job_streams() -> None:
    state, screen = a_state(phase=Phase.SWEEPING), Screen("lrs", "curve")
    bind(state, [screen], refresh_s=1e9, clock=Clock())
    for lr in (1e-3, 2e-3, 3e-3):
        state.lrs = (lr, lr, lr)
    assert screen.drawn[-1][0] == (3e-3, 3e-3, 3e-3)


def test_a_view_that_raises_harms_neither_who_assigned_nor_the_other_views(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Screen):
        def render(self, state: LRState) -> None:
            raise RuntimeError("no ink")

    told: list[Exception] = []
    state, screen = a_state(), Screen("message")
    with caplog.at_level(logging.ERROR):
        bind(state, [Broken("message"), screen], on_error=told.append)
        state.message = "a"
        state.message = "b"
    assert screen.drawn[-1] == ("b",)
    assert [str(error) for error in told] == ["no ink"]  # once, not at every change
    assert sum("cannot draw" in record.message for record in caplog.records) == 1


def test_an_error_may_be_put_into_the_state() -> None:
    class Broken(Screen):
        def render(self, state: LRState) -> None:
            raise RuntimeError("no ink")

    state, screen = a_state(), Screen("error")
    bind(state, [Broken("message"), screen], on_error=lambda error: setattr(state, "error", str(error)))
    assert screen.drawn[-1] == ("no ink",)


def test_after_close_nothing_is_drawn_and_nothing_is_observed() -> None:
    state, screen = a_state(), Screen("message", "phase")
    before = {name: list(found) for name, found in state._trait_notifiers.items()}
    binding = bind(state, [screen])
    binding.close()
    binding.close()
    state.message = "a"
    assert len(screen.drawn) == 1
    assert {name: found.get("change", []) for name, found in state._trait_notifiers.items() if found.get("change")} == {
        name: found for name, found in before.items() if found
    }


def test_views_are_never_drawn_by_two_threads_at_once() -> None:
    busy = threading.Lock()
    overlaps = []

    class Slow(Screen):
        def render(self, state: LRState) -> None:
            overlaps.append(not busy.acquire(blocking=False))
            threading.Event().wait(0.001)
            if not overlaps[-1]:
                busy.release()

    state = a_state()
    bind(state, [Slow("message", "title")])
    threads = [
        threading.Thread(target=lambda name=name: [setattr(state, name, str(i)) for i in range(30)])
        for name in ("message", "title")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(overlaps) > 30 and not any(overlaps)
