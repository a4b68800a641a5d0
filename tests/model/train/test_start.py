"""What a run starts from."""

from datetime import date
from pathlib import Path

import pytest
import torch

from distilpose.model.card import Card
from distilpose.model.networks import build
from distilpose.model.train.settings import DataSettings, RunSettings, TrainSettings
from distilpose.model.train.start import start_weights
from distilpose.model.weights import save


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


def settings(network: str, **files: Path) -> TrainSettings:
    data = DataSettings(people=Path("a"), cache=Path("b"))
    values = {"network": network, "data": data, "run": RunSettings(steps=1), **files}
    return TrainSettings.model_validate(values)


def test_a_student_starts_from_all_of_its_teacher_but_the_last_layers(teacher_file: Path) -> None:
    student = build("distilpose-s")
    taken = start_weights(student, settings("distilpose-s", teacher=teacher_file))
    names = [name for name in student.state_dict() if ".mlp_head." not in name]
    assert taken == len(names)


def test_a_teacher_goes_on_from_its_own_weights(teacher_file: Path) -> None:
    teacher = build("tokenpose-s")
    taken = start_weights(teacher, settings("tokenpose-s", start_from=teacher_file))
    assert taken == len(teacher.state_dict())


def test_a_run_from_scratch_takes_nothing() -> None:
    assert start_weights(build("tokenpose-s"), settings("tokenpose-s")) == 0
