"""A sweep and a run as the screen shows them: as they begin, by the clock while they go on, and as they end."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from lrwidget.engine.runs.history import EpochPoint, History
from lrwidget.engine.runs.run import Run, RunPoint
from lrwidget.engine.sweeps.curve import LossCurve, StopReason
from lrwidget.engine.sweeps.suggest import Advice
from lrwidget.engine.sweeps.sweep import Sweep, SweepPoint
from lrwidget.engine.words import format_lr
from lrwidget.session.jobs import Job
from lrwidget.session.messages import AS_BEFORE, failed, failure, sentence, summary
from lrwidget.session.pace import Pace
from lrwidget.session.screen import Changes
from lrwidget.state import Phase, Progress

T = TypeVar("T")

Show = Callable[..., object]
"""Called as `show(**changes)`."""

Clock = Callable[[], float]
"""Seconds, monotonic."""


class OnScreen(Protocol[T]):
    """Work that is shown, whichever it is."""

    name: str

    def begins(self) -> Changes:
        """What is shown of it from its start."""
        ...

    def work(self, job: Job[T], show: Show, clock: Clock) -> T:
        """Do it, and show how far it is; Ctrl-C ends it as if Stop had been pressed, with what it has."""
        ...

    def ended(self, result: T) -> Changes:
        """What is shown of its result."""
        ...

    def failed(self, error: BaseException) -> Changes:
        """What is shown when an exception has ended it."""
        ...


def shown_whole_in_pauses(job: Job[Any], show: Show, seen: Callable[[], Changes]) -> Callable[[], bool]:
    """Whether a job is to stop, as it asks at every step; before it waits, all of its steps until then are shown."""

    def should_stop() -> bool:
        if job.pausing:
            show(**seen())
        return job.should_stop()

    return should_stop


class SweepOnScreen:
    """A sweep, shown as its curve.

    Args:
        sweep: not begun.
        keep: what is shown of a finished one besides: that it is kept.
    """

    name = "sweep"

    def __init__(self, sweep: Sweep, keep: Callable[[LossCurve, Advice], Changes]) -> None:
        self._sweep = sweep
        self._keep = keep

    def begins(self) -> Changes:
        """No curve yet, and where it will go."""
        config = self._sweep.config
        return {
            "config": config,
            "curve": None,
            "advice": None,
            "chosen": None,
            "failed": False,
            "error": "",
            "sweep_message": "",
            "message": f"Sweeping from {format_lr(config.start_lr)} to {format_lr(config.end_lr)}.",
            "phase": Phase.SWEEPING,
            "progress": Progress(step=0, total=config.num_steps),
        }

    def work(self, job: Job[LossCurve], show: Show, clock: Clock) -> LossCurve:
        """Sweep."""
        sweep = self._sweep
        pace = Pace(sweep.config.num_steps, clock, job)
        last: SweepPoint | None = None

        def seen() -> Changes:
            if last is None:
                return {}
            return {"curve": sweep.curve(), "progress": pace.progress(last.step + 1, last.smoothed, last.lr)}

        def show_point(point: SweepPoint) -> None:
            nonlocal last
            last = point
            if pace.due():
                show(**seen())
                pace.shown()

        try:
            curve = sweep.run(shown_whole_in_pauses(job, show, seen), show_point)
        except KeyboardInterrupt:
            curve = sweep.curve()
        if job.interrupted and curve.stop_reason is StopReason.STOPPED:
            return replace(curve, stop_reason=StopReason.INTERRUPTED)
        return curve

    def ended(self, result: LossCurve) -> Changes:
        """The curve, its advice and how it ended."""
        said, advice = f"{result.note} {AS_BEFORE}", result.suggest()
        kept = self._keep(result, advice)
        return {"curve": result, "sweep_message": said, "message": said, "failed": False, "advice": advice, **kept}

    def failed(self, error: BaseException) -> Changes:
        """The points before the error."""
        curve, said = self._sweep.curve(), sentence(failure(error).partition("\n")[0])
        return {"curve": curve, "sweep_message": f"{curve.note} {said} {AS_BEFORE}", **failed(error)}


class RunOnScreen:
    """A run, shown as its history.

    Args:
        run: not begun.
        on_step: the user's own, called after every step.
        on_epoch: the user's own, called after every epoch.
    """

    name = "run"

    def __init__(
        self, run: Run, on_step: Callable[[RunPoint], object], on_epoch: Callable[[EpochPoint], object]
    ) -> None:
        self._run = run
        self._on_step = on_step
        self._on_epoch = on_epoch

    def begins(self) -> Changes:
        """Its plan, and a history of nothing."""
        plan = self._run.plan
        return {
            "plan": plan,
            "history": self._run.history(),
            "keeps_best": self._run.keeps_best,
            "failed": False,
            "error": "",
            "run_message": "",
            "message": f"Training for {plan.total_steps} steps.",
            "phase": Phase.TRAINING,
            "progress": Progress(step=0, total=plan.total_steps),
        }

    def work(self, job: Job[History], show: Show, clock: Clock) -> History:
        """Train."""
        run = self._run
        pace = Pace(run.plan.total_steps, clock, job)
        last: RunPoint | None = None

        def seen() -> Changes:
            if last is None:  # a run that goes on validates before its first step
                return {}
            history = run.history()
            smoothed = float(history.smoothed[-1])
            return {"history": history, "progress": pace.progress(last.step + 1, smoothed, max(last.lrs))}

        def show_point(point: RunPoint) -> None:
            nonlocal last
            last = point
            if pace.due():
                show(**seen())
                pace.shown()
            self._on_step(point)

        def show_validation() -> None:
            # All steps until now, at once: it may take long, and no step comes that would show them.
            show(**seen(), validating=True)

        def show_epoch(epoch: EpochPoint) -> None:
            if epoch.valid_loss is not None:
                show(validating=False)
            self._on_epoch(epoch)

        try:
            return run.run(shown_whole_in_pauses(job, show, seen), show_point, show_epoch, show_validation)
        except KeyboardInterrupt:
            return run.history()

    def ended(self, result: History) -> Changes:
        """All of it, and what it came to."""
        said = summary(result, keeps_best=self._run.keeps_best)
        return {"history": result, "run_message": said, "message": said, "failed": False}

    def failed(self, error: BaseException) -> Changes:
        """The steps before the error."""
        history = self._run.history()
        return {"history": history, "run_message": summary(history, keeps_best=self._run.keeps_best), **failed(error)}
