"""Checkpoints that cannot be gone on from, and what a killed writer leaves."""

from pathlib import Path

import pytest
import torch

from distilpose.model.errors import WeightsError
from distilpose.model.train import checkpoint

CPU = torch.device("cpu")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pt: no such file"):
        checkpoint.load(tmp_path / "none.pt", CPU)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half a file"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a checkpoint of a run"):
        checkpoint.load(path, CPU)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 3}, path)
    with pytest.raises(WeightsError, match="not a checkpoint of a run"):
        checkpoint.load(path, CPU)


def test_what_a_killed_writer_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.pt.unfinished").write_bytes(b"PK\x03\x04 half a file" * 1000)
    state = checkpoint.Checkpoint(
        step=3,
        spent_seconds=1.5,
        network={"weight": torch.ones(2)},
        averaged={},
        optimiser={},
        settings="{}",
        data_digest="digest",
        code_version="1",
    )
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    assert checkpoint.load(tmp_path / "checkpoint.pt", CPU).step == 3
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
