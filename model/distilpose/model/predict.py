"""Find the poses of one image without a server: the reference that the service must equal."""

from collections.abc import Sequence

import numpy as np

from distilpose.model import crop, geometry
from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC, check_image, check_shape
from distilpose.model.calibration import Calibrated, Calibration
from distilpose.model.errors import ConfigError
from distilpose.model.poses.pose import Pose
from distilpose.model.runtime.detector import Detections, PersonDetector
from distilpose.model.runtime.engine import PoseArrays, PoseEngine


class Predictor:
    """Detector and student together.

    Without a detector, boxes must be given; without a calibration, scores are clamped raw scores.
    """

    def __init__(
        self,
        engine: PoseEngine,
        detector: PersonDetector | None = None,
        *,
        calibration: Calibration | None = None,
    ) -> None:
        self.engine = engine
        self.detector = detector
        self.calibration = calibration

    def detect(self, images: Sequence[ImageHWC], *, min_box_score: float) -> list[Detections]:
        """Find the people in each image, best score first.

        Raises:
            ConfigError: there is no detector.
        """
        if self.detector is None:
            raise ConfigError("this predictor has no detector: give boxes")
        return self.detector.detect(images, min_box_score=min_box_score)

    def poses(
        self,
        image_HWC: ImageHWC,
        boxes_xyxy_px: FloatArray,
        box_scores: FloatArray,
        *,
        flip_test: bool = False,
    ) -> list[Pose]:
        """The pose in each of N boxes (N, 4), in their order.

        Raises:
            ArrayError: the image, the boxes or their scores have the wrong shape or type.
        """
        check_image(image_HWC)
        check_shape(boxes_xyxy_px, (None, 4), name="boxes_xyxy_px")
        check_shape(box_scores, (len(boxes_xyxy_px),), name="box_scores")
        if not len(boxes_xyxy_px):
            return []
        regions = geometry.crop_regions(boxes_xyxy_px)
        crops = crop.cut(image_HWC, regions)
        arrays = self.answers(crops, flip_test=flip_test)
        return assemble(arrays, regions, boxes_xyxy_px, box_scores, calibration=self.calibration)

    def answers(self, crops_BHWC: CropsBHWC, *, flip_test: bool) -> PoseArrays:
        """The student's outputs for N crops (N, 256, 192, 3), averaged with `flip_test`.

        Raises:
            ArrayError: the crops have another shape.
        """
        run = self.engine.run_flip_test if flip_test else self.engine.run
        return run(crops_BHWC)


def answered(
    arrays: PoseArrays, crop_widths_px: FloatArray, calibration: Calibration | None
) -> Calibrated:
    """Return the final scores and spreads for crops of these widths (N,) in the image.

    Without a calibration, the score is the raw score clamped to 0..1, and sigma the student's own.
    """
    if calibration is None:
        return Calibrated(np.clip(arrays.raw_score, 0, 1), arrays.sigma_cell)
    return calibration.apply(arrays.raw_score, arrays.sigma_cell, crop_widths_px)


def assemble(
    arrays: PoseArrays,
    regions: geometry.CropRegions,
    boxes_xyxy_px: FloatArray,
    box_scores: FloatArray,
    *,
    calibration: Calibration | None = None,
) -> list[Pose]:
    """The student's outputs for the crops of one image, mapped back to image pixels."""
    keypoints_xy_px = geometry.crop_to_image(arrays.xy_crop, regions)
    calibrated = answered(arrays, regions.sizes_wh_px[:, 0], calibration)
    sigma_px = geometry.sigma_to_image(calibrated.sigma_cell, regions)
    columns = zip(
        boxes_xyxy_px,
        box_scores,
        keypoints_xy_px,
        calibrated.keypoint_score,
        arrays.raw_score,
        sigma_px,
        strict=True,
    )
    return [
        Pose(box, float(box_score), *arrays_of_person)
        for box, box_score, *arrays_of_person in columns
    ]
