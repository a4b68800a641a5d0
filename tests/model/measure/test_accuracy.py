"""Literal people, literal figures; the published ranking against its golden."""

import copy
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilpose.model import similarity
from distilpose.model.errors import DataError, NotFinite
from distilpose.model.measure import accuracy

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/rescore_oks_nms.json").read_text())

SPREAD_XY_PX = np.stack([np.arange(17) * 10.0, np.arange(17) * 5.0], -1).astype(np.float32)
ALL = np.ones(17, dtype=bool)


def labelled_person(
    *, image_id: int = 1, number: int = 1, area: float = 5000.0, visibility: int = 2
) -> dict[str, Any]:
    flat = np.column_stack([SPREAD_XY_PX, np.full(17, visibility)]).ravel().tolist()
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [0, 0, 160, 80],
        "area": area,
        "iscrowd": 0,
        "keypoints": flat if visibility else [0] * 51,
        "num_keypoints": 17 if visibility else 0,
    }


def truth_of(*people: dict[str, Any]) -> dict[str, Any]:
    ids = sorted({person["image_id"] for person in people})
    return {
        "images": [{"id": image_id} for image_id in ids],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": list(people),
    }


def found(*, image_id: int = 1, score: float = 0.9, shift_px: float = 0.0) -> dict[str, Any]:
    flat = np.column_stack([SPREAD_XY_PX + shift_px, np.ones(17)]).ravel().tolist()
    return {"image_id": image_id, "category_id": 1, "keypoints": flat, "score": score}


def test_the_published_score_is_the_mean_of_sure_keypoints_times_the_box_score() -> None:
    raw_score = np.full(17, 0.2, np.float32)
    raw_score[:2] = [0.9, 0.5]

    assert accuracy.published_score(raw_score, box_score=0.5) == pytest.approx(0.35)


def test_the_published_score_without_a_sure_keypoint_is_zero() -> None:
    assert accuracy.published_score(np.full(17, -0.3, np.float32), box_score=0.9) == 0


@pytest.mark.parametrize("image", ["a", "b"])
def test_rescoring_and_suppression_equal_the_published_ones(image: str) -> None:
    people = [person for person in GOLDEN["persons"] if person["image"] == image]
    keypoints = np.array([person["keypoints"] for person in people], np.float32)
    scores = np.array(
        [
            accuracy.published_score(points[:, 2], box_score=person["bbox_score"])
            for points, person in zip(keypoints, people, strict=True)
        ]
    )
    areas_px2 = np.array([person["area"] for person in people], np.float32)

    kept = similarity.suppress_duplicates(keypoints[:, :, :2], scores, areas_px2)

    expected = GOLDEN["kept_in_order"][image]
    assert [people[index]["bbox_id"] for index in kept] == [each["bbox_id"] for each in expected]
    assert scores[kept] == pytest.approx([each["score"] for each in expected], abs=1e-6)


def test_perfect_poses_have_figures_of_one() -> None:
    truth = truth_of(labelled_person(area=5000.0), labelled_person(image_id=2, number=2, area=1e4))

    figures = accuracy.coco_figures(truth, [found(), found(image_id=2)])

    assert list(asdict(figures).values()) == pytest.approx([1] * 6)


def test_a_pose_a_little_off_passes_the_low_thresholds_only() -> None:
    figures = accuracy.coco_figures(truth_of(labelled_person()), [found(shift_px=6.0)])

    assert figures.ap50 == pytest.approx(1)
    assert figures.ap75 == 0
    assert figures.ap is not None
    assert 0 < figures.ap < 0.5


def test_figures_of_a_size_that_nobody_has_are_none() -> None:
    figures = accuracy.coco_figures(truth_of(labelled_person(area=5000.0)), [found()])

    assert figures.ap_large is None
    assert figures.ap_medium == pytest.approx(1)


def test_a_pose_on_a_person_without_keypoints_is_ignored() -> None:
    truth = truth_of(labelled_person(), labelled_person(image_id=2, number=2, visibility=0))

    figures = accuracy.coco_figures(truth, [found(score=0.5), found(image_id=2, score=0.9)])

    assert figures.ap == pytest.approx(1)


def test_a_pose_where_nobody_is_costs_precision() -> None:
    truth = truth_of(labelled_person())
    truth["images"].append({"id": 2})

    figures = accuracy.coco_figures(truth, [found(score=0.5), found(image_id=2, score=0.9)])

    assert figures.ap == pytest.approx(0.5)


def test_no_results_have_figures_of_zero() -> None:
    assert accuracy.coco_figures(truth_of(labelled_person()), []).ap == 0


def test_coco_figures_change_neither_argument() -> None:
    truth, results = truth_of(labelled_person()), [found()]
    before = copy.deepcopy((truth, results))

    accuracy.coco_figures(truth, results)

    assert (truth, results) == before


def test_a_missing_evaluator_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)

    with pytest.raises(DataError, match=r"pip install 'distilpose\[train\]'"):
        accuracy.coco_figures(truth_of(labelled_person()), [found()])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["keypoints", "bbox", "score"])
def test_a_result_that_is_not_finite_is_refused_before_an_evaluator_sees_it(
    name: str, value: float
) -> None:
    broken: dict[str, Any] = found(image_id=7) | {"bbox": [0.0, 0.0, 160.0, 80.0]}
    broken[name] = value if name == "score" else [*broken[name][:1], value, *broken[name][2:]]

    with pytest.raises(NotFinite, match=f"a result of picture 7 has {name} not finite"):
        accuracy.coco_figures(truth_of(labelled_person(image_id=7)), [found(image_id=7), broken])


def test_no_results_have_an_ap_of_zero() -> None:
    assert accuracy.coco_figures(truth_of(labelled_person()), []).ap == 0


@pytest.mark.parametrize(
    ("bbox", "is_large"), [(None, False), ([0, 0, 160, 80], True), ([0, 0, 90, 90], False)]
)
def test_a_result_that_matches_nobody_has_the_size_of_its_box(
    bbox: list[float] | None, is_large: bool
) -> None:
    # The extent of its keypoints has 160 x 80 pixels: it is scaled to be medium without a box.
    truth = truth_of(
        labelled_person(area=5000.0), labelled_person(image_id=2, number=2, area=96.0**2 + 1)
    )
    truth["images"].append({"id": 3})
    stray = found(image_id=3, score=0.95)
    stray["keypoints"] = [value * 0.5 for value in stray["keypoints"]]
    results = [stray, found(), found(image_id=2)]
    if bbox:
        results = [result | {"bbox": bbox} for result in results]

    figures = accuracy.coco_figures(truth, results)

    assert (figures.ap_large == pytest.approx(1)) == (not is_large)
    assert (figures.ap_medium == pytest.approx(1)) == is_large
