"""Convert answers for other tools: supervision, COCO results and annotations, mmpose.

The functions return what `json.dump` can write to a file that those tools read.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from distilpose.client.results import ImageAnswer, Pose
from distilpose.model.poses.coco import coco_result
from distilpose.model.skeleton import (
    AREA_SHARE,
    KEYPOINT_COUNT,
    KEYPOINT_NAMES,
    LIMBS,
    PERSON_CATEGORY_ID,
)

if TYPE_CHECKING:
    import supervision

_LABELLED, _NOT_LABELLED = 2, 0


def to_supervision(answer: ImageAnswer) -> "supervision.KeyPoints":
    """The people of a picture as `supervision.KeyPoints`.

    `data` holds `sigma_px`, and in streams with `track` also `tracker_id`.

    Raises:
        ModuleNotFoundError: supervision is not installed.
    """
    import supervision as sv  # noqa: PLC0415 - not among the client's four packages

    if not answer.poses:
        return sv.KeyPoints.empty()
    poses = answer.poses
    data: dict[str, Any] = {"sigma_px": np.stack([pose.sigma_px for pose in poses])}
    if all(pose.track_id is not None for pose in poses):
        data["tracker_id"] = np.array([pose.track_id for pose in poses])
    return sv.KeyPoints(
        xy=np.stack([pose.keypoints_xy_px for pose in poses]),
        class_id=np.zeros(len(poses), int),
        keypoint_confidence=np.stack([pose.keypoint_score for pose in poses]),
        detection_confidence=np.array([pose.score for pose in poses], np.float32),
        visible=np.stack([pose.visible for pose in poses]),
        data=data,
    )


def coco_results(answers: Iterable[tuple[int, ImageAnswer]]) -> list[dict[str, Any]]:
    """The entries of a COCO keypoint results file, from image ids and their answers.

    Without people there are none, which `loadRes` of pycocotools 2.0.11 cannot load.
    """
    return [coco_result(pose, image_id) for image_id, answer in answers for pose in answer.poses]


def coco_annotations(
    answers: Iterable[tuple[int, str, ImageAnswer]], *, min_keypoint_score: float | None = None
) -> dict[str, Any]:
    """A COCO keypoints data set for manual correction, from image ids, file names and answers.

    Keypoints below the score count as not labelled and are left to the annotator; without a score,
    those that were answered as not visible.
    """
    kept = list(answers)
    people = [(image_id, pose) for image_id, _, answer in kept for pose in answer.poses]
    return {
        "images": [
            {"id": image_id, "file_name": name, "width": answer.width, "height": answer.height}
            for image_id, name, answer in kept
        ],
        "annotations": [
            {"id": number, "image_id": image_id, **_annotation(pose, min_keypoint_score)}
            for number, (image_id, pose) in enumerate(people, start=1)
        ],
        "categories": [
            {
                "id": PERSON_CATEGORY_ID,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(KEYPOINT_NAMES),
                "skeleton": [[start + 1, end + 1] for start, end in LIMBS],
            }
        ],
    }


def _annotation(pose: Pose, min_keypoint_score: float | None) -> dict[str, Any]:
    sure = pose.visible if min_keypoint_score is None else pose.keypoint_score >= min_keypoint_score
    visibility = np.where(sure, _LABELLED, _NOT_LABELLED)
    keypoints = np.column_stack([pose.keypoints_xy_px.round(2), visibility])
    keypoints[~sure] = 0
    bbox = _bbox_xywh_px(pose)
    return {
        "category_id": PERSON_CATEGORY_ID,
        "iscrowd": 0,
        "keypoints": [round(value, 2) for value in keypoints.ravel().tolist()],
        "num_keypoints": int(sure.sum()),
        "bbox": bbox,
        "area": round(bbox[2] * bbox[3] * AREA_SHARE, 2),
        "score": round(pose.score, 4),
    }


def mmpose_predictions(answers: Iterable[ImageAnswer]) -> dict[str, Any]:
    """A predictions file in mmpose's format for a video, with one entry per picture."""
    return {
        "meta_info": {
            "dataset_name": "coco",
            "num_keypoints": KEYPOINT_COUNT,
            "keypoint_id2name": dict(enumerate(KEYPOINT_NAMES)),
            "keypoint_name2id": {name: index for index, name in enumerate(KEYPOINT_NAMES)},
            "skeleton_links": [list(limb) for limb in LIMBS],
        },
        "instance_info": [
            {"frame_id": number, "instances": mmpose_instances(answer)}
            for number, answer in enumerate(answers)
        ],
    }


def mmpose_instances(answer: ImageAnswer) -> list[dict[str, Any]]:
    """The people of a picture in the format of mmpose's predictions, which nest boxes in a list."""
    return [
        {
            "keypoints": pose.keypoints_xy_px.tolist(),
            "keypoint_scores": pose.keypoint_score.tolist(),
            "bbox": [pose.box_xyxy_px.tolist()],
            "bbox_score": pose.box_score,
        }
        for pose in answer.poses
    ]


def _bbox_xywh_px(pose: Pose) -> list[float]:
    x1, y1, x2, y2 = pose.box_xyxy_px.tolist()
    return [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
