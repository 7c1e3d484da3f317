from pathlib import Path

import pytest

from lrwidget.engine.runs.checkpoint import CheckpointFolder
from lrwidget.engine.runs.checkpointing import CHECKPOINT_EVERY_S, Checkpointing


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    folder = CheckpointFolder(tmp_path)
    folder.begin()
    return folder


def test_every_so_many_steps(folder: CheckpointFolder) -> None:
    checkpoints = Checkpointing(folder, 3)
    assert [step for step in range(1, 10) if checkpoints.due(step)] == [3, 6, 9]


def test_by_the_clock_since_the_last_one_was_written(folder: CheckpointFolder) -> None:
    clock = Clock()
    checkpoints = Checkpointing(folder, None, clock)
    checkpoints.write(1, 0, {})
    clock.now += CHECKPOINT_EVERY_S
    assert not checkpoints.due(2)
    clock.now += 1
    assert checkpoints.due(2)
    checkpoints.write(2, 0, {})
    assert not checkpoints.due(3)


def test_none_is_written_twice_for_the_same_steps_and_epochs(folder: CheckpointFolder) -> None:
    checkpoints = Checkpointing(folder, None)
    assert checkpoints.lacks(6, 0)
    checkpoints.write(6, 0, {})
    assert not checkpoints.lacks(6, 0)
    assert checkpoints.lacks(6, 1) and checkpoints.lacks(7, 0)


def test_without_a_folder_none_is_ever_due_or_lacking() -> None:
    checkpoints = Checkpointing(None, None)
    assert not checkpoints.due(1) and not checkpoints.lacks(1, 0)
