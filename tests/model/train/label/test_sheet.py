"""The sheet of labelled people."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilpose.model.drawing import skeletons
from distilpose.model.errors import ArrayError
from distilpose.model.runtime.detector import Detections
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.model.train.label.photos import LabelledFolder, LabelledPhoto
from distilpose.model.train.label.sheet import sheet, write_sheet
from distilpose.model.train.label.trust import Labels

NOBODY = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))
LEFT = np.array([name.startswith("left") for name in KEYPOINT_NAMES])


def labelled(folder: Path, people: int) -> LabelledFolder:
    """A grey photo of people at the same place, with labels for the left keypoints only."""
    Image.new("RGB", (240, 320), (128, 128, 128)).save(folder / "a.png")
    rng = np.random.default_rng(0)
    labels = Labels(
        rng.uniform(80, 160, (people, 17, 2)).astype(np.float32),
        np.tile(LEFT.astype(np.float32), (people, 1)),
    )
    boxes = np.tile(np.array([[50, 60, 190, 260]], np.float32), (people, 1))
    found = Detections(boxes, np.full(people, 0.9, np.float32))
    return LabelledFolder(folder, (LabelledPhoto("a.png", (240, 320), found, labels, NOBODY),), ())


def test_left_keypoints_with_a_label_are_drawn_full(tmp_path: Path) -> None:
    drawn = sheet(labelled(tmp_path, people=1))
    orange = np.abs(drawn.astype(int) - skeletons.LEFT_RGB).max(axis=2) < 30
    blue = np.abs(drawn.astype(int) - skeletons.RIGHT_RGB).max(axis=2) < 30
    assert orange.sum() > 4 * blue.sum()


def test_at_most_thirty_people_are_shown(tmp_path: Path) -> None:
    thirty, many = (sheet(labelled(tmp_path, people=people)) for people in (30, 40))
    assert thirty.shape == many.shape


def test_nobody_gives_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(ArrayError, match="at least one"):
        sheet(labelled(tmp_path, people=0))


def test_a_sheet_is_a_file_where_there_is_somebody_to_show(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    assert not write_sheet(path, labelled(tmp_path, people=0))
    assert not path.exists()
    assert write_sheet(path, labelled(tmp_path, people=1))
    with Image.open(path) as drawn:
        assert drawn.format == "PNG"
