import json
import math
import os
import stat

import numpy as np
import pytest

from lrwidget.engine import record
from lrwidget.engine.errors import InputTypeError, RecordError
from lrwidget.engine.plans.plan import one_cycle
from lrwidget.engine.runs.history import History
from lrwidget.engine.sweeps.curve import LossCurve, StopReason


def a_curve():
    losses = [2.3, 1 / 3, math.nan, -math.inf, math.inf]
    return LossCurve(
        np.geomspace(1e-7, 10, 5), losses, 0.9, StopReason.NOT_FINITE, (0.01, 1.0), ("körper", "kopf"), 100, 0.1
    )


def test_a_saved_curve_loads_the_same_to_the_last_bit(tmp_path):
    path = a_curve().save(tmp_path / "sweep.json")
    assert path == tmp_path / "sweep.json"
    assert record.load(path).same_as(a_curve())
    assert record.load(str(path)).same_as(a_curve())


def a_history():
    nan = np.full((2, 1), math.nan)
    return History(losses=[1.0, math.inf], lrs=[[0.1], [0.2]], momentum=nan, epochs=(), names=("a",), total_steps=9)


@pytest.mark.parametrize("saved", [a_curve(), one_cycle([1e-3, 1 / 30], 50, 2), a_history()], ids=record.kind_of)
def test_every_kind_of_record_comes_back_as_it_was_saved(tmp_path, saved):
    loaded = record.load(record.save(saved, tmp_path / "record.json"))
    assert type(loaded) is type(saved)
    assert loaded.to_dict() == saved.to_dict()


def test_the_file_is_json_that_other_readers_accept(tmp_path):
    text = record.save(a_curve(), tmp_path / "sweep.json").read_text(encoding="utf-8")

    def refuse(constant):
        raise AssertionError(constant)

    outer = json.loads(text, parse_constant=refuse)
    assert (outer["lrwidget"], outer["version"]) == ("curve", 1)
    assert outer["curve"]["losses"] == [2.3, 1 / 3, "nan", "-inf", "inf"]
    assert "körper" in text


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Make .*nowhere first"):
        a_curve().save(tmp_path / "nowhere" / "sweep.json")
    assert list(tmp_path.iterdir()) == []


def test_saving_leaves_nothing_but_the_file_and_replaces_an_older_one(tmp_path):
    path = tmp_path / "sweep.json"
    path.write_text("older")
    record.save(a_curve(), path)
    assert list(tmp_path.iterdir()) == [path]
    assert record.load(path).same_as(a_curve())


@pytest.mark.skipif(os.name != "posix", reason="file modes are posix")
def test_a_saved_file_is_as_readable_as_any_other_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    mode = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE(a_curve().save(tmp_path / "sweep.json").stat().st_mode) == mode


def test_a_save_that_fails_keeps_the_older_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = a_curve().save(tmp_path / "sweep.json")

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="no space"):
        LossCurve.from_arrays([1, 2], [1, 2]).save(path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert record.load(path).same_as(a_curve())


def test_something_else_cannot_be_saved(tmp_path):
    with pytest.raises(InputTypeError, match="Got dict; expected a curve, plan, history"):
        record.save({"losses": [1]}, tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        record.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no complete JSON"),
        ("\x80\x04pickle", "no complete JSON"),
        ("[" * 100_000, "no complete JSON"),
        ('{"lrwidget": "curve", "version": 1, "curve": {"losses": [NaN]}}', "NaN is not JSON"),
        ("[1, 2]", 'without the key "lrwidget"'),
        ('{"losses": [1]}', 'without the key "lrwidget"'),
        ('{"lrwidget": "curve", "curve": {}}', "version None"),
        ('{"lrwidget": "curve", "version": 99, "curve": {}}', "Upgrade lrwidget"),
        ('{"lrwidget": "poem", "version": 1, "poem": {}}', "kind 'poem'"),
        ('{"lrwidget": ["curve"], "version": 1}', "kind"),
        ('{"lrwidget": "curve", "version": 1}', "an object under that key"),
        ('{"lrwidget": "curve", "version": 1, "curve": {"losses": [1]}}', "expected exactly"),
    ],
)
def test_a_foreign_file_is_named_with_what_is_wrong(tmp_path, text, complaint):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RecordError, match=complaint) as caught:
        record.load(path)
    assert "other.json" in str(caught.value)


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    text = a_curve().save(tmp_path / "sweep.json").read_text(encoding="utf-8").rstrip()
    for length in range(0, len(text), 7):
        (tmp_path / "cut.json").write_text(text[:length], encoding="utf-8")
        with pytest.raises(RecordError):
            record.load(tmp_path / "cut.json")


def test_floats_survive_packing(tmp_path):
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf]
    packed = json.loads(json.dumps(record.pack_floats(values), allow_nan=False))
    assert record.unpack_floats(packed).tobytes() == np.array(values).tobytes()
    assert record.pack_floats(np.float32([0.5])) == [0.5]
    assert record.unpack_floats([]).shape == (0,)
