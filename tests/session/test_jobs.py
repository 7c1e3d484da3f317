import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lrwidget.session.jobs import Job, Turn, run_in_thread, run_inline

LAUNCHERS = [pytest.param(run_inline, id="inline"), pytest.param(run_in_thread, id="thread")]


def until_stopped(job: Job[str]) -> str:
    """Work without an end of its own."""
    while not job.should_stop():
        pass
    return "stopped"


def failing(job: Job[Any]) -> None:
    raise ZeroDivisionError("the user's")


@pytest.mark.parametrize("launch", LAUNCHERS)
def test_a_job_gives_what_its_work_returns(launch: Callable[[Job[Any]], None]) -> None:
    job = Job("sweep", lambda job: 42)
    assert job.running
    launch(job)
    assert job.wait(10) == 42
    assert not job.running
    assert job.error is None
    assert repr(job) == "<sweep: done>"


def test_inline_work_is_done_on_the_thread_that_launches() -> None:
    job = Job("sweep", lambda job: threading.current_thread())
    run_inline(job)
    assert job.wait() is threading.current_thread()


def test_threaded_work_is_done_on_a_named_daemon_that_is_gone_afterwards() -> None:
    job = Job("sweep", lambda job: threading.current_thread())
    run_in_thread(job)
    thread = job.wait(10)
    assert (thread.name, thread.daemon) == ("lrwidget sweep", True)
    thread.join(10)
    assert thread not in threading.enumerate()


def test_inline_an_error_is_raised_where_the_job_was_launched() -> None:
    job = Job("sweep", failing)
    with pytest.raises(ZeroDivisionError, match="the user's"):
        run_inline(job)
    assert isinstance(job.error, ZeroDivisionError)
    assert repr(job) == "<sweep: failed>"


def test_on_a_thread_an_error_is_kept_for_whoever_waits() -> None:
    job = Job("sweep", failing)
    run_in_thread(job)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="the user's"):
            job.wait(10)


def test_even_an_exit_in_the_users_code_ends_the_job() -> None:
    def leave(job: Job[Any]) -> None:
        raise SystemExit(3)

    job = Job("sweep", leave)
    run_in_thread(job)
    with pytest.raises(SystemExit):
        job.wait(10)


def test_a_job_ends_when_it_is_asked_to_and_asking_twice_is_no_harm() -> None:
    job = Job("sweep", until_stopped)
    run_in_thread(job)
    assert not job.should_stop()
    job.stop()
    job.stop()
    assert job.wait(10) == "stopped"
    assert not job.interrupted


def test_an_interrupt_may_ask_for_a_stop_while_another_one_is_asking() -> None:
    """Signal handlers run between any two lines of the main thread, those of another handler included."""
    job = Job("sweep", until_stopped)

    def interrupt_at_every_line(frame: Any, event: str, argument: object) -> Any:
        sys.settrace(None)
        job.stop(interrupted=True)
        sys.settrace(interrupt_at_every_line)
        return interrupt_at_every_line

    def asking() -> None:
        sys.settrace(interrupt_at_every_line)
        job.stop()
        sys.settrace(None)

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert job.should_stop()


def test_a_job_that_was_stopped_before_it_began_finds_out_at_once() -> None:
    job = Job("sweep", until_stopped)
    job.stop()
    run_inline(job)
    assert job.wait() == "stopped"


def test_an_interrupt_is_remembered_whatever_else_asks_for_a_stop() -> None:
    job = Job("sweep", until_stopped)
    job.stop(interrupted=True)
    job.stop()
    assert job.interrupted


def test_waiting_has_an_end_and_says_what_is_still_running() -> None:
    job = Job("sweep", until_stopped)
    run_in_thread(job)
    with pytest.raises(TimeoutError, match=r"The sweep was still running after 0\.01 s"):
        job.wait(0.01)
    job.stop()
    job.wait(10)


def test_callbacks_come_in_order_once_the_job_is_over_and_not_before() -> None:
    heard: list[tuple[str, bool]] = []
    job = Job("sweep", lambda job: heard.append(("work", job.running)))
    job.when_over(lambda: heard.append(("first", job.running)))
    job.when_over(lambda: heard.append(("second", job.running)))
    assert heard == []
    run_inline(job)
    assert heard == [("work", True), ("first", False), ("second", False)]


def test_who_asks_after_the_end_is_called_at_once() -> None:
    job = Job("sweep", lambda job: None)
    run_inline(job)
    heard: list[int] = []
    job.when_over(lambda: heard.append(1))
    assert heard == [1]


def test_callbacks_are_called_after_an_error_too() -> None:
    heard: list[int] = []
    job = Job("sweep", failing)
    job.when_over(lambda: heard.append(1))
    with pytest.raises(ZeroDivisionError):
        run_inline(job)
    assert heard == [1]


def test_a_callback_that_fails_is_logged_and_keeps_none_of_the_others_from_being_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[int] = []
    job = Job("sweep", lambda job: None)
    job.when_over(lambda: 1 / 0)
    job.when_over(lambda: heard.append(1))
    with caplog.at_level(logging.ERROR, "lrwidget"):
        run_inline(job)
    assert heard == [1]
    assert "Something that waited for the sweep failed" in caplog.text


def test_callbacks_from_many_threads_are_all_called_once_whenever_the_job_ends() -> None:
    """A cell that starts to wait at the very moment at which the job ends must not wait for ever."""
    for _ in range(30):
        job = Job("sweep", until_stopped)
        called: list[threading.Event] = [threading.Event() for _ in range(8)]
        start = threading.Barrier(len(called) + 1)

        def ask(event: threading.Event, job: Job[str] = job, start: threading.Barrier = start) -> None:
            start.wait()
            job.when_over(event.set)

        askers = [threading.Thread(target=ask, args=(event,)) for event in called]
        for asker in askers:
            asker.start()
        run_in_thread(job)
        start.wait()
        job.stop()
        job.wait(10)
        for asker in askers:
            asker.join(10)
        assert all(event.wait(10) for event in called)


def test_a_job_that_cannot_be_started_is_over_with_the_reason() -> None:
    job = Job("sweep", lambda job: 42)
    heard: list[int] = []
    job.when_over(lambda: heard.append(1))
    assert job.abandon(RuntimeError("can't start new thread"))
    assert heard == [1]
    with pytest.raises(RuntimeError, match="can't start"):
        job.wait()


def test_a_job_that_has_begun_cannot_be_abandoned() -> None:
    job = Job("sweep", until_stopped)
    run_in_thread(job)
    job.stop()
    job.wait(10)
    assert not job.abandon(RuntimeError("too late"))
    assert job.wait() == "stopped"


def test_abandoned_work_is_not_done() -> None:
    done: list[int] = []
    job = Job("sweep", lambda job: done.append(1))
    job.abandon(RuntimeError("no"))
    job.execute()
    assert done == []


def test_only_one_job_has_the_turn_and_the_next_one_after_it() -> None:
    turn = Turn()
    first, second = Job("sweep", until_stopped), Job("run", until_stopped)
    assert turn.take(first) is None
    assert turn.take(second) is first
    turn.give_back(second)
    assert turn.take(second) is first
    turn.give_back(first)
    assert turn.take(second) is None


def test_a_job_does_not_get_the_turn_twice() -> None:
    turn = Turn()
    job = Job("sweep", until_stopped)
    assert turn.take(job) is None
    assert turn.take(job) is job
