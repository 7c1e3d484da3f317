"""The benchmarks still run: the smallest of each that needs no other finder. What they measure is not looked at."""

import compileall
from pathlib import Path

import pytest
import torch

from benchmarks import finding, giving_back, gpu, long, loops, memory, rules
from benchmarks.measure import Spread, race
from benchmarks.report import Row, Section, table, write

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_every_module_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.pycache_prefix", str(tmp_path))
    assert all(compileall.compile_file(path, quiet=1) for path in BENCHMARKS.glob("*.py"))


def test_a_sweep_and_a_fit_are_raced_against_the_bare_loop() -> None:
    ratios = finding.sweep_ratios(loops.mlp, {}, rounds=1, steps=4)
    assert list(ratios) == ["lrwidget"]
    assert finding.fit_ratio(rounds=1, steps=4).rounds.low > 0


def test_giving_back_and_its_memory_are_measured() -> None:
    ratios = giving_back.ratios({}, layers=1, rounds=1)
    assert set(ratios) == {"clone and copy_", "lrwidget"}
    assert memory.peak_over_bytes("lrwidget", layers=1) > 0.5


def test_what_is_measured_on_a_gpu_runs_on_a_cpu_as_well() -> None:
    cpu = torch.device("cpu")
    (row,) = gpu.throughput(lambda: gpu.small(cpu, batches=2), {}, steps=4, rounds=1)
    assert row.value > 0
    beside, on_the_cpu = gpu.giving_back(lambda: gpu.large(cpu, layers=1, width=16), rounds=1)
    assert beside.value > 0 and on_the_cpu.value > 0


def test_many_sweeps_leave_no_thread_file_or_comm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gained = long.measure_sweeps(20)
    assert {gained[what] for what in ("threads", "open files", "files in the folder", "comms")} == {0}


def test_rules_are_timed() -> None:
    assert len(rules.rows(quick=True)) == 4


def test_contestants_take_turns_and_the_first_is_compared_with_itself() -> None:
    order: list[str] = []
    ratios = race({name: lambda name=name: order.append(name) for name in "abc"}, rounds=2)  # type: ignore[misc]
    assert "".join(order) == "abc" + "abc" + "bca"
    assert ratios["a"].rounds == Spread(1, 1, 1)


def test_a_page_says_what_was_met_and_by_how_much_the_rest_was_missed(tmp_path: Path) -> None:
    rows = [
        Row("time", 1.02, 1.03),
        Row("size", 35.0, 30.0, "{:.0f} kB"),
        Row("speed", 0.5, 0.6, "{:.0%}", at_least=True),
        Row("other", 2.0),
    ]
    assert [row.met for row in rows] == [True, False, False, None]
    page = tmp_path / "page.md"
    write(page, [Section("Title", "Words.", rows)], head="# Head\n")
    assert table(rows) in page.read_text()
    assert "| size | ≤ 30 kB | 35 kB | **missed by 5 kB** |  |" in page.read_text()
