"""Checkpoints that cannot be gone on from, and what a killed writer leaves."""

from pathlib import Path

import pytest
import torch

from distilpose.model.errors import WeightsError
from distilpose.model.train import checkpoint
from distilpose.model.train.settings import TrainSettings

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


def of_a_run(settings: TrainSettings) -> checkpoint.Checkpoint:
    helpers = {"dense.bias": torch.ones(17)} if settings.has_dense_map else {}
    return checkpoint.Checkpoint(
        step=3,
        spent_seconds=1.5,
        network={},
        averaged={},
        optimiser={},
        settings=settings.model_dump_json(),
        data_digest="digest",
        code_version="1",
        helpers=helpers,
    )


def run_of(batch_size: int = 2, dense: float = 0.01) -> TrainSettings:
    data = {"people": "people", "cache": "cache"}
    run = {"steps": 4, "batch_size": batch_size}
    loss = {"dense": dense}
    return TrainSettings.model_validate(
        {"network": "distilpose-n", "data": data, "run": run, "loss": loss}
    )


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (run_of(), run_of(batch_size=3), r"run\.batch_size is 3, was 2"),
        (run_of(), run_of(dense=0), r"loss\.dense is 0, but the run began with a dense map"),
        (run_of(dense=0), run_of(), r"loss\.dense is 0\.01, but the run began without a dense map"),
    ],
)
def test_what_a_run_cannot_change_on_its_way_is_named(
    before: TrainSettings, now: TrainSettings, message: str
) -> None:
    of_a_run(before).check_belongs_to(before, "digest", Path("checkpoint.pt"))
    with pytest.raises(WeightsError, match=message):
        of_a_run(before).check_belongs_to(now, "digest", Path("checkpoint.pt"))


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
