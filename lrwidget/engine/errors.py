"""What can go wrong, as a tree, and how it is said.

Every message of lrwidget names what was got, what was expected, and what to do::

    LRWidgetError
    ├── InputError (ValueError)          a value no sweep, plan or run can start with
    │   ├── ModelMismatchError           the optimizer does not hold the model's parameters
    │   ├── EmptyLoaderError             the loader yields no batch
    │   └── RecordError                  a file that holds no curve, plan or run of lrwidget
    ├── InputTypeError (TypeError)       an object of the wrong kind, or an option that does not exist
    │   └── BatchError                   a batch the default step cannot read
    ├── LossError (ValueError)           a loss that is no single finite number when it must be
    ├── NamespaceError (NameError)       `%lrfind` cannot tell which of the user's objects to take
    ├── BusyError (RuntimeError)         a sweep or a run has the model at this moment
    └── GiveBackError (RuntimeError)     something could not be given back as it was found
"""

import difflib
import functools
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

NOT_THE_USERS = (str(Path(__file__).parent.parent), sys.prefix, sysconfig.get_path("stdlib"), "<string>")
"""Where code lives that a user did not write."""

HEADING = "Traceback (most recent call last):"


class LRWidgetError(Exception):
    """Base of every error that lrwidget raises on its own account."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows; IPython asks an exception for this before it formats one itself."""
        return told(self)


class InputError(LRWidgetError, ValueError):
    """A value that no sweep, plan or run can start with."""


class ModelMismatchError(InputError):
    """The optimizer does not hold the model's parameters."""


class EmptyLoaderError(InputError):
    """The loader yields no batch."""


class RecordError(InputError):
    """A file that holds no curve, plan or run of lrwidget."""


class InputTypeError(LRWidgetError, TypeError):
    """An object of the wrong kind, or an option that does not exist."""


class BatchError(InputTypeError):
    """A batch that the default step cannot read."""


class LossError(LRWidgetError, ValueError):
    """A loss that is no single finite number when it must be."""


class NamespaceError(LRWidgetError, NameError):
    """`%lrfind` cannot tell which of the user's objects to take."""


class BusyError(LRWidgetError, RuntimeError):
    """A sweep or a run has the model at this moment."""


class GiveBackError(LRWidgetError, RuntimeError):
    """Something could not be given back as it was found."""


def in_one_line(error: BaseException) -> str:
    """What an error of lrwidget's says, which is wrapped for a terminal, for a screen that wraps by itself."""
    return " ".join(str(error).split())


def told(error: BaseException) -> list[str]:
    """An error as its reader needs it: where in their own code it came from, what it says, and its notes.

    The frames of lrwidget and of the libraries below it are left out, down the whole chain of causes.
    """
    story = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = story
    while link is not None:
        own = [frame for frame in link.stack if not frame.filename.startswith(NOT_THE_USERS)]
        link.stack = traceback.StackSummary.from_list(own)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    lines = [line.removeprefix(f"{__name__}.") for line in "".join(story.format()).rstrip().splitlines()]
    # The heading without a frame below it would promise what does not come.
    return [line for line, after in zip(lines, [*lines[1:], ""], strict=True) if line != HEADING or after[:1] == " "]


# What other finders call our options; a user who types one of these knows exactly what they want.
PEER_NAMES = {
    "min_lr": "start_lr",
    "max_lr": "end_lr",
    "num_it": "num_steps",
    "num_iter": "num_steps",
    "num_training": "num_steps",
    "steps": "num_steps",
    "step_mode": "mode",
    "diverge_th": "diverge_ratio",
    "early_stop_threshold": "diverge_ratio",
    "smooth_f": "smoothing",
    "accumulation_steps": "accumulate",
    "accumulate_grad_batches": "accumulate",
    "gradient_clip_val": "clip_grad_norm",
    "grad_scaler": "scaler",
    "criterion": "loss_fn",
    "train_loader": "train_dl",
    "train_dataloader": "train_dl",
    "val_loader": "valid_dl",
    "val_dl": "valid_dl",
    "lr_max": "max_lr",
    "div_factor": "div",
    "final_div_factor": "div_final",
    "moms": "momentum",
    "anneal_strategy": "anneal",
}


def unknown_option(where: str, name: str, known: Iterable[str]) -> NoReturn:
    """Raise the error for an option that `where` does not have, with the nearest one it has."""
    known = sorted(known)
    peer = PEER_NAMES.get(name)
    near = [peer] if peer in known else difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputTypeError(f"Got the option {name!r}; {where} takes {', '.join(known)}.{hint}")


P = ParamSpec("P")
R = TypeVar("R")


def known_options(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate `function` so that a keyword it does not have is answered with the ones it has."""
    names = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in names:
                unknown_option(f"{function.__name__}()", name, names)
        return function(*args, **kwargs)

    return checked
