"""Early figures of a network on cached people, from ground-truth boxes, without flip test.

Faster than `evaluate`, but not for a card: the crops come from the cache, people without keypoints
are left out, and a network in the middle of a run is measured at its current training size.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilpose.model import geometry, similarity
from distilpose.model.arrays import FloatArray
from distilpose.model.configs import HEATMAP_HEIGHT, HEATMAP_WIDTH
from distilpose.model.heatmaps import decode
from distilpose.model.measure import accuracy
from distilpose.model.networks import StudentOut, TeacherOut
from distilpose.model.networks.roles import Network
from distilpose.model.skeleton import KEYPOINT_NAMES, PERSON_CATEGORY_ID
from distilpose.model.train.feed.augment import plain
from distilpose.model.train.feed.batch import StoredBatch
from distilpose.model.train.feed.loader import Loader
from distilpose.model.train.feed.table import PeopleTable


class EarlyFigures(NamedTuple):
    """Early figures, 0..1 each."""

    ap: float
    ap50: float
    mean_oks: float
    pck: float


class HeldOut(NamedTuple):
    """The people to measure on, and their data, in the same order."""

    people: Loader
    table: PeopleTable


@torch.inference_mode()
def predict(
    network: Network,
    batches: Iterable[StoredBatch],
    *,
    size_hw: tuple[int, int],
    autocast: Callable[[], AbstractContextManager[object]],
) -> tuple[FloatArray, FloatArray]:
    """Keypoints (N, 17, 2) in the crop frame and raw scores (N, 17) of all people in order."""
    network.eval()
    points, scores = [], []
    for batch in batches:
        seen = plain(batch, normalisation=network.config.normalisation, size_hw=size_hw)
        with autocast():
            out = network(seen.crops_BCHW)
        xy_crop, raw_score = _keypoints(out)
        points.append(xy_crop.float().cpu().numpy())
        scores.append(raw_score.float().cpu().numpy())
    return np.concatenate(points), np.concatenate(scores)


def _keypoints(out: StudentOut | TeacherOut) -> tuple[Tensor, Tensor]:
    if isinstance(out, StudentOut):
        return out.xy_crop, out.raw_score
    peaks = decode(out.heatmaps_BKHW.float())
    size_wh = peaks.xy_cell.new_tensor([HEATMAP_WIDTH, HEATMAP_HEIGHT])
    return peaks.xy_cell / size_wh, peaks.value


def figures(
    xy_crop: FloatArray, raw_score: FloatArray, people: PeopleTable, *, scores_trained: bool = True
) -> EarlyFigures:
    """Measure predictions for the people of a table, in its order.

    Without a trained score, all people rank equally, by their box score of 1.
    """
    regions = geometry.CropRegions(people.center_xy_px, people.region_wh_px)
    xy_px = geometry.crop_to_image(xy_crop, regions)
    labelled = people.weight > 0
    each_oks = similarity.oks(xy_px, people.xy_px, area_px2=people.area_px2, counted=labelled)
    person_score = [
        accuracy.published_score(score, box_score=1.0) if scores_trained else 1.0
        for score in raw_score
    ]
    found = _coco_results(xy_px, person_score, people)
    coco = accuracy.coco_figures(_coco_truth(people, labelled), found)
    return EarlyFigures(
        ap=coco.ap or 0.0,
        ap50=coco.ap50 or 0.0,
        mean_oks=float(each_oks.mean()),
        pck=similarity.pck(xy_px, people.xy_px, labelled) or 0.0,
    )


def _coco_truth(people: PeopleTable, labelled: npt.NDArray[np.bool_]) -> dict[str, Any]:
    corners = people.center_xy_px - people.region_wh_px / 2
    annotations = [
        {
            "id": row + 1,
            "image_id": int(people.picture_id[row]),
            "category_id": PERSON_CATEGORY_ID,
            "iscrowd": 0,
            "area": float(people.area_px2[row]),
            "bbox": [*map(float, corners[row]), *map(float, people.region_wh_px[row])],
            "num_keypoints": int(labelled[row].sum()),
            "keypoints": np.column_stack([people.xy_px[row], 2 * labelled[row]]).ravel().tolist(),
        }
        for row in range(len(people.weight))
    ]
    return {
        "images": [{"id": int(picture)} for picture in np.unique(people.picture_id)],
        "annotations": annotations,
        "categories": [
            {"id": PERSON_CATEGORY_ID, "name": "person", "keypoints": list(KEYPOINT_NAMES)}
        ],
    }


def _coco_results(
    xy_px: FloatArray, person_score: list[float], people: PeopleTable
) -> list[dict[str, Any]]:
    return [
        {
            "image_id": int(people.picture_id[row]),
            "category_id": PERSON_CATEGORY_ID,
            "keypoints": np.column_stack([xy_px[row], np.ones(len(xy_px[row]))]).ravel().tolist(),
            "score": person_score[row],
        }
        for row in range(len(xy_px))
    ]
