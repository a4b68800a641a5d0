"""Labels with things changed at random: read in order, or stopped with a sentence; never silent."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from distilpose.cli import main
from distilpose.model.data.people import PeopleFolder, coco_document
from distilpose.model.errors import DataError
from distilpose.model.measure.accuracy import coco_figures
from distilpose.model.train.detector.data import label_lines
from distilpose.model.train.feed.cache import TRAINING
from distilpose.model.train.feed.table import tabulate
from mutated_labels import PEOPLE, mutated, whole, write_labels, write_pictures

IN_CI, IN_ALL = 200, 10_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path)
    return tmp_path


def checked(folder: Path) -> Result:
    done = CliRunner().invoke(main, ["data", "check", str(folder)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output
    return done


def people_of(folder: Path) -> PeopleFolder | None:
    try:
        return PeopleFolder(folder)
    except DataError:
        return None


def perfect_results(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: entry[name] for name in ("image_id", "category_id", "keypoints")} | {"score": 0.9}
        for entry in truth["annotations"]
        if entry["num_keypoints"] and not entry["iscrowd"]
    ]


def check_people(people: PeopleFolder) -> None:
    """Everyone is finite and counted, and no later step meets anything odd."""
    everyone = [person for picture in people.pictures for person in picture.people]
    for person in everyone:
        numbers = [person.box_xyxy_px, person.keypoints_xy_px, person.keypoint_weight]
        assert all(np.isfinite(each).all() for each in numbers)
        assert (person.box_xyxy_px[2:] > person.box_xyxy_px[:2]).all()
        assert set(person.visibility.tolist()) <= {0, 1, 2}
        assert not person.keypoints_xy_px[person.visibility == 0].any()
        assert person.area_px2 > 0
    usable = sum(not person.is_left_out for person in everyone)
    assert usable + people.labels.left_out.total() == people.labels.annotations.total()
    truth = coco_document(people.pictures)
    json.dumps(truth, allow_nan=False)
    assert [each["id"] for each in truth["annotations"]] == list(range(1, len(everyone) + 1))
    results = perfect_results(truth)
    if results:
        assert coco_figures(truth, results).ap == pytest.approx(1)
    for picture in people.pictures:
        label_lines(picture)
    with suppress(DataError):  # nobody has a box in the picture
        tabulate(people, TRAINING)


def check_one(folder: Path, content: Any) -> None:
    write_labels(folder, content)
    done, people = checked(folder), people_of(folder)
    if people is None:
        assert done.exit_code == 2
        assert done.stderr.startswith(f"Error: {folder}")
        assert len(done.stderr.strip().splitlines()) == 1
        return
    check_people(people)
    usable = any(not each.is_left_out for picture in people.pictures for each in picture.people)
    assert done.exit_code in ({0, 1} if usable else {2})
    for fault in people.labels.faults:
        assert fault.breach.rule.meaning in done.stdout
    if people.labels.notes():
        assert done.exit_code > 0
    if done.exit_code == 0:
        assert f"{people.labels.annotations.total()} people in mine" in done.stdout


def test_a_whole_document_is_clean(folder: Path) -> None:
    check_one(folder, whole())
    done = checked(folder)
    assert done.exit_code == 0
    assert f"{PEOPLE} people in mine; no fault in the labels" in done.stdout


def test_some_changes_at_random_are_told(folder: Path) -> None:
    for seed in range(IN_CI):
        check_one(folder, mutated(seed))


@pytest.mark.slow
def test_many_changes_at_random_are_told(folder: Path) -> None:
    for seed in range(IN_CI, IN_ALL):
        check_one(folder, mutated(seed))
