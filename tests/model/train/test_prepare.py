"""The choice of the people to train on."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distilpose.model.errors import DataError
from distilpose.model.train.loop import Run
from distilpose.model.train.observers import Observer, Observers
from distilpose.model.train.prepare import prepare
from distilpose.model.train.settings import TrainSettings, load_run
from tiny_people import write_people

RUNS = Path(__file__).parents[3] / "docs" / "runs"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people labelled by hand and, as another source, the same in copies by machine."""
    folder = write_people(tmp_path_factory.mktemp("people"))
    document = json.loads((folder / "people.json").read_text())
    for image in document["images"]:
        image["id"] += 10
        copied = f"copy-{image['file_name']}"
        shutil.copy(folder / image["file_name"], folder / copied)
        image["file_name"] = copied
    for annotation in document["annotations"]:
        annotation["id"] += 10
        annotation["image_id"] += 10
        annotation["label"] = "pseudo"
    (folder / "machine.json").write_text(json.dumps(document))
    return folder


def prepared(people: Path, out: Path, observer: Observer | None = None, **data: Any) -> Run:
    settings = TrainSettings.model_validate(
        {
            "network": "tokenpose-s",
            "data": {"people": people, "cache": people / "cache", **data},
            "run": {"steps": 1, "batch_size": 1, "device": "cpu"},
        }
    )
    return prepare(settings, out, observer=observer or Observers([]))


def steps_an_epoch(people: Path, out: Path, **data: Any) -> int:
    return prepared(people, out, **data).loader.steps_per_epoch


def test_everyone_with_a_keypoint_is_learned_from(people: Path, tmp_path: Path) -> None:
    assert steps_an_epoch(people, tmp_path) == 12


def test_labels_that_count_nothing_get_no_place_in_a_batch(people: Path, tmp_path: Path) -> None:
    assert steps_an_epoch(people, tmp_path, label_weight={"pseudo": 0.0}) == 6


def test_nobody_to_learn_from_is_an_error(people: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nobody has a keypoint that counts"):
        steps_an_epoch(people, tmp_path, label_weight={"human": 0.0, "pseudo": 0.0})


class Notes(Observers):
    """Keeps the notes that a run makes."""

    def __init__(self) -> None:
        super().__init__([])
        self.texts: list[str] = []

    def on_note(self, text: str) -> None:
        self.texts.append(text)


def test_labels_left_out_are_noted_and_kept_for_the_card(tmp_path: Path) -> None:
    people, notes = write_people(tmp_path / "people"), Notes()
    document = json.loads((people / "people.json").read_text())
    document["annotations"][0]["keypoints"][2] = 0.5
    (people / "people.json").write_text(json.dumps(document))
    run = prepared(people, tmp_path, notes)
    assert run.loader.steps_per_epoch == 5
    assert run.label_notes == ["Left out: 1 (score 1) of 6 labels."]
    assert f"{people}: Left out: 1 (score 1) of 6 labels." in notes.texts
    assert "Left out: 1 (score 1)" in (tmp_path / "log.jsonl").read_text()


def test_the_layout_of_labels_is_chosen_by_the_settings(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")
    (people / "annotations").mkdir()
    shutil.copy(people / "people.json", people / "annotations/person_keypoints_val.json")
    with pytest.raises(DataError, match="holds labels in 2 layouts"):
        steps_an_epoch(people, tmp_path)
    assert steps_an_epoch(people, tmp_path, layout="coco") == 6


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
