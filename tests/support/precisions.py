"""Limits of the changes that bfloat16 makes to an answer, and their measurement.

bfloat16 keeps 8 significant bits: a layer rounds its output by up to 1 part in 512, and over some
60 layers that adds up to 1 or 2 in 100. The result depends on the order in which a CPU's kernels
add. A score, a sigmoid of slope 1/4 at most, moves by a few hundredths. An edge moves by a few
hundredths of its box, since the network counts it in steps that grow with the person; and among
neighbouring cells that see the same person, another one may win. So there is no fixed limit in
pixels. The requirement is that everyone with a high score is found, at nearly the same place and
with nearly the same score. People near the threshold, or half hidden behind somebody, may come and
go.

`python tests/bench/precision.py FOLDER` measures the changes. The figures below are the largest
ones on COCO pictures with oneDNN's kernels for AVX2, AVX512_CORE and AVX512_CORE_BF16; every limit
leaves over twice their room.
"""

from typing import Final, NamedTuple

import numpy as np

from distilpose.model import geometry, similarity
from distilpose.model.arrays import FloatArray
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays

SURE_BOX_SCORE: Final = 0.5
MIN_IOU: Final = 0.85
"""Minimum IoU with the same person's box in float32. Some 490 boxes in 75 pictures had 0.944."""
MAX_BOX_SCORE_CHANGE: Final = 0.1
"""Maximum change of the box score. These boxes had 0.039."""

SURE_RAW_SCORE: Final = 0.5
MAX_SHIFT_CROP_PX: Final = 2.0
"""Half a heatmap cell, for keypoints with high scores. 240 people had 0.68."""
MIN_OKS: Final = 0.95
"""COCO's strictest threshold, for all of a person's keypoints. These people had 0.992."""
MAX_RAW_SCORE_CHANGE: Final = 0.05
"""Maximum change of the raw score. These people had 0.019."""

_PERSON_AREA_CROP_PX2: Final = 0.53 * CROP_WIDTH * CROP_HEIGHT / geometry.CROP_PADDING**2
"""Area of a person whose box is 3:4: COCO's people fill about that share of their boxes."""


class BoxChanges(NamedTuple):
    """The changes of the N high-scoring people of one answer in another answer."""

    iou: FloatArray
    """IoU (N,) with the most overlapping box there, 0 if there is none."""
    score: FloatArray
    """Difference (N,) from that box's score."""


class PoseChanges(NamedTuple):
    """The differences of the keypoints of N crops between two answers."""

    oks: FloatArray
    """Shape (N,)."""
    sure_shift_crop_px: FloatArray
    """Shifts of each high-scoring keypoint, in x or y."""
    raw_score: FloatArray
    """Shape (N, 17)."""


def box_changes(some: Detections, others: Detections) -> BoxChanges:
    """Return the changes of one answer's high-scoring people in the other."""
    sure = some.scores >= SURE_BOX_SCORE
    boxes_xyxy_px, scores = some.boxes_xyxy_px[sure], some.scores[sure]
    if not len(others.scores):
        return BoxChanges(np.zeros_like(scores), scores)
    overlaps = geometry.iou(boxes_xyxy_px, others.boxes_xyxy_px)
    return BoxChanges(overlaps.max(1), np.abs(others.scores[overlaps.argmax(1)] - scores))


def pose_changes(some: PoseArrays, others: PoseArrays) -> PoseChanges:
    """The differences of two answers for the same crops; `some` selects the sure keypoints."""
    shift_crop_px = (others.xy_crop - some.xy_crop) * np.array(
        [CROP_WIDTH, CROP_HEIGHT], np.float32
    )
    nowhere = np.zeros_like(shift_crop_px)
    return PoseChanges(
        similarity.oks(shift_crop_px, nowhere, area_px2=_PERSON_AREA_CROP_PX2).astype(np.float32),
        np.abs(shift_crop_px).max(-1)[some.raw_score > SURE_RAW_SCORE],
        np.abs(others.raw_score - some.raw_score),
    )
