"""What a run may be asked for: options that cannot be, or that nothing would come of, are refused before it begins."""

from collections.abc import Mapping

import numpy as np

from lrwidget.engine.errors import InputError, InputTypeError
from lrwidget.engine.plain import is_count


def check_flag(name: str, value: object) -> None:
    """Raise for what is not True or False: a text would count as True whatever it says."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"Got {name}={value!r}; expected True or False.")


def check_counts(counts: Mapping[str, object]) -> None:
    """Raise for numbers, by name, that are neither whole and above 0 nor None."""
    for name, value in counts.items():
        if value is not None and not is_count(value, 1):
            raise InputError(f"Got {name}={value!r}; expected a whole number, 1 or more, or None.")


def check_validated(patience: int | None, metrics: Mapping[str, object] | None, valid_dl: object) -> None:
    """Raise for what needs validation batches where there are none."""
    if valid_dl is not None:
        return
    if patience is not None:
        raise InputError("Got patience without valid_dl; expected batches to tell whether an epoch was better.")
    if metrics:
        raise InputError(
            f"Got metrics ({', '.join(metrics)}) without valid_dl; expected batches to measure them on. Give valid_dl, "
            "or leave metrics out."
        )


def check_written(checkpoint_every: object, checkpoint_dir: object) -> None:
    """Raise for checkpoints that there is no folder for."""
    if checkpoint_every is not None and checkpoint_dir is None:
        raise InputError(
            f"Got checkpoint_every={checkpoint_every!r} without checkpoint_dir; expected a folder to write to. Give "
            "checkpoint_dir, or leave checkpoint_every out."
        )
