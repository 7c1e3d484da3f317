"""The learning-rate range test: every group's LR grows by one common factor while the loss is watched.

Leslie N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3; with the exponential ramp
that fast.ai made common.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import distributed

from lrwidget.engine.borrowing.claims import claimed
from lrwidget.engine.borrowing.interrupts import expect_workers
from lrwidget.engine.borrowing.preserve import preserved
from lrwidget.engine.errors import InputError, LossError, known_options
from lrwidget.engine.loops.batches import Batches, RanDryError
from lrwidget.engine.loops.gradients import gradient_shares
from lrwidget.engine.loops.groups import lr_ratios
from lrwidget.engine.loops.late import LAG, LateLosses
from lrwidget.engine.loops.loop import Loop, training_mode
from lrwidget.engine.loops.protocols import Loader, LossFn, LossStep, OptimizerLike, TrainStep
from lrwidget.engine.loops.step import Amp, EngineStep, UserStep
from lrwidget.engine.plain import is_count, is_number, plain
from lrwidget.engine.sweeps.curve import LossCurve, StopReason
from lrwidget.engine.sweeps.rows import Rows
from lrwidget.engine.sweeps.tracker import DIVERGE_RATIO, LossTracker, beta_for

MAX_SKIPPED = 50
"""Steps in a row that the gradient scaler may skip: its scale halves at each, so 2**16 is used up long before."""

FIRST_LOSS = """Got a loss of {loss} at the first step, at lr {lr:.1e}; expected a finite number from the model as it
is. Look for NaN or inf in the batch and in the weights (torch.isfinite(x).all()), and for a log or a division in the
loss that meets zero."""

OVERFLOW = """Got {steps} steps in a row that the gradient scaler skipped; expected it to find a scale at which fp16
gradients are finite. Use amp="bf16", or look for NaN in the batches."""
LEAST_APART = 1e-12
"""Of an LR: the least difference to the next one, some thousand times what rounding changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """What a sweep does.

    Attributes:
        start_lr: LR of the fastest group at the first step, above 0; default 1e-7, too small to change anything.
        end_lr: its LR at the last step, above `start_lr`; default 10, where almost every model diverges.
        num_steps: optimizer steps, 2 or more; default 100, 12.5 per decade over the default range.
        mode: "exp" for LRs at equal ratios, `start·(end/start)^(i/(N−1))`, which gives every decade the same number
            of points; "linear" for equal differences (Smith 2017), which spends nearly all of them on the top decade.
        smoothing: memory of the live average as a share of the sweep, 0 to below 1; default 0.1. A share, because
            then the curve lags by the same part of the range however long the sweep is.
        diverge_ratio: the sweep stops when the smoothed loss has risen above its best by this many times its fall so
            far; see `LossTracker`. None never stops for that; a loss that is not finite always ends a sweep.
    """

    start_lr: float = 1e-7
    end_lr: float = 10.0
    num_steps: int = 100
    mode: Literal["exp", "linear"] = "exp"
    smoothing: float = 0.1
    diverge_ratio: float | None = DIVERGE_RATIO

    def __post_init__(self) -> None:
        for name in ("start_lr", "end_lr", "num_steps", "smoothing", "diverge_ratio"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        for name in ("start_lr", "end_lr"):
            lr = getattr(self, name)
            if not is_number(lr) or not (math.isfinite(lr) and lr > 0):
                raise InputError(f"Got {name}={lr!r}; expected a finite number above 0, such as 1e-7.")
        if not self.start_lr < self.end_lr:
            raise InputError(
                f"Got start_lr={self.start_lr:g} and end_lr={self.end_lr:g}; expected start_lr below end_lr, because "
                f"a sweep goes upwards. {'Exchange them.' if self.end_lr < self.start_lr else 'Give a higher end_lr.'}"
            )
        if not is_count(self.num_steps, 2):
            raise InputError(f"Got num_steps={self.num_steps!r}; expected a whole number of steps, 2 or more.")
        if self.mode not in ("exp", "linear"):
            raise InputError(f'Got mode={self.mode!r}; expected "exp" or "linear".')
        if not math.isfinite(self.end_lr / self.start_lr):
            raise InputError(
                f"Got start_lr={self.start_lr:g} and end_lr={self.end_lr:g}; expected ends whose ratio is a number. "
                "Start higher, such as at 1e-7."
            )
        if not self._apart() > LEAST_APART:
            raise InputError(
                f"Got {self.num_steps} steps from start_lr={self.start_lr} to end_lr={self.end_lr}; expected learning "
                "rates that can be told apart. Take fewer steps or a wider range."
            )
        if not is_number(self.smoothing) or not 0 <= self.smoothing < 1:
            raise InputError(f"Got smoothing={self.smoothing!r}; expected a share of the sweep, 0 to below 1.")
        if self.diverge_ratio is not None and not (is_number(self.diverge_ratio) and self.diverge_ratio > 0):
            raise InputError(f"Got diverge_ratio={self.diverge_ratio!r}; expected a number above 0, or None.")

    def _apart(self) -> float:
        """By what share of it the LR grows at least from a step to the next."""
        if self.mode == "exp":
            return math.log(self.end_lr / self.start_lr) / (self.num_steps - 1)
        return (1 - self.start_lr / self.end_lr) / (self.num_steps - 1)

    def lr_at(self, step: int) -> float:
        """LR of the fastest group at a step, 0 ... num_steps − 1; exactly `start_lr` and `end_lr` at the ends."""
        if step == self.num_steps - 1:
            return self.end_lr
        position = step / (self.num_steps - 1)
        if self.mode == "exp":
            return float(self.start_lr * (self.end_lr / self.start_lr) ** position)
        return self.start_lr + (self.end_lr - self.start_lr) * position


class SweepPoint(NamedTuple):
    """One optimizer step of a sweep.

    Attributes:
        step: 0 ... num_steps − 1.
        lr: LR of the fastest group at that step.
        loss: the loss before that step, unsmoothed.
        smoothed: the live average up to there; NaN where the loss is not finite.
    """

    step: int
    lr: float
    loss: float
    smoothed: float


class Sweep:
    """One range test over a loop: `run()` borrows it, sweeps, gives it back, and returns the curve.

    Args:
        loop: what is swept.
        config: range, steps and mode.
        snapshot: where the copies of weights and optimizer state live meanwhile; None for beside the originals.
        verify: prove after giving back that everything is as before; reads all of it once more.
        lag: steps that a loss may come late, 0 for none; default None: none on a CPU, a few on a CUDA device, which
            would have to stop for each look. The curve is the same.
    """

    def __init__(
        self,
        loop: Loop,
        config: SweepConfig,
        *,
        snapshot: str | torch.device | None = None,
        verify: bool = False,
        lag: int | None = None,
    ) -> None:
        self.config = config
        self._lag = lag
        self._loop = loop
        self._snapshot = snapshot
        self._verify = verify
        lrs = loop.lrs()
        if not all(0 <= lr < math.inf for lr in lrs):
            raise InputError(
                f"Got param groups with the LRs {', '.join(f'{lr:g}' for lr in lrs)}; expected finite numbers, 0 or "
                'more, because a sweep keeps their ratios. Write others into optimizer.param_groups[i]["lr"].'
            )
        self._ratios = lr_ratios(lrs)
        self._points = Rows(3)
        self._shares: tuple[float, ...] = ()
        self._looked = False
        self._beta = beta_for(config.num_steps, config.smoothing)
        self._reason: StopReason | None = None
        self._given_back: bool | None = None
        self._started = self._seconds = 0.0

    def run(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        on_point: Callable[[SweepPoint], object] = lambda point: None,
    ) -> LossCurve:
        """Sweep to an end of its own, or until `should_stop`, which is asked before every step.

        Raises:
            BusyError: another sweep or run has the model.
            LossError: the very first loss is not finite.
            EmptyLoaderError, BatchError: the loop cannot take a step.
            Exception: whatever the user's own code raised. In every case everything has been given back first, and
                `curve()` still returns the points so far.
        """
        loop = self._loop
        self._points, self._shares, self._given_back, self._reason = Rows(3), (), None, None
        self._looked = False
        self._started = time.perf_counter()
        expect_workers([loop.train_dl])
        try:
            with claimed.shield(), claimed((loop.model, *loop.optimizers), "sweep"):
                borrowed = loop.borrowed(snapshot=self._snapshot, verify=self._verify)
                try:
                    with borrowed, training_mode(loop.model):
                        self._sweep(borrowed, should_stop, on_point)
                finally:
                    self._given_back = borrowed.verified
        except KeyboardInterrupt:
            self._reason = StopReason.INTERRUPTED
            raise
        finally:
            self._reason = self._reason or StopReason.FAILED
        return self.curve()

    def curve(self) -> LossCurve:
        """The points so far."""
        return LossCurve.seen(
            *self._points.columns,
            beta=self._beta,
            stop_reason=self._reason,
            ratios=self._ratios,
            names=tuple(group.name for group in self._loop.groups),
            num_steps=self.config.num_steps,
            seconds=self._seconds,
            given_back=self._given_back,
            gradient_shares=self._shares,
        )

    def _sweep(
        self, borrowed: preserved, should_stop: Callable[[], bool], on_point: Callable[[SweepPoint], object]
    ) -> None:
        # No generator: a StopIteration of the user's own code would come out of one as another error.
        loop = self._loop

        def before_step() -> None:
            borrowed.catch_up()
            if not self._looked:
                self._look_at_gradients()

        def judge(step: int, lr: float, loss: float) -> bool:
            """Take a point; whether it is the last."""
            smoothed = tracker.update(loss)
            if not math.isfinite(loss):
                if step == 0:
                    raise LossError(FIRST_LOSS.format(loss=loss, lr=lr))
                self._reason = StopReason.NOT_FINITE
            self._points.append(lr, loss, smoothed)
            self._seconds = time.perf_counter() - self._started
            on_point(SweepPoint(step, lr, loss, smoothed))
            if tracker.diverged:
                self._reason = StopReason.DIVERGED
            return self._reason is not None

        take_step = loop.stepper(before_step)
        ratio = self.config.diverge_ratio
        tracker = LossTracker(self._beta, math.inf if ratio is None else ratio)
        batches = loop.batches(copied=True)
        lag = self._lag if self._lag is not None else LAG if self._is_far() and take_step.can_run_ahead else 0
        try:
            if lag:
                self._run_ahead(take_step, batches, should_stop, judge, lag)
            else:
                self._step_by_step(take_step, batches, should_stop, judge)
        except RanDryError:
            self._reason = StopReason.RAN_DRY
        finally:
            batches.close()

    def _step_by_step(
        self,
        take_step: EngineStep | UserStep,
        batches: Batches,
        should_stop: Callable[[], bool],
        judge: Callable[[int, float, float], bool],
    ) -> None:
        for step in range(self.config.num_steps):
            lr = self._set_lr(step)
            for _ in range(MAX_SKIPPED):
                if should_stop():
                    self._reason = StopReason.STOPPED
                    return
                loss, advanced = take_step(batches)
                if advanced or not math.isfinite(loss):
                    break
            else:
                raise LossError(OVERFLOW.format(steps=MAX_SKIPPED))
            if not self._looked:  # by a step that is all the user's own
                self._look_at_gradients()
            if judge(step, lr, loss):
                return
        self._reason = StopReason.FINISHED

    def _run_ahead(
        self,
        take_step: EngineStep | UserStep,
        batches: Batches,
        should_stop: Callable[[], bool],
        judge: Callable[[int, float, float], bool],
        lag: int,
    ) -> None:
        """The same curve, with steps taken before the losses of those before them are known.

        What was taken beyond the end is dropped: its losses are not looked at, and what it did is given back with
        the rest. That goes for an exception as well, which weights that are not finite any more may well raise.
        """
        late = LateLosses[tuple[int, float]](lag, in_step=distributed.is_available() and distributed.is_initialized())
        ending = StopReason.FINISHED
        for step in range(self.config.num_steps):
            if should_stop():
                ending = StopReason.STOPPED
                break
            lr = self._set_lr(step)
            try:
                late.send((step, lr), take_step.ahead(batches))
            except Exception:
                if any(judge(*taken, loss) for taken, loss in late.rest()):
                    return
                raise
            if not self._looked:
                self._look_at_gradients()
            if any(judge(*taken, loss) for taken, loss in late.arrived()):
                return
        if not any(judge(*taken, loss) for taken, loss in late.rest()):
            self._reason = ending

    def _set_lr(self, step: int) -> float:
        lr = self.config.lr_at(step)
        self._loop.set_lrs([ratio * lr for ratio in self._ratios])
        return lr

    def _is_far(self) -> bool:
        """Whether reading a loss at once makes a device wait, and batches that were read for nothing can come again."""
        device, loader = self._loop.device, self._loop.train_dl
        return device is not None and device.type == "cuda" and not hasattr(loader, "__next__")

    def _look_at_gradients(self) -> None:
        """Once, where the weights are still the user's: whose gradient is how large."""
        self._looked = True
        self._shares = gradient_shares(self._loop.optimizers)


@known_options
def range_test(
    model: Any,
    optimizer: OptimizerLike | Sequence[OptimizerLike] | None,
    train_dl: Loader,
    loss_fn: LossFn | None = None,
    *,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_steps: int = 100,
    mode: Literal["exp", "linear"] = "exp",
    smoothing: float = 0.1,
    diverge_ratio: float | None = DIVERGE_RATIO,
    loss_step: LossStep | None = None,
    train_step: TrainStep | None = None,
    amp: Amp | None = None,
    scaler: torch.amp.GradScaler | None = None,
    accumulate: int = 1,
    clip_grad_norm: float | None = None,
    also: Sequence[Any] = (),
    names: Sequence[str] | None = None,
    set_lrs: Callable[[tuple[float, ...]], object] | None = None,
    snapshot: str | torch.device | None = None,
    verify: bool = False,
) -> LossCurve:
    """The loss curve of a learning-rate range test from the model's current weights, which it leaves untouched.

    Every group's LR is its share of the fastest group's, so that the ratios the optimizer has now are kept:
    `lr_g(i) = lr_g/max(lr) · start_lr · (end_lr/start_lr)^(i/(num_steps − 1))`.

    Args:
        model: the module to sweep, or any object with `train_step`. It and the next three are the training loop; see
            `Loop` for them and for the options from `loss_step` on.
        optimizer: what trains the model, or a list of several.
        train_dl: yields batches; started over when it is shorter than the sweep.
        loss_fn: `loss_fn(output, target)`; None when the model returns its own loss.
        start_lr: LR of the fastest group at the first step; default 1e-7. See `SweepConfig` for this and the next five.
        end_lr: its LR at the last step; default 10.
        num_steps: optimizer steps; default 100.
        mode: "exp" or "linear".
        smoothing: memory of the live average, a share of the sweep.
        diverge_ratio: when a rising loss ends the sweep; None never.
        loss_step: `loss_step(model, batch) -> loss`, in place of the default reading of a batch.
        train_step: `train_step(batch) -> loss`, in place of the whole step.
        amp: "fp16" or "bf16" autocast.
        scaler: the user's own GradScaler.
        accumulate: batches per optimizer step.
        clip_grad_norm: the largest total gradient norm.
        also: more things a step changes, to be given back.
        names: one per param group.
        set_lrs: writes the LRs of an optimizer without `param_groups`; what it writes them into is given back.
        snapshot: device for the copies of weights and optimizer state; default None, beside the originals.
        verify: compare everything with what it was after giving it back; `curve.given_back` then says True.

    Returns:
        The curve; `curve.stop_reason` says why it ended, `curve.suggest()` what to make of it.

    Raises:
        Exception: whatever the user's own code raised, `KeyboardInterrupt` included, after everything was given back.
            The points up to there are in its `curve` attribute.
        LRWidgetError: what was given cannot be swept; the message says what to do.
    """
    loop = Loop(
        model,
        optimizer,
        train_dl,
        loss_fn,
        loss_step=loss_step,
        train_step=train_step,
        amp=amp,
        scaler=scaler,
        accumulate=accumulate,
        clip_grad_norm=clip_grad_norm,
        also=also,
        names=names,
        set_lrs=set_lrs,
    )
    config = SweepConfig(
        start_lr=start_lr,
        end_lr=end_lr,
        num_steps=num_steps,
        mode=mode,
        smoothing=smoothing,
        diverge_ratio=diverge_ratio,
    )
    sweep = Sweep(loop, config, snapshot=snapshot, verify=verify)
    try:
        return sweep.run()
    except BaseException as error:
        with suppress(AttributeError):  # an exception with slots has no room for it
            error.curve = sweep.curve()  # type: ignore[attr-defined]
        raise
