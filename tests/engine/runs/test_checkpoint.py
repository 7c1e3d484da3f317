"""A checkpoint is there whole or not at all, the last two are kept, and what is no checkpoint is said to be none."""

import json
import os
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lrwidget.engine.errors import InputError, InputTypeError, RecordError
from lrwidget.engine.runs.checkpoint import CheckpointFolder


def state(number: int) -> dict[str, Any]:
    return {"number": number, "weights": {"w": torch.full((50,), float(number))}, "pair": (1, 0.5)}


def written(path: Path, count: int = 3) -> Path:
    folder = CheckpointFolder(path)
    folder.begin()
    for number in range(count):
        folder.write(state(number))
    return path


def number_in(path: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return int(CheckpointFolder(path).read()["number"])


def test_the_last_state_comes_back(tmp_path: Path) -> None:
    found = CheckpointFolder(written(tmp_path / "a" / "b")).read()
    assert found["weights"]["w"].tolist() == [2.0] * 50
    assert (found["number"], found["pair"]) == (2, (1, 0.5))


def test_two_checkpoints_are_kept_of_two_files_each(tmp_path: Path) -> None:
    names = sorted(path.name for path in written(tmp_path, 5).iterdir())
    assert names == [f"checkpoint-00000{n}.{kind}" for n in (3, 4) for kind in ("json", "safetensors")]


def test_the_files_are_json_and_safetensors_that_others_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    written(tmp_path, 1)
    (tensors,) = tmp_path.glob("*.safetensors")
    assert load_file(tensors)["weights.w"].tolist() == [0.0] * 50
    outer = json.loads((tmp_path / "checkpoint-000000.json").read_text())
    assert (outer["lrwidget"], outer["version"], outer["tensors"]["file"]) == ("checkpoint", 1, tensors.name)
    assert not any(zipfile.is_zipfile(path) or b"\x80\x04" in path.read_bytes()[:2] for path in tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_checkpoint_cut_short_anywhere_is_refused_and_the_former_one_used(tmp_path: Path, kind: str) -> None:
    last = written(tmp_path) / f"checkpoint-000002.{kind}"
    whole = last.read_bytes()
    for length in [*range(0, len(whole) - 1, max(1, len(whole) // 40)), len(whole) - 2]:
        last.write_bytes(whole[:length])
        with pytest.warns(RuntimeWarning, match=rf"Got .*checkpoint-000002\.{kind}.* The checkpoint before it is used"):
            assert CheckpointFolder(tmp_path).read()["number"] == 1
    last.write_bytes(whole)
    assert number_in(tmp_path) == 2


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_checkpoint_with_any_byte_changed_is_refused(tmp_path: Path, kind: str) -> None:
    last = written(tmp_path) / f"checkpoint-000002.{kind}"
    whole = last.read_bytes()
    for place in range(0, len(whole) - 2, 3):
        last.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        # One byte of JSON may be white space, or a name that nobody reads: then nothing is lost.
        assert number_in(tmp_path) in (1, 2)
        if number_in(tmp_path) == 2:
            assert CheckpointFolder(tmp_path).read()["weights"]["w"].tolist() == [2.0] * 50


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no complete JSON"),
        ("[1, 2]", "no checkpoint of lrwidget"),
        ('{"lrwidget": "plan", "version": 1, "plan": {}}', "no checkpoint of lrwidget"),
        ('{"lrwidget": "checkpoint", "version": 2}', "version 2; expected 1"),
        ('{"lrwidget": "checkpoint", "version": 1}', "without 'checkpoint'"),
        ('{"lrwidget": "checkpoint", "version": 1, "checkpoint": {}, "tensors": {}, "crc32": 1}', "without 'file'"),
        ('{"lrwidget": "checkpoint", "version": 1, "checkpoint": NaN}', "NaN is not JSON"),
    ],
)
def test_a_foreign_file_is_named_with_what_is_wrong_and_the_former_one_used(
    tmp_path: Path, text: str, says: str
) -> None:
    written(tmp_path)
    (tmp_path / "checkpoint-000007.json").write_text(text)
    with pytest.warns(RuntimeWarning, match=rf"(?s)Got .*checkpoint-000007\.json.*{says}.*before it is used"):
        assert CheckpointFolder(tmp_path).read()["number"] == 2


def test_tensors_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "checkpoint-000001.safetensors").replace(tmp_path / "checkpoint-000002.safetensors")
    with pytest.raises(RecordError, match=r"(?s)cut short or changed.*checkpoint-000001\.json without"):
        CheckpointFolder(tmp_path).read()


def test_after_a_refused_one_the_good_one_is_kept_until_two_better_are_there(tmp_path: Path) -> None:
    last = written(tmp_path) / "checkpoint-000002.json"
    last.write_bytes(last.read_bytes()[:50])
    folder = CheckpointFolder(tmp_path)
    with pytest.warns(RuntimeWarning):
        folder.read()
    folder.write(state(3))
    assert {"checkpoint-000001.json", "checkpoint-000003.json"} <= {path.name for path in tmp_path.iterdir()}
    folder.write(state(4))
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == ["checkpoint-000003", "checkpoint-000004"]


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    written(tmp_path, 1)
    (tmp_path / ".checkpoint-000001.safetensors.0123abcd").write_bytes(b"half")
    (tmp_path / "checkpoint-000001.safetensors").write_bytes(b"whole, but its JSON is not there yet")
    (tmp_path / "notes.txt").write_text("the user's own")
    folder = CheckpointFolder(tmp_path)
    assert folder.read()["number"] == 0
    folder.write(state(1))
    folder.write(state(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"checkpoint-00000{n}.{kind}" for n in (1, 2) for kind in ("json", "safetensors")),
        "notes.txt",
    ]


def test_a_disk_that_is_full_keeps_the_former_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(written(tmp_path))
    folder.read()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        folder.write(state(3))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_be_kept_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = CheckpointFolder(written(tmp_path))
    folder.read()
    names = sorted(tmp_path.iterdir())
    with pytest.raises(TypeError, match="Got a builtin_function_or_method at scheduler"):
        folder.write({"scheduler": print})
    assert sorted(tmp_path.iterdir()) == names


def test_a_folder_with_checkpoints_is_not_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds checkpoints of a run already"):
        CheckpointFolder(written(tmp_path)).begin()


@pytest.mark.parametrize("path", [5, None, b"checkpoints", ["a"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^Got checkpoint_dir=.*; expected the name of a folder"):
        CheckpointFolder(path)


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(InputError, match=r"^Got checkpoint_dir=''; expected the name of a folder"):
        CheckpointFolder("")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", "nul\0"):
        with pytest.raises(
            InputError, match=r"(?s)^Got checkpoint_dir=.*, which cannot be written to .*expected a fol"
        ):
            CheckpointFolder(path).begin()
        with pytest.raises(RecordError, match=r"^Got checkpoint_dir=.*, which cannot be read .*; expected the folder"):
            CheckpointFolder(path).read()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"which cannot be written to .*denied"):
        CheckpointFolder(tmp_path).begin()


def test_a_folder_on_a_disk_that_is_full_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(InputError, match=r"which cannot be written to \(no space left"):
        CheckpointFolder(tmp_path).begin()


def test_without_safetensors_the_pip_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"pip install 'lrwidget\[checkpoint\]'"):
        CheckpointFolder(tmp_path)
