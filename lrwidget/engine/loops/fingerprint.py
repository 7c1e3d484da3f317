"""What a loop was made of, in numbers and names: written into checkpoints, compared when a run goes on."""

from typing import Any

from torch import nn

from lrwidget.engine.loops.batches import length
from lrwidget.engine.loops.loop import Loop
from lrwidget.engine.plain import is_count, plain


def numbers_of(loop: Loop) -> dict[str, Any]:
    """What of a loop is a number or a name, so that a checkpoint can tell it and its user need not again."""
    return {"amp": loop.amp, "accumulate": loop.accumulate, "clip_grad_norm": loop.clip_grad_norm}


def given_to(loop: Loop) -> dict[str, Any]:
    """What a loop was made of, as far as can be told, to notice when a run goes on with something else."""
    parts = {name: getattr(loop, name) for name in ("valid_dl", "loss_fn", "loss_step", "train_step")}
    return {
        **{name: "given" if part is not None else "none" for name, part in parts.items()},
        "batches in train_dl": length(loop.train_dl),
        "batch size of train_dl": _batch_size(loop.train_dl),
        "loss function": _kind_of(loop.loss_fn),
    }


def _batch_size(loader: object) -> int | None:
    size = plain(getattr(loader, "batch_size", None))
    return size if is_count(size, 1) else None


def _kind_of(loss_fn: Any) -> str:
    """What tells one loss function from another: its class, or its own name."""
    if isinstance(loss_fn, nn.Module):
        return type(getattr(loss_fn, "_orig_mod", loss_fn)).__name__
    return str(getattr(loss_fn, "__name__", type(loss_fn).__name__))
