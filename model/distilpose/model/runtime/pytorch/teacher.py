"""Run a teacher in the student's place, to measure both with one protocol. It is never served.

Shape letters: B crops, H = 64 rows and W = 48 columns of a heatmap.
"""

from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import Tensor

from distilpose.model import crop
from distilpose.model.arrays import CropsBHWC, check_shape
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH, HEATMAP_HEIGHT, HEATMAP_WIDTH
from distilpose.model.heatmaps import TARGET_SIGMA_CELL, decode, mirror_heatmaps
from distilpose.model.networks import Teacher, TeacherOut
from distilpose.model.runtime.devices import DeviceKind
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.pytorch.engine import TorchEngine

PROTOCOL: Final = (
    "A teacher is never served. Its raw scores are the peaks of its heatmaps, whose mean the flip "
    "test takes; `served` ranks by these clamped to 0..1; all spreads are the "
    f"{TARGET_SIGMA_CELL:g} cells of the Gaussians it was trained on."
)
"""The differences between a teacher's figures and a student's, to be shown beside them."""


class TeacherEngine(TorchEngine):
    """A teacher network ready to run on `device` in `precision`; takes ownership of the network.

    Keypoints are the peaks of its heatmaps and raw scores their values. It predicts no spread:
    sigma is that of the Gaussians it was trained on.

    Raises:
        ConfigError: `buckets` is empty or not ascending.
    """

    def __init__(
        self,
        network: Teacher,
        *,
        device: DeviceKind = "cpu",
        precision: Precision = "float32",
        buckets: Sequence[int],
    ) -> None:
        super().__init__(network, device=device, precision=precision, buckets=buckets)

    def run(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        """The teacher's output for any number of crops (B, 256, 192, 3), RGB uint8.

        Raises:
            ArrayError: the crops have another shape.
        """
        return _peaks(self.heatmaps(crops_BHWC))

    def run_flip_test(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        """The output for the mean of the crops' heatmaps and those of their mirror images.

        *Source:* TokenPose, as the DistilPose authors test it.

        Raises:
            ArrayError: the crops have another shape.
        """
        mirrored_BKHW = self.heatmaps(crop.mirror(crops_BHWC))
        return _peaks((self.heatmaps(crops_BHWC) + mirror_heatmaps(mirrored_BKHW)) / 2)

    @torch.inference_mode()
    def heatmaps(self, crops_BHWC: CropsBHWC) -> Tensor:
        """The heatmaps (B, 17, 64, 48) of any number of crops, float32, on the CPU.

        Raises:
            ArrayError: the crops have another shape.
        """
        check_shape(crops_BHWC, (None, CROP_HEIGHT, CROP_WIDTH, 3), name="crops")
        largest = self.buckets[-1]
        starts = range(0, max(len(crops_BHWC), 1), largest)
        parts = [torch.from_numpy(crops_BHWC[start : start + largest]) for start in starts]
        outs = [cast("TeacherOut", self._forward(self.normalise(part))) for part in parts]
        return torch.cat([out.heatmaps_BKHW.float().cpu() for out in outs])


def _peaks(heatmaps_BKHW: Tensor) -> PoseArrays:
    peaks = decode(heatmaps_BKHW)
    xy_crop = peaks.xy_cell / peaks.xy_cell.new_tensor([HEATMAP_WIDTH, HEATMAP_HEIGHT])
    sigma_cell = torch.full_like(xy_crop, TARGET_SIGMA_CELL)
    return PoseArrays(xy_crop.numpy(), peaks.value.numpy(), sigma_cell.numpy())
