"""Checkpoints that cannot be resumed, and the leftovers of a killed writer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distilpose.model.errors import WeightsError
from distilpose.model.networks import build
from distilpose.model.train import checkpoint
from distilpose.model.train.helpers import Helped
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.step import make_optimiser

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


def test_a_run_goes_on_from_the_checkpoint_in_its_folder_if_there_is_one(tmp_path: Path) -> None:
    settings = run_of()
    assert checkpoint.load_own(tmp_path, settings, "digest", CPU) is None
    checkpoint.save(tmp_path / checkpoint.NAME, of_a_run(settings))
    found = checkpoint.load_own(tmp_path, settings, "digest", CPU)
    assert found is not None
    assert found.step == 3
    with pytest.raises(WeightsError, match="was trained on other data"):
        checkpoint.load_own(tmp_path, settings, "another", CPU)


def test_crops_before_a_run_are_those_that_its_steps_did_not_see() -> None:
    state = of_a_run(run_of())
    assert state.crops_before(2) is None
    assert replace(state, crops_seen=10).crops_before(2) == 4


def test_a_checkpoint_gives_back_weights_helpers_and_optimiser() -> None:
    torch.manual_seed(0)
    settings = run_of()
    helped, other = (Helped(build("distilpose-n"), settings.loss) for _ in range(2))
    optimiser, fresh = (make_optimiser(each, settings.optimiser) for each in (helped, other))
    helped(torch.rand(1, 3, 256, 192))[0].xy_crop.sum().backward()
    optimiser.step()
    state = replace(
        of_a_run(settings),
        network=helped.network.state_dict(),
        averaged=helped.network.state_dict(),
        optimiser=optimiser.state_dict(),
        helpers=helped.own_state(),
    )
    averaged = build("distilpose-n")
    state.restore(helped=other, averaged=averaged, optimiser=fresh)
    for mine, theirs in ((other, helped), (averaged, helped.network)):
        expected = theirs.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in mine.state_dict().items())
    assert fresh.state_dict()["state"].keys() == optimiser.state_dict()["state"].keys() != set()
