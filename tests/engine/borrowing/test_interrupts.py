"""Ctrl-C at any moment: the work ends, the giving back does not, and the interpreter's own handler is there again."""

import ast
import functools
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lrwidget.engine
from lrwidget.engine.borrowing.interrupts import InterruptShield
from lrwidget.engine.borrowing.preserve import preserved
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.fit import Run
from lrwidget.engine.sweeps.sweep import Sweep, SweepConfig
from tests.engine.oracle import changes, of_everything
from tests.engine.zoo import Wild, adam, classification, net, train

ENGINE = str(Path(lrwidget.engine.__file__).parent)


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    """Python's handler before, and again afterwards."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    yield
    left, _ = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGINT, signal.default_int_handler)
    assert left is signal.default_int_handler


@pytest.fixture(autouse=True)
def nobody_hears_of_collections() -> Iterator[None]:
    """Hypothesis, once at work in this process, times them in a callback: an interrupt that falls into it is lost."""
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks


def press(signum: int = signal.SIGINT) -> None:
    signal.raise_signal(signum)


class AlarmError(Exception):
    """What a handler of the user's raises."""


@contextmanager
def handled(signum: int, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """A handler of the user's, which must be there again afterwards."""
    before = signal.signal(signum, handler)
    try:
        yield
        assert signal.getsignal(signum) is handler
    finally:
        signal.signal(signum, before)


def sound(signum: int, frame: FrameType | None) -> None:
    raise AlarmError


def leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(signum)


# The shield -----------------------------------------------------------------------------------------------------------


def test_a_ctrl_c_in_the_open_is_raised_at_once_and_so_is_the_next() -> None:
    with InterruptShield():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                press()


def test_a_ctrl_c_in_a_guarded_function_waits_until_the_shield_is_lifted() -> None:
    done = []

    def guarded() -> None:
        press()
        press()
        done.append(True)

    with pytest.raises(KeyboardInterrupt), InterruptShield(guarded):
        guarded()
        done.append(False)
    assert done == [True, False]


def test_a_ctrl_c_below_a_guarded_function_waits_too() -> None:
    def inner() -> None:
        press()

    def guarded() -> None:
        inner()

    with pytest.raises(KeyboardInterrupt), InterruptShield(guarded) as shield:
        guarded()
        assert shield.pending


def test_a_ctrl_c_that_waited_gives_way_to_the_exception_on_its_way() -> None:
    def guarded() -> None:
        press()

    with pytest.raises(ZeroDivisionError), InterruptShield(guarded):
        guarded()
        raise ZeroDivisionError


def test_a_handler_of_the_users_is_called_and_may_return() -> None:
    calls: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    with InterruptShield():
        press()
        press()
    assert len(calls) == 2
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_that_raises_waits_with_its_signal_until_the_shield_is_lifted() -> None:
    done = []

    def guarded() -> None:
        press(signal.SIGTERM)
        done.append(True)

    with handled(signal.SIGTERM, leave):
        with pytest.raises(SystemExit), InterruptShield(guarded):
            guarded()
            done.append(False)
    assert done == [True, False]


def test_every_signal_that_waited_is_delivered_once_even_when_an_exception_is_on_its_way() -> None:
    calls: list[int] = []

    def guarded() -> None:
        for signum in (signal.SIGUSR1, signal.SIGALRM, signal.SIGUSR2, signal.SIGUSR1):
            press(signum)

    def note(signum: int, frame: FrameType | None) -> None:
        calls.append(signum)

    with handled(signal.SIGUSR1, note), handled(signal.SIGUSR2, note), handled(signal.SIGALRM, sound):
        with pytest.raises(AlarmError), InterruptShield(guarded):
            guarded()
            raise ZeroDivisionError
    assert calls == [signal.SIGUSR1, signal.SIGUSR2]


def test_a_signal_that_waited_comes_to_the_code_around_the_shield() -> None:
    seen: list[str | None] = []

    def guarded() -> None:
        press(signal.SIGUSR1)

    def look(signum: int, frame: FrameType | None) -> None:
        seen.append(frame and frame.f_code.co_name)

    with handled(signal.SIGUSR1, look), InterruptShield(guarded), InterruptShield(guarded):
        guarded()
        seen.append("still inside")
    test = "test_a_signal_that_waited_comes_to_the_code_around_the_shield"
    assert seen == ["still inside", test]


def test_a_signal_without_a_handler_in_python_is_left_alone() -> None:
    before = {signum: signal.getsignal(signum) for signum in signal.valid_signals()}
    with InterruptShield():
        changed = {signum for signum, handler in before.items() if signal.getsignal(signum) != handler}
    assert changed == {signum for signum, handler in before.items() if callable(handler)} - {signal.SIG_DFL}
    assert before == {signum: signal.getsignal(signum) for signum in signal.valid_signals()}


def test_a_handler_set_inside_stays() -> None:
    def theirs(number: int, frame: FrameType | None) -> None:
        pass

    with InterruptShield():
        signal.signal(signal.SIGINT, theirs)
    assert signal.getsignal(signal.SIGINT) is theirs
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(handler: signal.Handlers) -> None:
    signal.signal(signal.SIGINT, handler)
    with InterruptShield():
        assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_on_another_thread_there_is_nothing_to_shield() -> None:
    seen: list[Any] = []

    def work() -> None:
        with InterruptShield():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_shields_within_shields_unwind_in_order() -> None:
    model = nn.Linear(2, 2)
    before = of_everything(model)
    with pytest.raises(KeyboardInterrupt), preserved(model), preserved(model.weight):
        nn.init.zeros_(model.weight)
        press()
    assert not changes(before, of_everything(model))


# During the giving back -----------------------------------------------------------------------------------------------


class Pressing:
    """An object whose state cannot be read or written without Ctrl-C being pressed."""

    def __init__(self) -> None:
        self.generator = _PressingRandom(3)


class _PressingRandom(__import__("random").Random):  # type: ignore[misc]
    def setstate(self, state: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        press()
        super().setstate(state)


def test_ctrl_c_twice_while_giving_back_is_raised_after_it() -> None:
    model = net()
    model.pressing = Pressing()  # type: ignore[assignment]
    before = of_everything(model)
    finished: list[bool] = []
    with pytest.raises(KeyboardInterrupt), preserved(model):
        model(torch.randn(4, 6))
        nn.init.zeros_(model[0].weight)
        finished.append(True)
    assert finished
    assert not changes(before, of_everything(model))


def test_ctrl_c_during_the_sweep_and_again_while_giving_back() -> None:
    model = Wild()
    model.pressing = Pressing()  # type: ignore[assignment]
    optimizer = adam(model)
    before = of_everything(model, optimizer)
    sweep = Sweep(Loop(model, optimizer, [classification()], F.cross_entropy), SweepConfig(num_steps=9))
    with pytest.raises(KeyboardInterrupt):
        sweep.run(on_point=lambda point: press() if point.step == 3 else None)
    assert not changes(before, of_everything(model, optimizer))
    assert len(sweep.curve()) == 4


def test_a_ctrl_c_that_the_users_code_swallowed_does_not_make_the_next_one_deaf() -> None:
    model = net()

    def swallow(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        try:
            press()
        except KeyboardInterrupt:
            pass
        return F.cross_entropy(output, target)

    sweep = Sweep(Loop(model, adam(model), [classification()], swallow), SweepConfig(num_steps=9))
    with pytest.raises(KeyboardInterrupt):
        sweep.run(on_point=lambda point: press() if point.step == 3 else None)
    assert len(sweep.curve()) == 4


# At any moment --------------------------------------------------------------------------------------------------------


@functools.cache
def never_interrupted(filename: str) -> frozenset[int]:
    """The lines of a file at which Python itself never looks for signals, although a tracer could raise there.

    That is the way out of a `with` block, up to the call of `__exit__`, the way into a `try`, and the way out of it
    into its `finally` or `except`, up to the first call there.
    """
    lines: set[int] = set()
    for node in ast.walk(ast.parse(Path(filename).read_text(encoding="utf-8"))):
        if isinstance(node, ast.With):
            lines.update(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.Try):
            lines.add(node.lineno)
            lines.update(statement.lineno for statement in node.finalbody[:1])
        if isinstance(node, ast.ExceptHandler):
            lines.update((node.lineno, node.body[0].lineno))
    return frozenset(lines)


@contextmanager
def pressing_at(when: frozenset[int], counted: list[int], signum: int = signal.SIGINT) -> Iterator[None]:
    """Press Ctrl-C, or send another signal, before the lines and calls of the engine that have these numbers."""
    counted[:] = [0]

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        code = frame.f_code
        # What is raised while Python closes a generator expression is lost, there as everywhere.
        if not code.co_filename.startswith(ENGINE) or code.co_name == "<genexpr>":
            return None
        if event not in ("call", "line") or (event == "line" and frame.f_lineno in never_interrupted(code.co_filename)):
            return trace
        number, counted[0] = counted[0], counted[0] + 1
        if number in when:
            press(signum)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def small() -> tuple[nn.Module, torch.optim.Optimizer, list[Any]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = [classification(8)]
    train(model, optimizer, batches, 1)
    return model, optimizer, batches


def sweep_small(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Any]) -> None:
    Sweep(Loop(model, optimizer, batches, F.cross_entropy), SweepConfig(num_steps=2)).run()


def events(work: Callable[[], object]) -> int:
    """How many moments there are; a few less than this, since what is cached need not be done again."""
    work()
    counted: list[int] = []
    with pressing_at(frozenset(), counted):
        work()
    return counted[0] - 5


def test_ctrl_c_at_any_line_of_a_sweep_gives_everything_back() -> None:
    model, optimizer, batches = small()
    total = events(lambda: sweep_small(model, optimizer, batches))
    before = of_everything(model, optimizer)
    for first in range(0, total, 23):
        counted: list[int] = []
        try:
            with pressing_at(frozenset({first}), counted):
                sweep_small(model, optimizer, batches)
            # What is cached by now may have made the sweep shorter than when its moments were counted.
            assert counted[0] <= first, "a Ctrl-C was lost"
        except KeyboardInterrupt:
            pass
        assert not changes(before, of_everything(model, optimizer)), first
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, first
    sweep_small(model, optimizer, batches)  # nothing is left claimed


@pytest.mark.parametrize(("signum", "handler"), [(signal.SIGALRM, sound), (signal.SIGTERM, leave)])
def test_a_handler_that_raises_at_any_line_of_a_sweep_gives_everything_back(
    signum: int, handler: Callable[[int, FrameType | None], object]
) -> None:
    model, optimizer, batches = small()
    total = events(lambda: sweep_small(model, optimizer, batches))
    before = of_everything(model, optimizer)
    for first in range(7, total, 53):
        counted: list[int] = []
        try:
            with handled(signum, handler), pressing_at(frozenset({first}), counted, signum):
                sweep_small(model, optimizer, batches)
            assert counted[0] <= first, "a signal was lost"
        except (AlarmError, SystemExit):
            pass
        assert not changes(before, of_everything(model, optimizer)), first
    sweep_small(model, optimizer, batches)


def test_alarms_of_the_clock_give_everything_back() -> None:
    model, optimizer, batches = small()
    before = of_everything(model, optimizer)
    rang = 0
    with handled(signal.SIGALRM, sound):
        for moment in range(60):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 * (moment + 1))
                sweep_small(model, optimizer, batches)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except AlarmError:
                rang += 1
            assert not changes(before, of_everything(model, optimizer)), moment
    assert rang
    sweep_small(model, optimizer, batches)


def test_ctrl_c_twice_in_quick_succession_gives_everything_back() -> None:
    model, optimizer, batches = small()
    total = events(lambda: sweep_small(model, optimizer, batches))
    before = of_everything(model, optimizer)
    for first in range(3, total, 131):
        for second in (1, 3, 10, 30, 90):
            counted: list[int] = []
            try:
                with pressing_at(frozenset({first, first + second}), counted):
                    sweep_small(model, optimizer, batches)
                # What has been cached since the moments were counted has made the sweep shorter.
                assert counted[0] <= first, "a Ctrl-C was lost"
            except KeyboardInterrupt:
                pass
            assert not changes(before, of_everything(model, optimizer)), (first, second)
    sweep_small(model, optimizer, batches)


def test_ctrl_c_at_any_line_of_a_run_leaves_its_lrs_and_freezing_behind() -> None:
    model, optimizer, batches = small()
    plan = one_cycle(0.01, 2, optimizer)
    wants = [p.requires_grad for p in model.parameters()]

    def run() -> None:
        Run(Loop(model, optimizer, batches, F.cross_entropy, valid_dl=batches), plan).run()

    for first in range(0, events(run), 19):
        counted: list[int] = []
        try:
            with pressing_at(frozenset({first}), counted):
                run()
            # Statistics that stand still by now have made the run shorter than when its moments were counted.
            assert counted[0] <= first, "a Ctrl-C was lost"
        except KeyboardInterrupt:
            pass
        assert [group["lr"] for group in optimizer.param_groups] == [0.1], first
        assert [p.requires_grad for p in model.parameters()] == wants, first
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, first
    run()
