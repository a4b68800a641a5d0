"""Scores that published evaluations give: their ranking of people, and COCO's AP and AR.

Knows arrays and COCO's dictionaries, and neither networks nor files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import DataError, NotFinite

SURE_RAW_SCORE: Final = 0.2
"""Keypoints above this raw score make up the published person score."""


def published_score(raw_score: FloatArray, *, box_score: float) -> float:
    """Person score that the published evaluation ranks by, of raw keypoint scores (17,).

    The box's score times the mean of the sure keypoints, and 0 where none is sure.
    Source: DistilPose's released evaluation (mmpose 0.22).
    """
    sure = raw_score[raw_score > SURE_RAW_SCORE]
    return float(box_score * sure.mean()) if sure.size else 0.0


@dataclass(frozen=True)
class CocoFigures:
    """COCO keypoint average precision and recall, 0..1; None where nobody is of that size."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_medium: float | None
    ap_large: float | None
    ar: float | None


def refuse_not_finite(results: Sequence[Mapping[str, Any]]) -> None:
    """Return if every number of a COCO results list is finite: evaluators take NaN for a match.

    Raises:
        NotFinite: naming the first that is not.
    """
    for result in results:
        for name in ("keypoints", "bbox", "score"):
            if not np.isfinite(result.get(name, 0)).all():
                raise NotFinite(f"a result of picture {result['image_id']} has {name} not finite")


def coco_figures(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> CocoFigures:
    """Figures of a COCO results list against a COCO keypoints document; changes neither.

    Annotation ids start at 1. A result has the size of its `bbox`, or else of its keypoints'
    extent; that counts where it matches nobody. No results at all have an AP and AR of 0.

    Raises:
        DataError: if faster-coco-eval is not installed.
        NotFinite: a number of a result is not finite.

    """
    refuse_not_finite(results)
    try:
        from faster_coco_eval import COCO, COCOeval_faster  # noqa: PLC0415 - an extra's package
    except ImportError as err:
        raise DataError(
            "COCO figures need faster-coco-eval: pip install 'distilpose[train]'"
        ) from err
    truth = COCO(ground_truth, use_deepcopy=True)
    evaluation = COCOeval_faster(truth, truth.loadRes(results), iouType="keypoints")
    evaluation.run()
    ap, ap50, ap75, ap_medium, ap_large, ar = (
        float(figure) if figure >= 0 else None for figure in evaluation.stats[:6]
    )
    return CocoFigures(ap, ap50, ap75, ap_medium, ap_large, ar)
