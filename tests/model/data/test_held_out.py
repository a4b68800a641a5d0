"""Samples of held-out people, from a student with a known error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distilpose.model.arrays import CropsBHWC
from distilpose.model.data.held_out import held_out_pictures, jittered, observe
from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.runtime.devices import ComputeDevice
from distilpose.model.runtime.engine import PoseArrays, PoseEngine

BOX_XYWH = (50.0, 40.0, 72.0, 96.0)
"""A box of the crop's shape, so that the crop is 90 x 120 pixels around (86, 88)."""


class Middle(PoseEngine):
    """Finds every keypoint in the middle of its crop."""

    def __init__(self) -> None:
        every_size = range(1, 65)
        super().__init__(device=ComputeDevice("cpu", 1), precision="float32", buckets=every_size)
        self.crops = 0

    def _answer(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        self.crops += len(crops_BHWC)
        shape = (len(crops_BHWC), 17)
        return PoseArrays(
            np.full((*shape, 2), 0.5, np.float32),
            np.full(shape, 0.3, np.float32),
            np.ones((*shape, 2), np.float32),
        )


def person(picture_id: int, **extra: Any) -> dict[str, Any]:
    """Someone whose keypoints all lie 10 pixels to the right of the middle of their box."""
    return {
        "id": 1,
        "image_id": picture_id,
        "category_id": 1,
        "bbox": list(BOX_XYWH),
        "area": 3600.0,
        "iscrowd": 0,
        "keypoints": [96.0, 88.0, 2] * 17,
        **extra,
    }


def write_folder(folder: Path, *people: dict[str, Any]) -> PeopleFolder:
    picture_ids = sorted({each["image_id"] for each in people})
    for picture_id in picture_ids:
        Image.new("RGB", (200, 160)).save(folder / f"{picture_id}.png")
    document = {
        "images": [
            {"id": each, "file_name": f"{each}.png", "width": 200, "height": 160}
            for each in picture_ids
        ],
        "annotations": list(people),
        "categories": [{"id": 1, "name": "person"}],
    }
    (folder / "people.json").write_text(json.dumps(document))
    return PeopleFolder(folder)


def test_only_pictures_whose_id_20_divides_are_held_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, *(person(picture_id) for picture_id in (10, 20, 21, 40)))
    assert [picture.id for picture in held_out_pictures(folder)] == [20, 40]


def test_people_whom_only_a_machine_labelled_are_not_observed(tmp_path: Path) -> None:
    boxes = {"human": [10, 20, 60, 80], "mixed": [10, 20, 60, 81], "pseudo": [10, 20, 60, 82]}
    people = [person(20, label=label, bbox=box) for label, box in boxes.items()]
    samples = observe(Middle(), write_folder(tmp_path, *people, person(20, iscrowd=1)), draws=1)
    assert len(samples.raw_score) == 2


def test_errors_are_measured_in_cells_and_against_oks(tmp_path: Path) -> None:
    samples = observe(Middle(), write_folder(tmp_path, person(20)), draws=400)
    # The crop is 90 px wide, so 10 px are 10 / (90 / 48) cells; boxes err a few percent.
    assert np.median(samples.error_cell) == pytest.approx(5.33, abs=0.3)
    assert np.median(samples.crop_widths_px) == pytest.approx(90, abs=4)
    # 10 px are an OKS term of 0.5 at a constant of 0.0708 for this area.
    found = samples.right.mean(axis=0)
    assert found[:5].max() < 0.05
    assert found[11:13].min() > 0.9
    assert (samples.raw_score == np.float32(0.3)).all()


def test_the_draws_of_a_person_weigh_as_much_as_the_trust_in_the_labels(tmp_path: Path) -> None:
    keypoints = [96.0, 88.0, 2] * 16 + [0, 0, 0]
    half_sure = person(20, keypoints=keypoints, keypoint_weight=[0.5] * 17)
    samples = observe(Middle(), write_folder(tmp_path, half_sure), draws=4)
    np.testing.assert_allclose(samples.weight.sum(axis=0), [0.5] * 16 + [0])


def test_the_same_boxes_are_drawn_each_time_and_no_two_of_a_person_alike(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, person(20), person(40))
    one, same = (observe(Middle(), folder, draws=2) for _ in range(2))
    np.testing.assert_array_equal(one.error_cell, same.error_cell)
    assert len(np.unique(one.crop_widths_px)) == 4


def test_progress_counts_the_pictures_that_are_held_out(tmp_path: Path) -> None:
    engine, progress = Middle(), list[tuple[int, int]]()
    folder = write_folder(tmp_path, person(10), person(20), person(40))
    observe(engine, folder, draws=3, on_progress=lambda *done: progress.append(done))
    assert engine.crops == 6
    assert progress == [(1, 2), (2, 2)]


def test_a_folder_without_held_out_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in a picture whose id 20 divides"):
        observe(Middle(), write_folder(tmp_path, person(21)), draws=1)


def test_sides_move_by_a_few_percent_of_the_box() -> None:
    boxes_xyxy_px = np.tile(np.array([[100, 200, 200, 500]], np.float32), (4000, 1))
    moved = jittered(boxes_xyxy_px, (1000, 1000), np.random.default_rng(0))
    share = np.abs(moved - boxes_xyxy_px) / (100, 300, 100, 300)
    np.testing.assert_allclose(np.median(share, axis=0), 0.028, atol=0.004)
    assert share.max() <= 0.3 + 1e-6
    assert (moved[:, 2:] > moved[:, :2]).all()


def test_moved_boxes_stay_in_the_image() -> None:
    boxes_xyxy_px = np.tile(np.array([[0, 0, 64, 48]], np.float32), (100, 1))
    moved = jittered(boxes_xyxy_px, (64, 48), np.random.default_rng(0))
    assert moved.min() >= 0
    assert (moved <= (64, 48, 64, 48)).all()
