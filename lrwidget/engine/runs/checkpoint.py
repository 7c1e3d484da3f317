"""A folder of checkpoints: each a JSON file and the safetensors file it names, written whole or not at all.

The JSON is written last and holds the size and the checksum of the other, so that a checkpoint exists from the moment
its JSON does. The last two are kept: whatever happens while one is written, a good one is there.
"""

import json
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lrwidget.engine.errors import InputError, InputTypeError, RecordError
from lrwidget.engine.packing import pack, unpack
from lrwidget.engine.record import refuse_constant, written_whole

VERSION = 1
KEPT = 2
NAME = re.compile(r"checkpoint-(\d{6,})\.json")

NEEDS_SAFETENSORS = (
    "Checkpoints need safetensors, which is not installed; expected it where checkpoint_dir is used. "
    "Run: pip install 'lrwidget[checkpoint]'"
)
OCCUPIED = """Got checkpoint_dir={path}, which holds checkpoints of a run already; expected an empty folder, or a name
for a new one. To go on with that run call lrwidget.resume({name!r}, model, optimizer, train_dl, ...)."""
NOTHING = """Got {path}, which holds no checkpoint that can be used; expected the checkpoint_dir of a run that got as
far as its first step. {complaints}"""
NO_PATH = "Got checkpoint_dir={path!r}; expected the name of a folder, a text or a Path. Give one, such as 'first run'."
NO_FOLDER = """Got checkpoint_dir={path}, which cannot be written to ({error}); expected a folder, or a new name.
Choose another place."""
FORMER = """{complaints} The checkpoint before it is used."""


class CheckpointFolder:
    """Writes the state of a run again and again, and finds the newest that is whole.

    Args:
        path: the folder; made by `begin` when it is not there.

    Raises:
        ImportError: safetensors is not installed.
        InputTypeError: `path` is none.
        InputError: it is an empty text.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise InputTypeError(NO_PATH.format(path=path))
        if not os.fspath(path):
            raise InputError(NO_PATH.format(path=path))
        try:
            from safetensors.torch import load_file, save_file
        except ImportError as error:
            raise ImportError(NEEDS_SAFETENSORS) from error
        self.path = Path(path)
        self._save: Callable[[dict[str, torch.Tensor], Path], None] = save_file
        self._load: Callable[[Path], dict[str, torch.Tensor]] = load_file
        self._good: list[int] = []
        self._next = 0

    def begin(self) -> None:
        """Make the folder for a new run.

        Raises:
            InputError: it holds the checkpoints of a run, which must not be mixed with another's; or it cannot be
                written to.
        """
        self.check_writable()
        if self._numbers():
            raise InputError(OCCUPIED.format(path=self.path, name=str(self.path)))

    def check_writable(self) -> None:
        """Make the folder if it is not there, and raise `InputError` when no file can be made in it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except (OSError, ValueError) as error:
            raise InputError(NO_FOLDER.format(path=self.path, error=error)) from error

    def write(self, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint and drop all but the last two; the path of its JSON."""
        number, tensors = self._next, dict[str, torch.Tensor]()
        node = pack(state, tensors)
        held = self._file(number, "safetensors")
        with written_whole(held) as beside:
            self._save(tensors, beside)
        outer = {
            "lrwidget": "checkpoint",
            "version": VERSION,
            "tensors": {"file": held.name, "bytes": held.stat().st_size, "crc32": _crc32(held)},
            "crc32": _crc32_of(node),
            "checkpoint": node,
        }
        path = self._file(number, "json")
        with written_whole(path) as beside:
            beside.write_text(json.dumps(outer, allow_nan=False) + "\n", encoding="utf-8")
        self._good, self._next = [*self._good, number][-KEPT:], number + 1
        self._tidy()
        return path

    def read(self) -> dict[str, Any]:
        """The state in the newest checkpoint that is whole; the next `write` continues behind it.

        Warns:
            RuntimeWarning: newer ones were refused, and why.

        Raises:
            RecordError: there is none.
        """
        numbers, complaints = self._numbers(), []
        for number in reversed(numbers):
            try:
                state = self._read(self._file(number, "json"))
            except RecordError as error:
                complaints.append(str(error))
                continue
            if complaints:
                warnings.warn(FORMER.format(complaints=" ".join(complaints)), RuntimeWarning, stacklevel=4)
            self._good, self._next = [number], numbers[-1] + 1
            return state
        raise RecordError(NOTHING.format(path=self.path, complaints=" ".join(complaints)).rstrip())

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            outer = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
        except (ValueError, RecursionError, OSError) as error:
            raise RecordError(f"Got {path}, which is no complete JSON ({error}); it may be cut short.") from error
        if not isinstance(outer, dict) or outer.get("lrwidget") != "checkpoint":
            raise RecordError(f"Got {path}, which is no checkpoint of lrwidget.")
        if outer.get("version") != VERSION:
            raise RecordError(
                f"Got {path} of format version {outer.get('version')!r}; expected {VERSION}. Use the lrwidget that "
                "wrote it."
            )
        try:
            node, about = outer["checkpoint"], outer["tensors"]
            held = path.with_name(Path(about["file"]).name)
            if outer["crc32"] != _crc32_of(node):
                raise RecordError(f"Got {path}, whose content was changed: its checksum is another.")
            if not held.is_file():
                raise RecordError(f"Got {path} without {held.name} beside it.")
            if held.stat().st_size != about["bytes"] or _crc32(held) != about["crc32"]:
                raise RecordError(
                    f"Got {held} of {held.stat().st_size} bytes, cut short or changed; expected the "
                    f"{about['bytes']} bytes that were written."
                )
            state = unpack(node, self._load(held))
        except (KeyError, TypeError) as error:
            raise RecordError(f"Got {path}, a checkpoint without {error}.") from error
        if not isinstance(state, dict):
            raise RecordError(f"Got {path}, whose state is a {type(state).__name__}; expected a dict.")
        return state

    def _numbers(self) -> list[int]:
        try:
            names = [path.name for path in self.path.iterdir()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise RecordError(
                f"Got checkpoint_dir={self.path}, which cannot be read ({error}); expected the folder of a run."
            ) from error
        return sorted(int(found[1]) for name in names if (found := NAME.fullmatch(name)))

    def _file(self, number: int, kind: str) -> Path:
        return self.path / f"checkpoint-{number:06d}.{kind}"

    def _tidy(self) -> None:
        """Drop what is older than the last two, and what a killed process left half written."""
        for number in self._numbers():
            if number < self._good[0]:
                # First the JSON: a checkpoint without it is none, and one that is half there is never seen.
                for kind in ("json", "safetensors"):
                    self._file(number, kind).unlink(missing_ok=True)
        for stray in self.path.glob(".checkpoint-*"):
            stray.unlink(missing_ok=True)


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            value = zlib.crc32(chunk, value)
    return value


def _crc32_of(node: Any) -> int:
    return zlib.crc32(json.dumps(node, allow_nan=False).encode())
