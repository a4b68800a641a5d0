"""Label files, read the way training reads them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.runtime.detector import Detections
from distilpose.model.train.feed.cache import EVALUATION
from distilpose.model.train.feed.table import tabulate
from distilpose.model.train.label.file import document, picture_id, write
from distilpose.model.train.label.photos import LabelledPhoto
from distilpose.model.train.label.trust import Labels

XY_PX = np.stack([np.arange(17) + 12.5, np.arange(17) + 20.25], axis=-1).astype(np.float32)
WEIGHT = np.array([0, 0.05, *[0.75] * 15], np.float32)


def photo(file_name: str, *weights: np.ndarray, doubtful: int = 0) -> LabelledPhoto:
    """A photo of 80 x 60 pixels with a person for each of the weights, all at the same place."""
    count = len(weights)
    people = Detections(
        np.tile(np.array([[10, 15, 50, 55]], np.float32), (count, 1)),
        np.full(count, 0.875, np.float32),
    )
    labels = Labels(np.tile(XY_PX, (count, 1, 1)), np.array(weights).reshape(-1, 17))
    unsure = Detections(
        np.array([[0, 0, 9 + each, 9] for each in range(doubtful)], np.float32).reshape(-1, 4),
        np.full(doubtful, 0.25, np.float32),
    )
    return LabelledPhoto(file_name, (80, 60), people, labels, unsure)


def written(folder: Path, *photos: LabelledPhoto) -> PeopleFolder:
    """The folder of the photos with their labels beside them."""
    for each in photos:
        (folder / each.file_name).parent.mkdir(exist_ok=True)
        Image.new("RGB", each.size_wh).save(folder / each.file_name)
    write(folder / "labels.json.gz", document(photos, {}))
    return PeopleFolder(folder)


def test_a_person_comes_back_as_labelled(tmp_path: Path) -> None:
    [picture] = written(tmp_path, photo("a.png", WEIGHT)).pictures
    [person] = picture.people
    assert person.label == "pseudo"
    np.testing.assert_array_equal(person.visibility, [0, *[2] * 16])
    np.testing.assert_allclose(person.keypoints_xy_px, XY_PX * (WEIGHT > 0)[:, None])
    np.testing.assert_allclose(person.keypoint_weight, WEIGHT)
    np.testing.assert_allclose(person.box_xyxy_px, [10, 15, 50, 55])
    assert person.area_px2 == pytest.approx(0.53 * 40 * 40)


def test_a_person_without_a_trusted_keypoint_is_a_box(tmp_path: Path) -> None:
    [picture] = written(tmp_path, photo("a.png", np.zeros(17))).pictures
    [person] = picture.people
    assert person.label == "box"
    assert not person.has_keypoints


def test_photos_in_inner_folders_are_found_and_read(tmp_path: Path) -> None:
    folder = written(tmp_path, photo("inner/a.png", WEIGHT), photo("b.png"))
    assert [folder.read(picture).shape for picture in folder.pictures] == [(60, 80, 3)] * 2


def test_everyone_who_may_be_a_person_has_a_box(tmp_path: Path) -> None:
    [picture] = written(tmp_path, photo("a.png", WEIGHT, doubtful=2)).pictures
    assert picture.boxes_complete
    assert [person.label for person in picture.people] == ["pseudo", "doubtful", "doubtful"]


def test_training_takes_people_and_leaves_doubtful_ones(tmp_path: Path) -> None:
    folder = written(tmp_path, photo("a.png", WEIGHT, np.zeros(17), doubtful=3))
    table, _ = tabulate(folder, EVALUATION)
    assert table.label.tolist() == ["pseudo", "box"]
    np.testing.assert_allclose(table.weight, np.stack([WEIGHT, np.zeros(17)]))


def test_files_that_were_written_apart_lie_in_one_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (80, 60)).save(tmp_path / f"{name}.png")
        write(tmp_path / f"{name}.json.gz", document([photo(f"{name}.png", WEIGHT)], {}))
    assert len(PeopleFolder(tmp_path).pictures) == 2


def test_a_pictures_id_is_its_own() -> None:
    assert picture_id("a.png") == picture_id("a.png") < 2**48
    assert len({picture_id(f"{number}.png") for number in range(10_000)}) == 10_000


def test_the_document_says_how_it_came_about(tmp_path: Path) -> None:
    write(tmp_path / "labels.json.gz", document([], {"network": {"sha256": "abc"}}))
    with gzip.open(tmp_path / "labels.json.gz", "rt") as file:
        assert json.load(file)["info"] == {"network": {"sha256": "abc"}}


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "labels.json.gz").mkdir()
    with pytest.raises(DataError, match=r"labels\.json\.gz: cannot be written"):
        write(tmp_path / "labels.json.gz", document([], {}))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json.gz"]
