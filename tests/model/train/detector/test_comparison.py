from pathlib import Path

import pytest

from distilpose.model.errors import DataError
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.train.detector.comparison import Comparison, SourceFigures
from distilpose.model.train.detector.figures import BoxFigures
from distilpose.model.train.detector.trainer import DetectorSettings
from labelled import FRONTAL, person, picture, write_folder

SETTINGS = DetectorSettings(epochs=1, start_from=PACKAGED, image_size_px=64, device="cpu")


def comparison(folder: Path) -> Comparison:
    return Comparison(folder, SETTINGS)


def ignore(done: int, total: int) -> None:
    assert 0 < done <= total


def test_each_source_has_rows_before_and_after(tmp_path: Path) -> None:
    write_folder(tmp_path, [picture(1)], [person(1, FRONTAL)], source="coco")
    write_folder(tmp_path, [picture(2)], [person(2)], source="street")

    before = comparison(tmp_path).before(ignore)
    after = comparison(tmp_path).after(PACKAGED, ignore)

    assert [(row.source, row.boxes) for row in (*before, *after)] == [
        ("coco", "ground truth"),
        ("street", "ground truth"),
        ("coco", "before"),
        ("street", "before"),
        ("coco", "after"),
        ("street", "after"),
    ]
    assert [row.figures is None for row in before] == [True, True, False, False]
    assert [row.keypoint_ap is None for row in before] == [False, True, False, True]
    assert [row[2:] for row in after] == [row[2:] for row in before[2:]]


def test_people_who_cannot_be_measured_are_refused_before_the_training(tmp_path: Path) -> None:
    write_folder(tmp_path, [picture(1)], [person(1, iscrowd=1)])
    with pytest.raises(DataError, match="nobody to find in 1 complete pictures"):
        comparison(tmp_path).before(ignore)


def test_only_boxes_of_a_detector_have_figures_for_its_card() -> None:
    found = SourceFigures("coco", "after", BoxFigures(0.5, 0.25, "On one picture"), None)
    assert [each.value for each in found.for_card()] == [0.5, 0.25]
    assert found._replace(boxes="ground truth", figures=None).for_card() == ()
