from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from distilpose.model.arrays import ImageHWC
from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.runtime.detector import Detections, PersonDetector
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.train.detector.figures import BoxFigures, box_figures
from labelled import person, picture, write_folder
from tiny_people import write_people

LEFT_XYXY, RIGHT_XYXY = (5, 5, 45, 85), (70, 5, 110, 85)
LEFT_XYWH, RIGHT_XYWH = (5, 5, 40, 80), (70, 5, 40, 80)


class AlwaysSees:
    """A detector that finds the same boxes, best first, in every picture."""

    image_size_px = 640

    def __init__(self, *boxes_xyxy_px: tuple[float, float, float, float]) -> None:
        self._boxes = np.array(boxes_xyxy_px, np.float32).reshape(-1, 4)

    def detect(self, images: Sequence[ImageHWC], *, min_box_score: float) -> list[Detections]:
        scores = np.linspace(0.9, 0.5, len(self._boxes), dtype=np.float32)
        return [Detections(self._boxes, scores)] * len(images)


def measured(folder: Path, detector: AlwaysSees, *people: dict[str, Any]) -> BoxFigures:
    labelled = write_folder(folder, [picture(1)], list(people))
    return box_figures(cast("PersonDetector", detector), labelled)


def test_boxes_as_labelled_are_right(tmp_path: Path) -> None:
    detector = AlwaysSees(LEFT_XYXY, RIGHT_XYXY)

    found = measured(tmp_path, detector, person(1, bbox=LEFT_XYWH), person(1, bbox=RIGHT_XYWH))

    assert (found.ap50, found.ap) == (1, 1)


def test_who_is_not_found_is_missed(tmp_path: Path) -> None:
    detector = AlwaysSees(LEFT_XYXY)

    found = measured(tmp_path, detector, person(1, bbox=LEFT_XYWH), person(1, bbox=RIGHT_XYWH))

    assert found.ap50 == pytest.approx(0.5, abs=0.01)


def test_finding_nobody_is_worth_nothing(tmp_path: Path) -> None:
    assert measured(tmp_path, AlwaysSees(), person(1, bbox=LEFT_XYWH)).ap50 == 0


def test_a_box_on_the_background_is_wrong(tmp_path: Path) -> None:
    found = measured(tmp_path, AlwaysSees(RIGHT_XYXY, LEFT_XYXY), person(1, bbox=LEFT_XYWH))

    assert found.ap50 == pytest.approx(0.5)


def test_an_inexact_box_counts_at_low_overlaps_alone(tmp_path: Path) -> None:
    three_quarters = (5, 5, 35, 85)

    found = measured(tmp_path, AlwaysSees(three_quarters), person(1, bbox=LEFT_XYWH))

    assert found.ap50 == 1
    assert found.ap == pytest.approx(0.6)  # right at 0.5 to 0.75, wrong at 0.8 to 0.95


@pytest.mark.parametrize("extra", [{"label": "doubtful"}, {"iscrowd": 1}])
def test_a_box_where_people_are_ignored_is_neither_right_nor_wrong(
    tmp_path: Path, extra: dict[str, Any]
) -> None:
    people = person(1, bbox=LEFT_XYWH), person(1, bbox=RIGHT_XYWH, **extra)

    assert measured(tmp_path / "seen", AlwaysSees(RIGHT_XYXY, LEFT_XYXY), *people).ap == 1
    assert measured(tmp_path / "not", AlwaysSees(LEFT_XYXY), *people).ap == 1


def test_pictures_in_which_not_everyone_has_a_box_are_not_measured(tmp_path: Path) -> None:
    pictures = [picture(1), picture(2, boxes_complete=False)]
    people = write_folder(tmp_path, pictures, [person(1, bbox=LEFT_XYWH)])
    progress: list[tuple[int, int]] = []

    found = box_figures(
        cast("PersonDetector", AlwaysSees(LEFT_XYXY)),
        people,
        on_progress=lambda done, total: progress.append((done, total)),
    )

    assert found.ap == 1
    assert progress == [(1, 1)]
    assert found.protocol.startswith(f"1 people in 1 pictures of {tmp_path.name} (coco), at 640")


def test_a_folder_with_nobody_to_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nobody to find in 1 complete pictures"):
        measured(tmp_path, AlwaysSees(), person(1, iscrowd=1))


def test_a_card_lists_both_figures_with_their_protocol(tmp_path: Path) -> None:
    found = measured(tmp_path, AlwaysSees(LEFT_XYXY), person(1, bbox=LEFT_XYWH))

    figures = found.for_card()

    assert [figure.name for figure in figures] == ["AP50 of person boxes", "AP of person boxes"]
    assert {figure.protocol for figure in figures} == {found.protocol}


def test_the_packaged_detector_finds_the_people_of_the_photos(tmp_path: Path) -> None:
    people = PeopleFolder(write_people(tmp_path / "people"))

    found = box_figures(TorchDetector.load(image_size_px=640), people)

    assert found.ap50 > 0.7
