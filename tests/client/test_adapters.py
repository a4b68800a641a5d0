"""Answers in other tools' formats, each read by the tool itself."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from distilpose.client import ImageAnswer, Pose
from distilpose.client.adapters import (
    coco_annotations,
    coco_results,
    mmpose_predictions,
    to_supervision,
)
from distilpose.client.errors import UndecodableImage
from distilpose.model.skeleton import KEYPOINT_NAMES, OKS_SIGMAS


def pose(x_px: float, *, score: float = 0.5, track_id: int | None = None) -> Pose:
    """A person 100 x 200 pixels large; keypoints 0 to 4 are doubtful."""
    keypoint_score = np.full(17, 0.9, np.float32)
    keypoint_score[:5] = 0.1
    steps = np.linspace(0, 1, 17, dtype=np.float32)
    return Pose(
        box_xyxy_px=np.array([x_px, 50, x_px + 100, 250], np.float32),
        box_score=0.8,
        score=score,
        keypoints_xy_px=np.column_stack([x_px + 100 * steps, 50 + 200 * steps]),
        keypoint_score=keypoint_score,
        visible=keypoint_score > 0.5,
        sigma_px=np.full((17, 2), 3, np.float32),
        track_id=track_id,
    )


TWO = ImageAnswer(width=640, height=480, poses=(pose(10, score=0.9), pose(300, score=0.4)))
NOBODY = ImageAnswer(width=640, height=480)
BROKEN = ImageAnswer(error=UndecodableImage("no image"))


def test_supervision_gets_its_key_points() -> None:
    import supervision as sv

    found = to_supervision(TWO)
    assert isinstance(found, sv.KeyPoints)
    assert found.xy.shape == (2, 17, 2)
    np.testing.assert_array_equal(found.xy[1], TWO.poses[1].keypoints_xy_px)
    assert found.detection_confidence is not None
    assert found.keypoint_confidence is not None
    assert found.visible is not None
    np.testing.assert_array_equal(found.detection_confidence, np.array([0.9, 0.4], np.float32))
    assert found.keypoint_confidence.shape == (2, 17)
    assert found.visible.sum() == 24
    assert "tracker_id" not in found.data
    surest = found[found.detection_confidence > 0.5]
    assert isinstance(surest, sv.KeyPoints)
    assert len(surest) == 1


def test_supervision_draws_and_boxes_the_people() -> None:
    import supervision as sv

    found = to_supervision(TWO)
    drawn = sv.EdgeAnnotator().annotate(np.zeros((480, 640, 3), np.uint8), found)
    assert drawn[50:250, 300:400].any()
    boxes = found.as_detections()
    assert len(boxes) == 2
    # Only the visible keypoints count.
    np.testing.assert_allclose(boxes.xyxy[0, 2:], [110, 250])


def test_supervision_knows_who_is_who() -> None:
    tracked = ImageAnswer(width=9, height=9, poses=(pose(0, track_id=7), pose(5, track_id=2)))
    assert list(to_supervision(tracked).data["tracker_id"]) == [7, 2]


@pytest.mark.parametrize("answer", [NOBODY, BROKEN])
def test_supervision_gets_nobody_where_nobody_is(answer: ImageAnswer) -> None:
    assert len(to_supervision(answer)) == 0


def test_results_are_evaluated_against_an_export_of_the_same_answers(tmp_path: Path) -> None:
    truth = tmp_path / "annotations.json"
    results = tmp_path / "results.json"
    named = [(3, "a.jpg", TWO), (5, "b.jpg", NOBODY), (9, "c.jpg", BROKEN)]
    truth.write_text(json.dumps(coco_annotations(named, min_keypoint_score=0.0)))
    entries = coco_results([(number, answer) for number, _, answer in named])
    results.write_text(json.dumps(entries))
    labels = COCO(str(truth))
    assert sorted(labels.getImgIds()) == [3, 5, 9]
    evaluation = COCOeval_faster(
        labels, labels.loadRes(str(results)), iouType="keypoints", kpt_oks_sigmas=OKS_SIGMAS
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_a_result_is_what_coco_asks_for() -> None:
    [first, second] = coco_results([(3, TWO), (4, NOBODY), (5, BROKEN)])
    assert (first["image_id"], first["category_id"], first["score"]) == (3, 1, 0.9)
    assert first["bbox"] == [10, 50, 100, 200]
    assert len(second["keypoints"]) == 51
    assert first["keypoints"][:3] == [10, 50, 0.1]
    assert first["keypoints"][-3:] == [110, 250, 0.9]


def test_doubtful_keypoints_are_left_to_the_annotator() -> None:
    document = coco_annotations([(3, "a.jpg", TWO)])
    first, second = document["annotations"]
    assert (first["id"], second["id"], first["image_id"], first["iscrowd"]) == (1, 2, 3, 0)
    assert first["num_keypoints"] == 12
    assert first["keypoints"][:15] == [0] * 15
    assert first["keypoints"][-3:] == [110, 250, 2]
    assert first["area"] == pytest.approx(100 * 200 * 0.53)
    [category] = document["categories"]
    assert category["keypoints"] == list(KEYPOINT_NAMES)
    assert {end for limb in category["skeleton"] for end in limb} == set(range(1, 18))
    assert document["images"] == [{"id": 3, "file_name": "a.jpg", "width": 640, "height": 480}]


def test_mmpose_predictions_have_the_shape_that_mmpose_writes() -> None:
    document: Any = json.loads(json.dumps(mmpose_predictions([TWO, NOBODY, BROKEN])))
    assert document["meta_info"]["num_keypoints"] == 17
    assert document["meta_info"]["keypoint_id2name"]["0"] == "nose"
    frames = document["instance_info"]
    assert [(frame["frame_id"], len(frame["instances"])) for frame in frames] == [
        (0, 2),
        (1, 0),
        (2, 0),
    ]
    instance = frames[0]["instances"][0]
    assert np.array(instance["keypoints"]).shape == (17, 2)
    assert np.array(instance["keypoint_scores"]).shape == (17,)
    assert instance["bbox"] == [[10, 50, 110, 250]]
    assert instance["bbox_score"] == pytest.approx(0.8)


def labelled(answer: ImageAnswer, least: float | None) -> list[bool]:
    """For each keypoint of the first person, True if it is labelled."""
    exported = coco_annotations([(1, "a.jpg", answer)], min_keypoint_score=least)
    return [v > 0 for v in exported["annotations"][0]["keypoints"][2::3]]


def test_annotators_get_the_keypoints_that_were_answered_as_visible() -> None:
    one_visible = replace(pose(10), visible=np.arange(17) == 6)
    few = ImageAnswer(width=640, height=480, poses=(one_visible,))
    assert labelled(few, None) == [index == 6 for index in range(17)]
    assert labelled(few, 0.5) == [False] * 5 + [True] * 12
    assert labelled(few, 0.0) == [True] * 17
