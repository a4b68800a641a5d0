"""YOLO-pose texts: shares of a picture become pixels, and each fault is named by file and line."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.skeleton import KEYPOINT_NAMES

WIDTH, HEIGHT = 200, 100
SHARES = [(0.3 + 0.02 * number, 0.2 + 0.03 * number) for number in range(17)]
BOX = (0.5, 0.5, 0.4, 0.8)


def row(*, box: Any = BOX, points: Any = None, visibility: Any = (2,), number: Any = 0) -> str:
    triples = [(*point, *visibility) for point in SHARES] if points is None else points
    return " ".join(map(str, [number, *box, *(value for point in triples for value in point)]))


def write(
    folder: Path,
    labels: dict[str, str],
    *,
    split: str = "train",
    pictures: int = 1,
    **fields: Any,
) -> Path:
    """A data set with pictures `1.png` and on, and these label files."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    for number in range(1, pictures + 1):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / split / f"{number}.png")
    for name, text in labels.items():
        (folder / "labels" / split / name).write_text(text, "utf-8")
    content = {
        "path": "../somewhere",
        "train": "images/train",
        "kpt_shape": [17, 3],
        "flip_idx": list(range(17)),
        "names": {0: "person"},
    } | fields
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder


def names(people: PeopleFolder) -> list[str]:
    return [fault.breach.rule.name for fault in people.labels.faults]


def test_shares_become_pixels(tmp_path: Path) -> None:
    people = PeopleFolder(write(tmp_path, {"1.txt": row()}))
    [picture] = people.pictures
    [person] = picture.people
    assert (picture.size_wh, picture.source, people.layout) == ((WIDTH, HEIGHT), "train", "yolo")
    assert person.box_xyxy_px.tolist() == pytest.approx([60, 10, 140, 90])
    assert person.keypoints_xy_px[0].tolist() == pytest.approx([60, 20])
    assert person.visibility.tolist() == [2] * 17
    assert person.area_px2 == pytest.approx(0.53 * 80 * 80)
    assert names(people) == []
    assert people.read(picture).shape == (HEIGHT, WIDTH, 3)


def test_points_without_visibility_are_labelled_unless_they_are_0_0(tmp_path: Path) -> None:
    points = [(0, 0), (-0.1, 0.5), *SHARES[2:]]
    folder = write(tmp_path, {"1.txt": row(points=points)}, kpt_shape=[17, 2])
    [person] = PeopleFolder(folder).pictures[0].people
    assert person.visibility.tolist() == [0, 0, *[2] * 15]


def test_keypoints_are_ordered_by_their_names(tmp_path: Path) -> None:
    backwards = {0: list(reversed(KEYPOINT_NAMES))}
    people = PeopleFolder(write(tmp_path, {"1.txt": row()}, kpt_names=backwards))
    [person] = people.pictures[0].people
    assert person.keypoints_xy_px[16].tolist() == pytest.approx([60, 20])
    assert names(people) == ["order"]


def test_a_picture_without_a_text_shows_nobody(tmp_path: Path) -> None:
    people = PeopleFolder(write(tmp_path, {"2.txt": row()}, pictures=2))
    assert [len(picture.people) for picture in people.pictures] == [0, 1]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (row(visibility=(0.9,)), "score"),
        (row(points=[(0.1, 0.2, 2)] * 5), "length"),
        (row(points=[(0.1, 0.2)] * 17), "length"),
        ("0 0.5 0.5", "length"),
        (row(box=(100, 50, 80, 80)), "not normalised"),
        (row(box=("nan", 0.5, 0.4, 0.8)), "box"),
        (row(number=1), "unknown category"),
        (row(number="person"), "unknown category"),
        (row(box=(0.5, 0.5, 0, 0), visibility=(0,)), "no box"),
        (row(box=(0.5, 0.5, 0.2, 0.2)), "twice"),
    ],
)
def test_a_line_that_is_left_out_is_named(tmp_path: Path, line: str, fault: str) -> None:
    kept = [row(box=(0.5, 0.5, 0.2, share / 10)) for share in (2, 3, 4)]
    people = PeopleFolder(write(tmp_path, {"1.txt": "\n\n".join([*kept, line])}))
    assert sum(not person.is_left_out for person in people.pictures[0].people) == 3
    [found] = people.labels.faults
    assert found.breach.rule.name == fault
    assert found.origin == ("labels/train/1.txt", "line 7")


def test_a_line_of_a_box_alone_is_a_person_without_keypoints(tmp_path: Path) -> None:
    people = PeopleFolder(write(tmp_path, {"1.txt": row(points=[])}))
    assert [person.has_keypoints for person in people.pictures[0].people] == [False]
    assert names(people) == []


def test_a_word_that_is_no_number_is_a_point_that_is_not_labelled(tmp_path: Path) -> None:
    points = [("x", 0.5, 2), *((*point, 2) for point in SHARES[1:])]
    people = PeopleFolder(write(tmp_path, {"1.txt": "\ufeff" + row(points=points)}))
    assert people.pictures[0].people[0].visibility[0] == 0
    assert names(people) == ["point"]


