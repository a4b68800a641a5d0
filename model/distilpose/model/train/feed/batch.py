"""Batches of people, from the cache to the network, and their targets."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from distilpose.model.heatmaps import (
    HeatmapTarget,
    RegressionTarget,
    cell_shares,
    heatmap_target,
    regression_target,
)


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
    picture_id: Tensor
    """Id of the picture that each person is in, int64 (B,)."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of B people for all losses, computed once per step."""

    points: RegressionTarget
    heatmaps: HeatmapTarget
    known: Tensor
    """True for keypoints known to lie in the crop or outside it, bool (B, 17)."""
    _shares: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False)

    def shares(self, grid_hw: tuple[int, int]) -> Tensor:
        """Return the heatmaps as shares of 1 over a grid, (B, 17, *grid_hw); computed once."""
        if grid_hw not in self._shares:
            self._shares[grid_hw] = cell_shares(self.heatmaps.heatmaps_BKHW, grid_hw)
        return self._shares[grid_hw]


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

    def targets(self) -> Targets:
        """Return the targets that follow from the labels."""
        points = regression_target(self.xy_crop_px, self.weight)
        heatmaps = heatmap_target(self.xy_crop_px, self.weight)
        return Targets(points, heatmaps, (points.weight > 0) | self.outside)
