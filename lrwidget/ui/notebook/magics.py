"""`%lrfind`: attach to the user's objects, show the widget, and start the sweep."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class

from lrwidget.engine.errors import InputError, InputTypeError, unknown_option
from lrwidget.engine.sweeps.sweep import SweepConfig
from lrwidget.ui.notebook.kernel import current_kernel
from lrwidget.ui.notebook.namespace import ROLES, Found, evaluate, find_missing, find_validation

if TYPE_CHECKING:
    from lrwidget.ui.widget import LRWidget

NAME = "lrfind"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"Got {text!r}; expected a number, such as 3e-4.") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"Got {text!r}; expected a whole number.") from None


def _word(text: str) -> str:
    return text.strip("'\"")


SWEEP_OPTIONS: dict[str, Callable[[str], Any]] = {
    "start_lr": _number,
    "end_lr": _number,
    "num_steps": _whole,
    "mode": _word,
    "smoothing": _number,
    "diverge_ratio": _number,
}
"""Options of `%lrfind` that are fields of `SweepConfig`, and how their text is read."""

LOOP_OPTIONS: dict[str, Callable[[str], Any]] = {"amp": _word, "accumulate": _whole, "clip_grad_norm": _number}
"""Those that say how a step goes, and are values."""

OBJECT_OPTIONS = ("valid_dl", "loss_step", "train_step", "metrics", "also", "names", "scaler")
"""Those that name objects of the user's."""

FLAGS = ("no_sweep",)
"""Those without a value."""


@magics_class
class LRMagics(Magics):
    """The magics of lrwidget."""

    @line_magic(NAME)  # type: ignore[arg-type]  # typed for functions, not for methods
    def lrfind(self, line: str) -> "LRWidget":
        """Find a learning rate: show the widget and sweep.

        %lrfind [model [optimizer [train_dl [loss_fn]]]] [--option value ...]

        What is not named is found in the notebook by its type, and said in the title. The arguments are names or
        expressions without blanks; None as the loss says that the model returns its own.

        --valid-dl NAME                                         what to validate with after each epoch of a run
        --start-lr 1e-7 --end-lr 10 --num-steps 100             the sweep
        --mode exp|linear --smoothing 0.1 --diverge-ratio 2
        --amp fp16|bf16 --accumulate K --clip-grad-norm C       how a step goes
        --loss-step NAME --train-step NAME --scaler NAME        functions and objects of yours for a step
        --also NAME --metrics NAME --names NAME                 more to give back; what to measure; names of the groups
        --no-sweep                                              only show the widget
        """
        namespace = self.shell.user_ns if self.shell is not None else {}
        words, options = _parse(line)
        sweep = {name: read(options.pop(name)) for name, read in SWEEP_OPTIONS.items() if name in options}
        SweepConfig(**sweep)  # what cannot be swept is said before anything is shown
        how = {name: read(options.pop(name)) for name, read in LOOP_OPTIONS.items() if name in options}
        no_sweep = options.pop("no_sweep", None) is not None
        how |= {name: evaluate(text, namespace, name).value for name, text in options.items()}
        given = {role: evaluate(word, namespace, role) for role, word in zip(ROLES, words, strict=False)}
        found = find_missing(given, namespace)
        if "valid_dl" not in how and (valid := find_validation(namespace, found["train_dl"], told="train_dl" in given)):
            how["valid_dl"] = valid.value
            found = {**found, "valid_dl": valid}
        from lrwidget.ui.widget import attach  # half a second of other packages, for who comes to use it

        widget = attach(*(found[role].value for role in ROLES), **how)
        if len(found) > len(given):
            widget.state.title += f" · {_taken(found, given)}"
        grows = current_kernel() is not None  # elsewhere there are words, of what was found
        if grows:
            widget.show()
        if not no_sweep:
            widget.sweep(**sweep)
        if not grows:
            widget.show()
        return widget


def register(shell: InteractiveShell) -> None:
    """Register the magics with a shell."""
    shell.register_magics(LRMagics)


def unregister(shell: InteractiveShell) -> None:
    """Take the magics away again, and only if they are still lrwidget's."""
    lines = shell.magics_manager.magics["line"]
    if isinstance(getattr(lines.get(NAME), "__self__", None), LRMagics):
        del lines[NAME]
    shell.magics_manager.registry.pop(LRMagics.__name__, None)


def _parse(line: str) -> tuple[list[str], dict[str, str]]:
    """The words of a line, and its options with underscores for dashes."""
    known = (*SWEEP_OPTIONS, *LOOP_OPTIONS, *OBJECT_OPTIONS, *FLAGS)
    words: list[str] = []
    options: dict[str, str] = {}
    # At blanks and nowhere else: quotes and brackets belong to the user's expressions.
    rest = iter(re.sub(r"(^|\s)#.*", "", line).split())
    for word in rest:
        if not word.startswith("--"):
            words.append(word)
            continue
        name, has_value, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known:
            unknown_option("%lrfind", name, known)
        if name not in FLAGS and not has_value:
            value = next(rest, "--")
            if value.startswith("--"):
                raise InputError(f"Got --{name.replace('_', '-')} without a value; expected one behind it.")
        options[name] = value
    if len(words) > len(ROLES):
        raise InputTypeError(
            f"Got {len(words)} arguments ({' '.join(words)}); expected at most four: {' '.join(ROLES)}. "
            "Write expressions without blanks; options start with --."
        )
    return words, options


def _taken(found: dict[str, Found], given: dict[str, Found]) -> str:
    """What was found by type, for the title: there it stays while the status line goes on to other things."""
    parts = [
        f"{role} = {one.name}" if one.value is not None else "no loss_fn: the model returns its own"
        for role, one in found.items()
        if role not in given
    ]
    return f"found {', '.join(parts)}"
