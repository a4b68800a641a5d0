"""A folder of photos, labelled by a predictor with a constant answer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC
from distilpose.model.errors import DataError
from distilpose.model.predict import Predictor
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.train.label.photos import (
    LabelledFolder,
    label_photos,
    photo_paths,
)
from odd_images import encode, noise


class Middle(Predictor):
    """Finds three boxes in every picture, and every keypoint in the middle of its crop."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.calibration = None

    def detect(self, images: Sequence[ImageHWC], *, min_box_score: float) -> list[Detections]:
        self.asked.append(min_box_score)
        boxes = np.array([[10, 10, 40, 50], [5, 5, 25, 45], [0, 0, 9, 9]], np.float32)
        return [Detections(boxes, np.array([0.9, 0.5, 0.3], np.float32))] * len(images)

    def answers(self, crops_BHWC: CropsBHWC, *, flip_test: bool) -> PoseArrays:
        shape = (len(crops_BHWC), 17)
        half: FloatArray = np.full((*shape, 2), 0.5, np.float32)
        return PoseArrays(half, np.full(shape, 0.6, np.float32), half)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "inner/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(noise(60, 80), Image.registered_extensions()[path.suffix]))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "labels.json.gz").write_bytes(b"")
    return tmp_path


def labelled(folder: Path, *, min_box_score: float = 0.5) -> LabelledFolder:
    paths = photo_paths(folder)
    return label_photos(Middle(), folder, paths, min_box_score=min_box_score)


def test_the_pictures_of_a_folder_are_taken_by_name(folder: Path) -> None:
    assert photo_paths(folder) == [folder / "a.jpg", folder / "b.png"]


def test_those_of_its_folders_are_taken_if_asked(folder: Path) -> None:
    assert photo_paths(folder, recursive=True)[2:] == [folder / "inner" / "c.webp"]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file with the suffix of a picture"):
        photo_paths(tmp_path)


def test_a_broken_photo_is_named_and_the_others_are_labelled(folder: Path) -> None:
    (folder / "a.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    found = labelled(folder)
    assert [photo.file_name for photo in found.photos] == ["b.png"]
    [reason] = found.left_out
    assert reason.startswith(f"{folder / 'a.jpg'}: the JPEG cannot be decoded: ")


def test_names_start_at_the_folder_and_sizes_are_given(folder: Path) -> None:
    paths = photo_paths(folder, recursive=True)
    found = label_photos(Middle(), folder, paths, min_box_score=0.5)
    assert [photo.file_name for photo in found.photos] == ["a.jpg", "b.png", "inner/c.webp"]
    assert {photo.size_wh for photo in found.photos} == {(80, 60)}


def test_sure_detections_are_people_and_others_are_doubtful(folder: Path) -> None:
    photo = labelled(folder).photos[0]
    np.testing.assert_allclose(photo.people.scores, [0.9, 0.5])
    np.testing.assert_allclose(photo.doubtful.boxes_xyxy_px, [[0, 0, 9, 9]])
    np.testing.assert_allclose(photo.labels.keypoints_xy_px[:, 0], [[25, 30], [15, 25]], atol=1e-3)
    np.testing.assert_allclose(photo.labels.weight, 0.6, atol=1e-3)


@pytest.mark.parametrize(("min_box_score", "asked"), [(0.5, 0.2), (0.1, 0.1)])
def test_the_detector_is_asked_for_doubtful_people_too(
    folder: Path, min_box_score: float, asked: float
) -> None:
    predictor = Middle()
    label_photos(predictor, folder, [folder / "a.jpg"], min_box_score=min_box_score)
    assert predictor.asked == [asked]


def test_progress_is_reported_after_each_photo(folder: Path) -> None:
    progress: list[tuple[int, int]] = []
    (folder / "a.jpg").write_bytes(b"broken")
    label_photos(
        Middle(),
        folder,
        photo_paths(folder),
        min_box_score=0.5,
        on_progress=lambda *done: progress.append(done),
    )
    assert progress == [(1, 2), (2, 2)]
