"""Curves, plans and runs as files: strict JSON that any language reads, never pickle.

A file is one object, `{"lrwidget": KIND, "version": 1, KIND: {...}}`, whose inner part is what the saved object's
`to_dict` gives and its class's `from_dict` takes. JSON has no NaN and no infinity, so numbers that may be either go
through `pack_floats` and `unpack_floats`.
"""

import contextlib
import importlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import numpy as np
import numpy.typing as npt

from lrwidget.engine.errors import InputTypeError, RecordError

VERSION = 1
WANTED = "a file that save() of a curve, a plan or a history wrote"
KINDS = {
    "curve": ("lrwidget.engine.sweeps.curve", "LossCurve"),
    "plan": ("lrwidget.engine.plans.plan", "Plan"),
    "history": ("lrwidget.engine.runs.history", "History"),
}
"""Kind of record → module and class. Names, so that a curve is read without importing what trains."""


class Recordable(Protocol):
    """What can be saved: a value that describes itself in JSON's terms."""

    def to_dict(self) -> dict[str, Any]:
        """Its description: dicts with string keys, lists, strings, finite numbers, booleans, None."""
        ...


class RecordClass(Protocol):
    """The class of a recordable."""

    def from_dict(self, plain: Mapping[str, Any], /) -> Recordable:
        """The value that `to_dict` described."""
        ...


def save(record: Recordable, path: str | os.PathLike[str]) -> Path:
    """Write `record` to `path` and return the path.

    The file appears whole or not at all: it is written beside its place and moved there, so that an interrupt or a full
    disk leaves an older file as it was.

    Args:
        record: A curve, plan or history.
        path: Where to, in a folder that exists. An existing file is replaced.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    kind = kind_of(record)
    text = json.dumps(
        {"lrwidget": kind, "version": VERSION, kind: record.to_dict()}, allow_nan=False, ensure_ascii=False, indent=1
    )
    path = Path(path)
    with written_whole(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which becomes `path` when the block has ended well.

    So `path` is the old file or the new one, never a part of it, whenever the process or the machine should stop.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Got {path}; expected a place in a folder that exists. Make {path.parent} first.")
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    with contextlib.suppress(OSError):  # not every system opens a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(path: str | os.PathLike[str]) -> Recordable:
    """The curve, plan or history that `save` wrote to `path`.

    Raises:
        FileNotFoundError: There is no such file.
        RecordError: The file is of something else, cut short, or of a newer lrwidget.
    """
    path = Path(path)
    try:
        outer = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"Got {path}, which is no complete JSON ({error}); expected {WANTED}. It may be cut short: save it again."
        ) from error
    if not isinstance(outer, dict) or "lrwidget" not in outer:
        raise RecordError(f'Got {path}, JSON without the key "lrwidget"; expected {WANTED}. Check the path.')
    kind, version = outer["lrwidget"], outer.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise RecordError(
            f"Got {path} of format version {version!r}; expected at most {VERSION}. Upgrade lrwidget, or save it again."
        )
    if not isinstance(kind, str) or kind not in KINDS or not isinstance(outer.get(kind), dict):
        raise RecordError(
            f"Got {path} of kind {kind!r}; expected one of {', '.join(KINDS)}, and an object under that key."
        )
    module, name = KINDS[kind]
    record_class = cast("RecordClass", getattr(importlib.import_module(module), name))
    try:
        return record_class.from_dict(outer[kind])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"Got {path}, a {kind} that cannot be read: {error} Save it again from the object it came from."
        ) from error


def kind_of(record: object) -> str:
    """The kind of record that `record` is, told from its class's name alone."""
    lineage = {(cls.__module__, cls.__qualname__) for cls in type(record).__mro__}
    for kind, name in KINDS.items():
        if name in lineage:
            return kind
    raise InputTypeError(f"Got {type(record).__name__}; expected a {', '.join(KINDS)} to save.")


def pack_floats(values: Iterable[float]) -> list[float | str]:
    """Numbers as strict JSON can hold them: finite ones to the last bit, the others as "nan", "inf" and "-inf".

    >>> pack_floats([0.1, float("nan"), float("-inf")])
    [0.1, 'nan', '-inf']
    """
    return [value if math.isfinite(value) else repr(value) for value in map(float, values)]


def unpack_floats(values: Iterable[float | str]) -> npt.NDArray[np.float64]:
    """The float64 array that `pack_floats` packed."""
    named = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    floats = []
    for value in values:
        if isinstance(value, str):
            if value not in named:
                raise RecordError(f'Got {value!r} among numbers; expected a number, "nan", "inf" or "-inf".')
            floats.append(named[value])
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RecordError(f"Got {value!r} among numbers; expected a number.")
        else:
            floats.append(float(value))
    return np.array(floats, dtype=np.float64)


def refuse_constant(constant: str) -> NoReturn:
    """Refuse the NaN and Infinity that Python's JSON reader would let pass and other readers would not."""
    raise ValueError(f"{constant} is not JSON")
