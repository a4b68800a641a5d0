from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.letterbox import BORDER_VALUE
from distilpose.model.networks.offline import import_ultralytics
from distilpose.model.train.detector.data import grey_ignored, label_lines, write_detector_data
from labelled import HEIGHT, WIDTH, person, picture, write_folder

BOX_XYWH = (30, 18, 60, 36)
BOX_LABEL = "0 0.500000 0.400000 0.500000 0.400000\n"


def ids(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


def only_picture(folder: Path, *people: dict[str, Any]) -> PeopleFolder:
    return write_folder(folder, [picture(1)], list(people))


def test_every_picture_has_an_image_and_its_labels(tmp_path: Path) -> None:
    people = write_folder(tmp_path / "people", [picture(1), picture(2)], [person(1, bbox=BOX_XYWH)])

    data = write_detector_data(people, tmp_path / "data")

    assert data.count == 2
    assert ids(data.pictures) == ["1", "2"]
    assert (tmp_path / "data" / "labels" / "train" / "1.txt").read_text() == BOX_LABEL
    assert (tmp_path / "data" / "labels" / "train" / "2.txt").read_text() == ""
    with Image.open(data.pictures / "1.jpg") as written:
        difference = np.asarray(written, np.int16) - people.read(people.pictures[0])
    assert abs(difference).mean() < 2


def test_ultralytics_reads_the_boxes(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1, bbox=BOX_XYWH))
    data = write_detector_data(people, tmp_path / "data")

    described = yaml.safe_load(data.description.read_text())
    folder = str(data.description.parent / described["train"])
    data_set = import_ultralytics("data.dataset").YOLODataset(img_path=folder, data=described)

    assert described["names"] == {0: "person"}
    [labels] = data_set.labels
    assert labels["shape"] == (HEIGHT, WIDTH)
    assert np.allclose(labels["bboxes"], [[0.5, 0.4, 0.5, 0.4]])
    assert labels["cls"].tolist() == [[0]]


def test_pictures_in_which_not_everyone_has_a_box_are_left_out(tmp_path: Path) -> None:
    pictures = [picture(1), picture(2, boxes_complete=False)]
    people = write_folder(tmp_path / "people", pictures, [person(1), person(2)])

    assert ids(write_detector_data(people, tmp_path / "data").pictures) == ["1"]


def test_held_out_pictures_are_left_out(tmp_path: Path) -> None:
    pictures = [picture(19), picture(20), picture(40)]
    people = write_folder(tmp_path / "people", pictures, [person(each) for each in (19, 20, 40)])

    assert ids(write_detector_data(people, tmp_path / "data").pictures) == ["19"]


@pytest.mark.parametrize("extra", [{"label": "doubtful"}, {"iscrowd": 1}])
def test_who_is_ignored_is_grey_and_has_no_label(tmp_path: Path, extra: dict[str, Any]) -> None:
    people = only_picture(tmp_path / "people", person(1, bbox=BOX_XYWH, **extra))
    [only] = people.pictures
    image_HWC = people.read(only)

    painted_HWC = grey_ignored(image_HWC, only)

    assert label_lines(only) == ""
    inside = np.zeros((HEIGHT, WIDTH), np.bool_)
    inside[18:54, 30:90] = True
    assert (painted_HWC[inside] == BORDER_VALUE).all()
    assert (painted_HWC[~inside] == image_HWC[~inside]).all()


def test_what_is_written_is_the_painted_picture(tmp_path: Path) -> None:
    crowd = person(1, bbox=BOX_XYWH, iscrowd=1)
    people = only_picture(tmp_path / "people", crowd, person(1, bbox=(0, 0, 10, 10)))

    data = write_detector_data(people, tmp_path / "data")

    with Image.open(data.pictures / "1.jpg") as written:
        middle = np.asarray(written)[26:46, 38:82]
    assert abs(middle.astype(np.int16) - BORDER_VALUE).max() <= 2


def test_nobody_is_painted_over_by_a_crowd(tmp_path: Path) -> None:
    crowd, someone = person(1, bbox=(0, 0, WIDTH, HEIGHT), iscrowd=1), person(1, bbox=BOX_XYWH)
    people = only_picture(tmp_path / "people", crowd, someone)
    [only] = people.pictures
    image_HWC = people.read(only)

    painted_HWC = grey_ignored(image_HWC, only)

    assert label_lines(only) == BOX_LABEL
    assert (painted_HWC[18:54, 30:90] == image_HWC[18:54, 30:90]).all()
    assert (painted_HWC[:18] == BORDER_VALUE).all()


def test_a_box_ends_where_the_picture_ends(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1, bbox=(60, -10, 100, 55)))

    assert label_lines(people.pictures[0]) == "0 0.750000 0.250000 0.500000 0.500000\n"


def test_a_box_of_less_than_a_pixel_is_no_label(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1, bbox=(119.5, 10, 30, 30)))

    assert label_lines(people.pictures[0]) == ""


def test_a_data_set_that_fits_is_used_again(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1))
    first = write_detector_data(people, tmp_path / "data")
    progress: list[int] = []

    again = write_detector_data(
        people, tmp_path / "data", on_progress=lambda done, total: progress.append(done)
    )

    assert again == first
    assert progress == []


def test_other_labels_are_written_anew(tmp_path: Path) -> None:
    write_detector_data(only_picture(tmp_path / "people", person(1)), tmp_path / "data")
    pictures = [picture(2)]
    other = write_folder(tmp_path / "people", pictures, [person(2, bbox=BOX_XYWH)])

    data = write_detector_data(other, tmp_path / "data")

    assert ids(data.pictures) == ["2"]
    assert ids(tmp_path / "data" / "labels" / "train") == ["2"]


def test_a_data_set_that_was_not_finished_is_written_anew(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1))
    data = write_detector_data(people, tmp_path / "data")
    data.description.write_text("digest: unfinished\n")
    (data.pictures / "1.jpg").write_bytes(b"half a picture")

    write_detector_data(people, tmp_path / "data")

    with Image.open(data.pictures / "1.jpg") as written:
        assert written.size == (WIDTH, HEIGHT)


def test_a_folder_with_nobody_to_train_on_is_refused(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1, label="doubtful"))

    with pytest.raises(DataError, match="people: nobody to train on in 1 complete pictures"):
        write_detector_data(people, tmp_path / "data")


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1))
    (tmp_path / "people" / "1.png").write_bytes(b"no picture")

    with pytest.raises(DataError, match=r"1\.png: the image is not of a known format"):
        write_detector_data(people, tmp_path / "data")
    described = yaml.safe_load((tmp_path / "data" / "data.yaml").read_text())
    assert described["digest"] == "unfinished"


def test_a_data_set_that_nobody_of_ours_wrote_is_left_alone(tmp_path: Path) -> None:
    people = only_picture(tmp_path / "people", person(1, bbox=BOX_XYWH))
    theirs = tmp_path / "data" / "images" / "train" / "mine.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"mine")
    (tmp_path / "data" / "data.yaml").write_text("train: images/train\n")
    with pytest.raises(DataError, match=r"data: data\.yaml is there already, and no earlier run"):
        write_detector_data(people, tmp_path / "data")
    assert theirs.read_bytes() == b"mine"
