"""Similarity and matching of poses. Pure functions of arrays."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import BoolArray
from distilpose.model.skeleton import KEYPOINT_NAMES, OKS_SIGMAS

AnyFloats = npt.NDArray[np.floating[Any]]

DUPLICATE_OKS: Final = 0.9
"""The published suppression takes two poses with a higher OKS for one person."""
PCK_FRACTION: Final = 0.2
"""A keypoint is right within this share of the distance from left shoulder to right hip."""

_LEFT_SHOULDER: Final = KEYPOINT_NAMES.index("left_shoulder")
_RIGHT_HIP: Final = KEYPOINT_NAMES.index("right_hip")


def oks_terms(squared_px2: AnyFloats, *, area_px2: float | AnyFloats) -> npt.NDArray[np.float64]:
    """Each keypoint's similarity in 0..1, for squared distances (..., 17) and areas (...).

    *Source:* COCO keypoint task.
    """
    area_px2 = np.asarray(area_px2, dtype=np.float64)[..., None] + np.spacing(1)
    return np.asarray(np.exp(-squared_px2 / (2 * area_px2 * (2 * OKS_SIGMAS) ** 2)))


def oks(
    found_xy_px: AnyFloats,
    true_xy_px: AnyFloats,
    *,
    area_px2: float | AnyFloats,
    counted: BoolArray | None = None,
) -> npt.NDArray[np.float64]:
    """Object keypoint similarity in 0..1, over the `counted` of 17 keypoints (all by default).

    `found_xy_px` and `true_xy_px` are (..., 17, 2), `counted` (..., 17) and `area_px2` (...); they
    broadcast, and the result is (...); 0 if no keypoint counts. *Source:* COCO keypoint task.
    """
    squared_px2 = np.sum((found_xy_px.astype(np.float64) - true_xy_px) ** 2, axis=-1)
    similarity = oks_terms(squared_px2, area_px2=area_px2)
    if counted is None:
        return np.asarray(similarity.mean(axis=-1))
    total = np.sum(similarity * counted, axis=-1)
    return np.asarray(total / np.maximum(counted.sum(axis=-1), 1))


def suppress_duplicates(
    keypoints_xy_px: AnyFloats, scores: AnyFloats, areas_px2: AnyFloats
) -> list[int]:
    """Indices of the poses (N, 17, 2) to keep, best score first: hard OKS suppression.

    `areas_px2` (N,) are those of the crops' boxes, already grown to the network's shape; a pair is
    compared by the mean of its two areas. *Source:* DistilPose's released evaluation (mmpose 0.22).
    """
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, others = waiting[0], waiting[1:]
        kept.append(int(best))
        similarity = oks(
            keypoints_xy_px[others],
            keypoints_xy_px[best],
            area_px2=(areas_px2[others] + areas_px2[best]) / 2,
        )
        waiting = others[similarity <= DUPLICATE_OKS]
    return kept


def match_people(oks_people_by_poses: AnyFloats) -> list[int | None]:
    """Match each person (row) to a pose (column) or None; each pose at most once.

    The most similar pairs are matched first; pairs with an OKS of 0 are never matched.
    """
    free = np.array(oks_people_by_poses, dtype=np.float64)
    matches: list[int | None] = [None] * free.shape[0]
    while free.size and free.max() > 0:
        person, pose = np.unravel_index(int(free.argmax()), free.shape)
        matches[int(person)] = int(pose)
        free[person, :] = 0
        free[:, pose] = 0
    return matches


def pck(found_xy_px: AnyFloats, true_xy_px: AnyFloats, labelled: BoolArray) -> float | None:
    """Share of labelled keypoints that lie within `PCK_FRACTION` of their person's torso length.

    Arrays over people: (N, 17, 2), (N, 17, 2), (N, 17). The torso runs from the left shoulder to
    the right hip; people without both are left out, and with nobody left the answer is None.
    A person who was not found has NaN in `found_xy_px`, which counts as not near.
    """
    has_torso = labelled[:, _LEFT_SHOULDER] & labelled[:, _RIGHT_HIP]
    torso_px = np.linalg.norm(true_xy_px[:, _LEFT_SHOULDER] - true_xy_px[:, _RIGHT_HIP], axis=-1)
    near = np.linalg.norm(found_xy_px - true_xy_px, axis=-1) <= PCK_FRACTION * torso_px[:, None]
    counted = labelled & has_torso[:, None]
    return float(near[counted].mean()) if counted.any() else None
