"""Draw a few held-out people as a network in training sees and answers them."""

from typing import Final, NamedTuple

import numpy as np

from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH, ZERO_TO_ONE
from distilpose.model.drawing import skeletons
from distilpose.model.geometry import CROP_PADDING
from distilpose.model.train.feed.augment import plain
from distilpose.model.train.feed.loader import Loader

COUNT: Final = 15
_CROP_WH_PX: Final = np.array([CROP_WIDTH, CROP_HEIGHT], np.float32)
_BOX_XYXY_PX: Final = np.concatenate(
    [_CROP_WH_PX * (1 - 1 / CROP_PADDING) / 2, _CROP_WH_PX * (1 + 1 / CROP_PADDING) / 2]
)
"""The box that, expanded like the network's input, is the whole crop."""


class _Pose(NamedTuple):
    """The parts of a person that are drawn, in crop pixels."""

    box_xyxy_px: FloatArray
    keypoints_xy_px: FloatArray
    keypoint_score: FloatArray
    sigma_px: FloatArray
    score: float


def sheet(people: Loader, xy_crop: FloatArray, raw_score: FloatArray) -> ImageHWC:
    """Some people of the first batch, spread over it, as found and (green) as labelled.

    `xy_crop` (N, 17, 2) and `raw_score` (N, 17) are the answers for everyone in order. A caption
    gives the mean error of the labelled keypoints.
    """
    batch = plain(next(iter(people.in_order())), normalisation=ZERO_TO_ONE)
    pixels_BHWC = 255 * batch.crops_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    crops_BHWC = np.clip(pixels_BHWC, 0, 255).astype(np.uint8)
    truth_xy_px, weight = batch.xy_crop_px.cpu().numpy(), batch.weight.cpu().numpy()
    tiles = []
    for index in np.linspace(0, len(crops_BHWC) - 1, min(COUNT, len(crops_BHWC))).astype(int):
        labelled = weight[index] > 0
        found_xy_px = xy_crop[index] * _CROP_WH_PX
        distance_px = np.linalg.norm(found_xy_px - truth_xy_px[index], axis=1)[labelled]
        off = f"{distance_px.mean():.1f} px off" if len(distance_px) else "no label"
        no_sigma = np.zeros_like(found_xy_px)
        tiles.append(
            skeletons.person_tile(
                crops_BHWC[index],
                _Pose(_BOX_XYXY_PX, found_xy_px, raw_score[index], no_sigma, 1.0),
                box_xyxy_px=_BOX_XYXY_PX,
                truth_xy_px=truth_xy_px[index],
                labelled=labelled,
                caption=off,
            )
        )
    return skeletons.contact_sheet(tiles)
