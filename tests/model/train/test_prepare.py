"""The choice of the people to train on."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from distilpose.model.errors import DataError
from distilpose.model.train.observers import Observers
from distilpose.model.train.prepare import prepare
from distilpose.model.train.settings import TrainSettings, load_run
from tiny_people import write_people

RUNS = Path(__file__).parents[3] / "docs" / "runs"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people labelled by hand and, as another source, the same by machine."""
    folder = write_people(tmp_path_factory.mktemp("people"))
    document = json.loads((folder / "people.json").read_text())
    for image in document["images"]:
        image["id"] += 10
    for annotation in document["annotations"]:
        annotation["id"] += 10
        annotation["image_id"] += 10
        annotation["label"] = "pseudo"
    (folder / "machine.json").write_text(json.dumps(document))
    return folder


def steps_an_epoch(people: Path, out: Path, **data: Any) -> int:
    settings = TrainSettings.model_validate(
        {
            "network": "tokenpose-s",
            "data": {"people": people, "cache": people / "cache", **data},
            "run": {"steps": 1, "batch_size": 1, "device": "cpu"},
        }
    )
    return prepare(settings, out, observer=Observers([])).loader.steps_per_epoch


def test_everyone_with_a_keypoint_is_learned_from(people: Path, tmp_path: Path) -> None:
    assert steps_an_epoch(people, tmp_path) == 12


def test_labels_that_count_nothing_get_no_place_in_a_batch(people: Path, tmp_path: Path) -> None:
    assert steps_an_epoch(people, tmp_path, label_weight={"pseudo": 0.0}) == 6


def test_nobody_to_learn_from_is_an_error(people: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nobody has a keypoint that counts"):
        steps_an_epoch(people, tmp_path, label_weight={"human": 0.0, "pseudo": 0.0})


@pytest.mark.parametrize("name", ["distilpose-n", "tokenpose-n"])
def test_the_documented_runs_take_a_coco_download(name: str, tmp_path: Path) -> None:
    for folder, source in (("people", "train2017"), ("people-eval", "val2017")):
        labels = write_people(tmp_path / folder) / "people.json"
        packed = labels.with_name(f"person_keypoints_{source}.json.gz")
        packed.write_bytes(gzip.compress(labels.read_bytes()))
        labels.unlink()
    changes = {
        "data.people": tmp_path / "people",
        "data.evaluate_on": tmp_path / "people-eval",
        "data.cache": tmp_path / "cache",
        "run.device": "cpu",
        "run.budget_seconds": None,
        "run.crops": None,
        "run.steps": 1,
        "run.batch_size": 2,
    }
    run = prepare(load_run(RUNS / f"{name}.yaml", changes), tmp_path, observer=Observers([]))
    assert run.loader.steps_per_epoch == 3
    assert run.held_out is not None