def test_pictures_may_be_listed_in_texts(tmp_path: Path) -> None:
    write(tmp_path, {"1.txt": row()}, split="val2017", train="train.txt")
    (tmp_path / "train.txt").write_text("\ufeff./images/val2017/1.png\n\n")
    assert [each.file_name for each in PeopleFolder(tmp_path).pictures] == ["images/val2017/1.png"]


def test_roboflows_splits_above_the_folder_are_found_in_it(tmp_path: Path) -> None:
    write(tmp_path / "train", {"1.txt": row()}, split="")
    (tmp_path / "train" / "data.yaml").rename(tmp_path / "data.yaml")
    content = {"train": "../train/images", "kpt_shape": [17, 3], "names": ["person"]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    [picture] = PeopleFolder(tmp_path).pictures
    assert (picture.file_name, len(picture.people)) == ("train/images/1.png", 1)


def test_each_split_is_a_source_with_ids_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"1.txt": row()}, split="val")
    write(tmp_path, {"1.txt": row()}, val=["images/val"])
    people = PeopleFolder(tmp_path)
    assert [(each.source, each.id) for each in people.pictures] == [("train", 1), ("val", 1000001)]
    assert names(people) == ["shared ids"]
    assert len(PeopleFolder(tmp_path, sources=["val"]).pictures) == 1


def test_a_picture_that_cannot_be_measured_is_left_out_with_its_people(tmp_path: Path) -> None:
    folder = write(tmp_path, {"1.txt": row(), "2.txt": row()}, pictures=2)
    (folder / "images/train/1.png").write_bytes(b"no picture")
    people = PeopleFolder(folder)
    assert [picture.file_name for picture in people.pictures] == ["images/train/2.png"]
    assert names(people) == ["picture entry", "lost picture"]


def test_listed_pictures_that_are_missing_stop_where_they_are_most(tmp_path: Path) -> None:
    write(tmp_path, {"1.txt": row()}, train="train.txt")
    (tmp_path / "images/train/1.png").unlink()
    (tmp_path / "train.txt").write_text("images/train/1.png\n")
    with pytest.raises(DataError, match=r"nobody is left of 1 people: 1 \(lost picture 1\)"):
        PeopleFolder(tmp_path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kpt_shape": [5, 3]}, r"kpt_shape is \[5, 3\]"),
        ({"kpt_shape": None}, "kpt_shape is null"),
        ({"kpt_shape": "17x3"}, "kpt_shape is"),
        ({"names": None}, "no category is called person, only none at all"),
        ({"names": ["dog"]}, 'only "dog"'),
        ({"train": None}, "names no pictures"),
        ({"train": 7}, "7 is not the path of pictures"),
        ({"train": ["images/train", None]}, "null is not the path of pictures"),
    ],
)
def test_a_description_that_cannot_be_used_stops(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        PeopleFolder(write(tmp_path, {"1.txt": row()}, **fields))


@pytest.mark.parametrize("content", ["a: [", "- 1", "", "7", "\ttrain: x", "\0"])
def test_a_description_that_is_no_yaml_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(DataError, match=r"data\.yaml: "):
        PeopleFolder(tmp_path)


def test_missing_pictures_name_every_place_that_was_looked_at(tmp_path: Path) -> None:
    write(tmp_path, {}, train="../photos")
    with pytest.raises(DataError) as caught:
        PeopleFolder(tmp_path)
    for place in ("../photos", "photos", "../somewhere/photos"):
        assert f"{tmp_path}/{place}" in str(caught.value)


WORDS = ["", "0", "1", "-1", "0.5", "nan", "-inf", "1e400", "x", "\ufeff", "9" * 500, "0x1", "1_0"]


def test_lines_changed_at_random_are_told(tmp_path: Path) -> None:
    draw = random.Random(0)  # noqa: S311 - nothing secret
    kept = [row(box=(0.5, 0.5, 0.2, share / 10)) for share in (2, 3, 4)]
    write(tmp_path, {})
    for _ in range(100):
        words = row().split()
        for _ in range(draw.randint(1, 3)):
            words[draw.randrange(len(words))] = draw.choice(WORDS)
        text = "\n".join([*kept, " ".join(words[: draw.choice([None, draw.randrange(60)])])])
        (tmp_path / "labels/train/1.txt").write_text(text)
        people = PeopleFolder(tmp_path)
        everyone = people.pictures[0].people
        usable = sum(not person.is_left_out for person in everyone)
        assert usable + people.labels.left_out.total() == people.labels.annotations.total() >= 3
        assert all(np.isfinite(person.keypoints_xy_px).all() for person in everyone)


@pytest.mark.parametrize("line", ["/", "..", ".", "x" * 5000, "a\0b", "images/train"])
def test_a_line_that_names_no_picture_is_left_out(tmp_path: Path, line: str) -> None:
    write(tmp_path, {"1.txt": row()}, train="train.txt")
    (tmp_path / "train.txt").write_text(f"images/train/1.png\n{line}\n")
    people = PeopleFolder(tmp_path)
    assert (len(people.pictures), names(people)) == (1, ["picture entry"])
