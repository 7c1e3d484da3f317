import math

import pytest

from lrwidget.engine.runs.ending import Ending
from lrwidget.engine.runs.history import EpochPoint
from lrwidget.engine.sweeps.curve import StopReason


def epoch(number: int, valid_loss: float | None = None) -> EpochPoint:
    return EpochPoint(epoch=number, step=6 * number, train_loss=1.0, valid_loss=valid_loss, metrics={})


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (StopReason.FINISHED, "Trained all 20 steps."),
        (StopReason.STOPPED, "Stopped after 7 of 20 steps."),
        (StopReason.INTERRUPTED, "Interrupted after 7 of 20 steps."),
        (StopReason.RAN_DRY, "The loader had no more batches after 7 of 20 steps and cannot start over."),
        (None, "An exception ended the run after 7 of 20 steps."),
    ],
)
def test_every_reason_has_its_words(reason: StopReason | None, said: str) -> None:
    ending = Ending(20)
    assert (ending.note, ending.broke_down) == ("", False)
    ending.reason = reason
    ending.close(7)
    assert (ending.reason, ending.note) == (reason or StopReason.FAILED, said)


@pytest.mark.parametrize(
    ("reason", "steps", "said"),
    [
        (StopReason.FINISHED, 1, "Trained the one step."),
        (StopReason.STOPPED, 0, "Stopped after 0 of 1 step."),
    ],
)
def test_a_run_of_one_step_ends_in_good_english(reason: StopReason, steps: int, said: str) -> None:
    ending = Ending(1)
    ending.reason = reason
    ending.close(steps)
    assert ending.note == said


def test_no_lower_lr_is_advised_when_the_loss_is_no_number_before_any_update() -> None:
    ending = Ending(20)
    ending.loss_not_finite(math.nan, 0, 1e-4, "before")
    assert (
        ending.note.startswith("The loss was nan at the first step, before any update") and "max_lr" not in ending.note
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [("before", "The weights are those before that step."), (None, "The weights are not finite either: the steps")],
)
def test_a_loss_that_is_no_number_is_told_with_what_became_of_the_weights(weights: str | None, said: str) -> None:
    ending = Ending(20)
    ending.loss_not_finite(math.nan, 7, 0.5, weights)
    ending.close(7)
    assert ending.broke_down
    assert ending.note.startswith(f"The loss became nan at step 7 of 20, at lr 0.5. Pick a lower max_lr. {said}")
    ending.offer(epoch(0))
    assert ending.note.endswith(" restore_best() returns to the weights of before the run.")
    ending.restored(epoch(2))
    assert ending.note == (
        "The loss became nan at step 7 of 20, at lr 0.5. Pick a lower max_lr. "
        "The model has the weights of epoch 2 again."
    )


def test_weights_that_break_after_finite_losses_and_the_offer_of_good_ones() -> None:
    ending = Ending(20)
    ending.weights_not_finite(12, 0.5)
    ending.offer(epoch(1))
    ending.close(12)
    assert ending.broke_down and ending.note == (
        "The weights were not finite any more after 12 of 20 steps, at lr 0.5, though the losses were. "
        "Pick a lower max_lr. restore_best() returns to the weights of epoch 1."
    )


def test_patience_that_is_over_tells_what_was_waited_for() -> None:
    ending = Ending(20)
    ending.out_of_patience(2, epoch(3, 0.9), epoch(1, 0.25))
    assert ending.reason is StopReason.STOPPED and ending.note == (
        "Stopped after epoch 3, 18 of 20 steps: the validation loss has not been below the 0.25 of epoch 1 "
        "for 2 epochs."
    )
    ending.out_of_patience(2, epoch(2, math.nan), None)
    assert "below the inf of epoch 0" in ending.note
