"""What a run starts from."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from distilpose.model.card import Card
from distilpose.model.errors import WeightsError
from distilpose.model.load import packaged_student
from distilpose.model.networks import build, heatmap_head
from distilpose.model.train.settings import DataSettings, RunSettings, TrainSettings
from distilpose.model.train.start import start_heatmap_head, start_weights
from distilpose.model.weights import load, save


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    card = Card(
        architecture="tokenpose-s",
        version="1",
        created=date(2026, 1, 1),
        source="drawn",
        training_data="none",
        licences=(),
        accuracy=(),
        calibrated=False,
        limitations=(),
    )
    save(path, build("tokenpose-s").state_dict(), card)
    return path


def settings(network: str, **values: Any) -> TrainSettings:
    data = DataSettings(people=Path("a"), cache=Path("b"))
    run = {"network": network, "data": data, "run": RunSettings(steps=1)}
    return TrainSettings.model_validate(run | values)


def test_a_student_starts_from_all_of_its_teacher_but_the_last_layers(teacher_file: Path) -> None:
    student = build("distilpose-s")
    taken = start_weights(student, settings("distilpose-s", teacher=teacher_file))
    names = [name for name in student.state_dict() if ".mlp_head." not in name]
    assert taken == len(names)


def test_a_teacher_goes_on_from_its_own_weights(teacher_file: Path) -> None:
    teacher = build("tokenpose-s")
    taken = start_weights(teacher, settings("tokenpose-s", start_from=teacher_file))
    assert taken == len(teacher.state_dict())


def test_a_run_goes_on_from_the_packages_own_weights() -> None:
    network = build("distilpose-s")
    values = {"start_from": "packaged", "joint": True}
    assert start_weights(network, settings("distilpose-s", **values)) == len(network.state_dict())
    own, packaged = network.state_dict(), load(packaged_student()).network.state_dict()
    assert all(torch.equal(own[key], packaged[key]) for key in own)


def test_a_run_from_scratch_takes_nothing() -> None:
    assert start_weights(build("tokenpose-s"), settings("tokenpose-s")) == 0


def joint(**files: Path) -> TrainSettings:
    return settings("distilpose-s", joint=True, **files)


def test_a_joint_students_head_starts_from_the_last_layers_of_a_teacher(teacher_file: Path) -> None:
    head = heatmap_head(192)
    start_heatmap_head(head, joint(teacher=teacher_file))
    taught = load(teacher_file).network.output_layer.state_dict()
    assert {name: t.tolist() for name, t in head.state_dict().items()} == {
        name: t.tolist() for name, t in taught.items()
    }


def test_a_joint_students_head_starts_from_nothing_without_a_teacher() -> None:
    head = heatmap_head(192)
    before = {name: t.clone() for name, t in head.state_dict().items()}
    start_heatmap_head(head, joint())
    assert all(torch.equal(before[name], t) for name, t in head.state_dict().items())


def test_a_head_does_not_start_from_a_student(teacher_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    card = load(teacher_file).card.model_copy(update={"architecture": "distilpose-s"})
    save(path, build("distilpose-s").state_dict(), card)
    with pytest.raises(WeightsError, match=r"student\.safetensors: is not of a teacher that fits"):
        start_heatmap_head(heatmap_head(192), joint(teacher=path))
