"""Batches of people, from the cache to the network."""

from typing import NamedTuple

from torch import Tensor


class StoredBatch(NamedTuple):
    """B people as stored in the cache: crops with a margin, before augmentation."""

    crops_BHWC: Tensor
    """uint8 RGB (B, 352, 264, 3)."""
    xy_store_px: Tensor
    """Keypoints (B, 17, 2) in pixels of the stored crop; 0 where unlabelled."""
    weight: Tensor
    """Trust in each keypoint (B, 17), 0..1; 0 where unlabelled."""
    box_wh_store_px: Tensor
    """Width and height (B, 2) of the person's box in pixels of the stored crop."""


class TrainBatch(NamedTuple):
    """B people as the network's input."""

    crops_BCHW: Tensor
    """Normalised RGB (B, 3, H, W), 256x192 or smaller in 4:3."""
    xy_crop_px: Tensor
    """Keypoints (B, 17, 2) in pixels of the 256x192 crop, for any H and W."""
    weight: Tensor
    """Trust in each keypoint (B, 17), 0..1; 0 where unlabelled or moved out of the crop."""
    outside: Tensor
    """True for labelled keypoints outside the crop, bool (B, 17)."""
