"""The widget in words, where no widget can be shown: a terminal, a script, a log."""

from typing import TYPE_CHECKING

from lrwidget.engine.words import format_lr

if TYPE_CHECKING:
    from lrwidget.state import LRState

WHAT_TO_DO = """This is no notebook, which could show a widget. w.sweep() sweeps, print(w.advice) says what it found,
w.curve.plot() draws it with matplotlib, w.max_lr = 3e-3 picks, w.fine_tune() trains."""


def in_words(state: "LRState") -> str:
    """What is attached, what is picked and what was found."""
    picked = ", ".join(f"{group.name} {format_lr(lr)}" for group, lr in zip(state.groups, state.lrs, strict=True))
    found = [state.message, *([] if state.advice is None else [str(state.advice)])]
    return "\n".join([f"lrwidget: {state.title}", f"learning rates: {picked}", *found, WHAT_TO_DO])
