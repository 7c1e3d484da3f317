"""How a run ended: the reason, and in plain words what came of it and which weights the model has."""

import math

from lrwidget.engine.runs.history import EpochPoint
from lrwidget.engine.sweeps.curve import StopReason
from lrwidget.engine.words import format_lr

NOT_FINITE = "The loss became {loss} at step {step} of {count}, at lr {lr}. Pick a lower max_lr."
NEVER_FINITE = (
    "The loss was {loss} at the first step, before any update, which no learning rate mends: look for NaN in the \
batch and in the weights."
)
BROKEN = """The weights were not finite any more after {step} of {total}, at lr {lr}, though the losses were. \
Pick a lower max_lr."""
UNHARMED = " The weights are those {when} that step."
HARMED = " The weights are not finite either: the steps before were too large, or a gradient was not finite."
GOOD_WEIGHTS = " restore_best() returns to the weights of {where}."
RESTORED = " The model has the weights of {where} again."
IMPATIENT = """Stopped after epoch {epoch}, {step} of {total}: the validation loss has not been below the \
{best:.4g} of epoch {best_epoch} for {patience} epochs."""

PLAIN = {
    StopReason.FINISHED: "Trained all {total}.",
    StopReason.STOPPED: "Stopped after {step} of {total}.",
    StopReason.INTERRUPTED: "Interrupted after {step} of {total}.",
    StopReason.RAN_DRY: "The loader had no more batches after {step} of {total} and cannot start over.",
    StopReason.FAILED: "An exception ended the run after {step} of {total}.",
}
ONE_TRAINED = "Trained the one step."


class Ending:
    """Why a run ended, and what is said of it.

    Args:
        total: steps that were planned.

    Attributes:
        reason: None while the run goes on.
    """

    def __init__(self, total: int) -> None:
        self.reason: StopReason | None = None
        self._count = total
        self._total = "1 step" if total == 1 else f"{total} steps"
        self._said = ""
        self._weights = ""

    @property
    def note(self) -> str:
        """The ending in plain words; empty until then."""
        return self._said + self._weights

    @property
    def broke_down(self) -> bool:
        """Whether the loss or the weights stopped being finite."""
        return self.reason is StopReason.NOT_FINITE

    def loss_not_finite(self, loss: float, step: int, lr: float, weights: str | None) -> None:
        """The loss of a step was no number.

        Args:
            loss: infinite or NaN.
            step: at which it was, 0 ... total − 1.
            lr: the fastest group's at that step.
            weights: what they are now, "before" or "after" that step; None when they are not finite either.
        """
        self.reason = StopReason.NOT_FINITE
        if step == 0:
            self._said = NEVER_FINITE.format(loss=loss)
            return
        self._said = NOT_FINITE.format(loss=loss, step=step, count=self._count, lr=format_lr(lr))
        self._weights = UNHARMED.format(when=weights) if weights is not None else HARMED

    def weights_not_finite(self, step: int, lr: float) -> None:
        """All losses were finite, and the weights are not.

        Args:
            step: optimizer steps done.
            lr: the fastest group's at the last of them.
        """
        self.reason = StopReason.NOT_FINITE
        self._said = BROKEN.format(step=step, total=self._total, lr=format_lr(lr))

    def out_of_patience(self, patience: int, last: EpochPoint, best: EpochPoint | None) -> None:
        """So many epochs in a row, up to the last, have not been better than the best."""
        self.reason = StopReason.STOPPED
        self._said = IMPATIENT.format(
            epoch=last.epoch,
            step=last.step,
            total=self._total,
            best=math.inf if best is None or best.valid_loss is None else best.valid_loss,
            best_epoch=0 if best is None else best.epoch,
            patience=patience,
        )

    def offer(self, epoch: EpochPoint) -> None:
        """Good weights were kept."""
        self._weights += GOOD_WEIGHTS.format(where=where(epoch))

    def restored(self, epoch: EpochPoint) -> None:
        """The model has the weights that were kept."""
        self._weights = RESTORED.format(where=where(epoch))

    def close(self, step: int) -> None:
        """The run is over after so many steps; when nobody has said why, an exception has ended it."""
        self.reason = self.reason or StopReason.FAILED
        if not self._said:
            one = self.reason is StopReason.FINISHED and self._count == 1
            self._said = ONE_TRAINED if one else PLAIN[self.reason].format(step=step, total=self._total)


def where(epoch: EpochPoint) -> str:
    """Of when the weights are that were kept, in words."""
    return f"epoch {epoch.epoch}" if epoch.epoch else "before the run"
