"""What the status line says of a job that has ended: well, early, or with an error."""

from typing import Any

from lrwidget.engine.errors import LRWidgetError, in_one_line, told
from lrwidget.engine.runs.history import History
from lrwidget.engine.sweeps.curve import StopReason

START = "Sweep to see the loss at every learning rate, or drag the markers and train."

NEXT_RUNS = "The run goes on with what it began with; what is set meanwhile is the next one's."

AS_BEFORE = "The model is as it was before."


def summary(history: History, *, keeps_best: bool) -> str:
    """How a run ended and what it came to; and how to return to its best epoch, if the weights of that were kept."""
    last = history.epochs[-1] if history.epochs else None
    best = history.best_epoch
    if last is None or last.valid_loss is None:
        return history.note
    measured = ", ".join([f"validation loss {last.valid_loss:.4g}"] + [f"{k} {v:.4g}" for k, v in last.metrics.items()])
    # A run that broke down has said so itself, if there are weights to return to.
    if best is None or best is last or history.stop_reason is StopReason.NOT_FINITE:
        return f"{history.note} At the end: {measured}."
    return_to = "; Best weights, or w.restore_best(), returns to it" if keeps_best else ""
    return f"{history.note} At the end: {measured}. Epoch {best.epoch} was better{return_to}."


def failed(error: BaseException) -> dict[str, Any]:
    """What the state shows of an error that ended a job."""
    return {"failed": True, "message": failure(error), "error": traceback_of(error)}


def failure(error: BaseException) -> str:
    """What an error says, with the notes that lrwidget has added to it."""
    text = in_one_line(error) if isinstance(error, LRWidgetError) else str(error)
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return "\n".join([said, *getattr(error, "__notes__", ())])


def sentence(text: str) -> str:
    """A text that another can follow.

    >>> sentence("ValueError: broken"), sentence("Really?")
    ('ValueError: broken.', 'Really?')
    """
    return text if text.endswith((".", "!", "?")) else f"{text}."


def traceback_of(error: BaseException) -> str:
    """Where in the user's own code it came from; an error of lrwidget's says all in its message."""
    return "" if isinstance(error, LRWidgetError) else "\n".join(told(error))
