"""People as entries of COCO keypoint results."""

from typing import Any, Protocol

from distilpose.model.arrays import FloatArray
from distilpose.model.skeleton import PERSON_CATEGORY_ID


class Found(Protocol):
    """A person in an answer."""

    @property
    def box_xyxy_px(self) -> FloatArray:
        """Box (4,)."""

    @property
    def keypoints_xy_px(self) -> FloatArray:
        """Coordinates (17, 2)."""

    @property
    def keypoint_score(self) -> FloatArray:
        """Scores (17,)."""

    @property
    def score(self) -> float:
        """The person's score."""


def coco_result(found: Found, image_id: int) -> dict[str, Any]:
    """A person's entry in a COCO results file; pixels have 2 decimals, scores 4.

    `bbox` is the person's box: evaluators take from it the size by which they sort results that
    match nobody into medium and large ones.

    *Source:* COCO's results format for keypoints, and `loadRes` of pycocotools.
    """
    # Converted column by column: one value at a time, numpy takes ten times as long.
    x1, y1, x2, y2 = found.box_xyxy_px.tolist()
    rows = zip(found.keypoints_xy_px.tolist(), found.keypoint_score.tolist(), strict=True)
    return {
        "image_id": image_id,
        "category_id": PERSON_CATEGORY_ID,
        "keypoints": [v for (x, y), score in rows for v in (_px(x), _px(y), _score(score))],
        "score": _score(found.score),
        "bbox": [_px(x1), _px(y1), _px(x2 - x1), _px(y2 - y1)],
    }


def _px(value: float) -> float:
    return round(value, 2)


def _score(value: float) -> float:
    return round(value, 4)
