"""The worst people of an evaluation as files."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from distilpose.model.measure import gallery
from distilpose.model.measure.evaluate import evaluate
from distilpose.model.measure.gallery import sheet
from knowing import LEFT, LEFT_XYXY, RIGHT, Knowing, person, write_folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of 22 people, of whom the detector finds those on the left."""
    folder = tmp_path_factory.mktemp("pictures")
    data = tmp_path_factory.mktemp("data")
    pictures = [[person(LEFT, id=2 * i), person(RIGHT, id=2 * i + 1)] for i in range(11)]
    people_folder = write_folder(data, *pictures)
    report = evaluate(Knowing(detections=[(LEFT_XYXY, 0.5)]), people_folder, boxes="detector")
    gallery.write(people_folder, report, folder)
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "worst.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_twenty_worst_people_are_drawn_one_a_file(written: Path) -> None:
    drawn = sorted(path.name for path in written.glob("??-*.png"))

    assert len(drawn) == 20
    assert drawn[0] == "01-annotation-1-oks-0.00.png"
    assert drawn[-1] == "20-annotation-16-oks-1.00.png"
    for name in drawn:
        with Image.open(written / name) as picture:
            assert picture.size[1] > 300


def test_the_table_says_who_they_are(written: Path) -> None:
    rows = table(written)

    assert len(rows) == 20
    assert rows[1] == {
        "rank": "2",
        "annotation_id": "3",
        "picture_id": "2",
        "picture_file": "000000000002.png",
        "oks": "0.000",
        "labelled_keypoints": "17",
        "box_width_px": "60",
        "box_height_px": "120",
        "box_found": "no",
        "drawn": "02-annotation-3-oks-0.00.png",
    }
    assert {row["box_found"] for row in rows[11:]} == {"yes"}


def test_sheets_are_written_and_git_sees_nothing(written: Path) -> None:
    for name in ("worst", "random"):
        with Image.open(written / f"{name}.png") as picture:
            assert picture.size[1] > 600
    assert (written / ".gitignore").read_text() == "*\n"


def test_given_boxes_are_said_to_be_given(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    people_folder = write_folder(data, [person(LEFT)])
    out = tmp_path / "pictures"
    out.mkdir()

    gallery.write(people_folder, evaluate(Knowing(), people_folder), out)

    assert table(out)[0]["box_found"] == "given"


def test_an_annotation_without_a_number_is_drawn_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    people_folder = write_folder(data, [person(LEFT, id=None)])
    out = tmp_path / "pictures"
    out.mkdir()

    gallery.write(people_folder, evaluate(Knowing(), people_folder), out)

    assert table(out)[0]["annotation_id"] == ""
    assert (out / "01-without-id-oks-1.00.png").exists()


def test_a_sheet_has_a_tile_for_each_person(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [person(LEFT), person(RIGHT)])
    report = evaluate(Knowing(), people_folder, boxes="detector")

    two_tiles = sheet(people_folder, report.worst(2))
    one_tile = sheet(people_folder, report.worst(1))

    assert two_tiles.shape[0] == one_tile.shape[0]
    assert two_tiles.shape[1] > 1.9 * one_tile.shape[1]
