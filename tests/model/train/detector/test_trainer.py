"""Ultralytics' trainer with our pace. A whole run is tested in test_run.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.runtime.pytorch.yolo import person_network
from distilpose.model.train.detector.data import DetectorData, write_detector_data
from distilpose.model.train.detector.trainer import (
    DetectorSettings,
    make_trainer,
    person_network_with,
)
from distilpose.model.weights import read_tensors
from tiny_people import write_people

SETTINGS = DetectorSettings(epochs=1, image_size_px=64, batch_size=2)


class Steps:
    """A pace of a few steps."""

    rate = 0.00125

    def __init__(self, count: int, *, is_gentle: bool = True, is_save_due: bool = False) -> None:
        self._count = count
        self.is_gentle = is_gentle
        self.is_save_due = is_save_due
        self.losses: list[Mapping[str, float]] = []
        self.saved_after: list[int] = []

    @property
    def share(self) -> float:
        return len(self.losses) / self._count

    @property
    def is_over(self) -> bool:
        return self.share >= 1

    def begin(self, steps_per_epoch: int) -> int:
        assert steps_per_epoch == 1
        return 0

    def after_step(self, losses: Mapping[str, float]) -> None:
        self.losses.append(losses)

    def after_save(self) -> None:
        self.saved_after.append(len(self.losses))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DetectorData:
    folder = tmp_path_factory.mktemp("detector")
    return write_detector_data(PeopleFolder(write_people(folder / "people")), folder / "data")


def trainer_for(steps: Steps, data: DetectorData, folder: Path) -> Any:
    tensors, _, _ = read_tensors(PACKAGED)
    return make_trainer(
        steps,
        SETTINGS,
        data,
        folder=folder / "log",
        checkpoint=folder / "checkpoint.pt",
        module=person_network_with(tensors, PACKAGED),
    )


def test_every_weight_comes_from_the_file() -> None:
    tensors, _, _ = read_tensors(PACKAGED)

    own = person_network_with(tensors, PACKAGED).state_dict()

    assert tensors.keys() == {name for name in own if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(own[name], tensor.float()) for name, tensor in tensors.items())


def test_a_missing_weight_is_refused() -> None:
    tensors, _, _ = read_tensors(PACKAGED)
    del tensors["model.22.cv3.0.0.conv.weight"]

    with pytest.raises(WeightsError, match=r"lost\.safetensors: not every tensor fits"):
        person_network_with(tensors, Path("lost.safetensors"))


def test_the_class_branch_of_a_network_built_for_one_class_is_refused() -> None:
    tensors, _, _ = read_tensors(PACKAGED)
    tensors["model.22.cv3.0.0.conv.weight"] = torch.zeros(64, 64, 3, 3)

    with pytest.raises(WeightsError, match="not every tensor fits"):
        person_network_with(tensors, Path("narrow.safetensors"))


def test_one_class_is_trained_with_the_published_class_branch(
    data: DetectorData, tmp_path: Path
) -> None:
    steps = Steps(1)
    trainer = trainer_for(steps, data, tmp_path)

    trainer.train()

    branch = trainer.model.model[-1].cv3[0]
    assert [branch[0].conv.out_channels, branch[1].conv.out_channels] == [80, 80]
    assert branch[2].weight.shape == (1, 80, 1, 1)
    assert trainer.model.nc == 1
    assert steps.losses[0].keys() == {"box_loss", "cls_loss", "dfl_loss"}


def test_training_begins_with_the_weights_of_the_file(data: DetectorData, tmp_path: Path) -> None:
    tensors, _, _ = read_tensors(PACKAGED)
    trainer = trainer_for(Steps(1), data, tmp_path)

    trainer._setup_train()

    trained = trainer.model.state_dict()
    assert all(torch.equal(trained[name], tensor.float()) for name, tensor in tensors.items())


@pytest.mark.parametrize("is_gentle", [True, False])
def test_a_trained_network_keeps_the_statistics_of_its_norms(
    data: DetectorData, tmp_path: Path, is_gentle: bool
) -> None:
    tensors, _, _ = read_tensors(PACKAGED)
    name = "model.0.bn.running_mean"
    trainer = trainer_for(Steps(1, is_gentle=is_gentle), data, tmp_path)

    trainer.train()

    kept = torch.equal(trainer.model.state_dict()[name], tensors[name].float())
    assert kept is is_gentle
    assert not torch.equal(
        trainer.model.state_dict()["model.0.bn.weight"], tensors["model.0.bn.weight"].float()
    )


def test_the_pace_sets_the_rate_of_every_group(data: DetectorData, tmp_path: Path) -> None:
    trainer = trainer_for(Steps(2), data, tmp_path)

    trainer.train()

    assert {group["lr"] for group in trainer.optimizer.param_groups} == {Steps.rate}


def test_a_checkpoint_is_written_when_due_and_at_the_end(
    data: DetectorData, tmp_path: Path
) -> None:
    steps = Steps(3, is_save_due=True)

    trainer_for(steps, data, tmp_path).train()

    assert steps.saved_after == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log"]
    assert list((tmp_path / "log" / "weights").iterdir()) == []


@pytest.mark.parametrize(("count", "expected"), [(8, [0.875]), (3, [])])
def test_pictures_are_put_together_but_for_the_last_part_of_a_run(
    data: DetectorData, tmp_path: Path, count: int, expected: list[float]
) -> None:
    steps, ended_at = Steps(count), list[float]()
    trainer = trainer_for(steps, data, tmp_path)
    trainer._close_dataloader_mosaic = lambda: ended_at.append(steps.share)

    trainer.train()

    assert trainer.args.mosaic == 1
    assert ended_at == expected


def test_memory_that_runs_out_is_reported(data: DetectorData, tmp_path: Path) -> None:
    trainer = trainer_for(Steps(1), data, tmp_path)

    def run_out(_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    trainer.preprocess_batch = run_out

    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train()
    assert trainer.batch_size == 2


def test_the_threads_of_the_process_stay(data: DetectorData, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        trainer_for(Steps(1), data, tmp_path)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_damaged_checkpoint_is_refused(data: DetectorData, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"not a checkpoint")

    with pytest.raises(WeightsError, match=r"checkpoint\.pt: cannot be gone on from"):
        make_trainer(Steps(1), SETTINGS, data, folder=tmp_path, checkpoint=checkpoint, module=None)


def test_a_checkpoint_of_another_network_is_refused(data: DetectorData, tmp_path: Path) -> None:
    other = person_network()
    for level in other.model[-1].cv3:
        level[2].weight = torch.nn.Parameter(torch.zeros(2, 80, 1, 1))
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save({"ema": other, "train_args": {}, "epoch": 0}, checkpoint)
    trainer = make_trainer(
        Steps(1), SETTINGS, data, folder=tmp_path, checkpoint=checkpoint, module=None
    )

    with pytest.raises(WeightsError, match=r"checkpoint\.pt: not every tensor fits"):
        trainer.train()


@pytest.mark.parametrize("lengths", [{}, {"epochs": 1, "budget_seconds": 60}])
def test_a_run_has_one_length(lengths: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="a length in epochs or a time budget"):
        DetectorSettings(**lengths)  # type: ignore[arg-type]  # of the parameters' values only


@pytest.mark.parametrize("size", [32, 65, 100])
def test_a_size_that_does_not_work_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"image size {size} is not a multiple of 32 from 64 on"):
        DetectorSettings(epochs=1, image_size_px=size)
