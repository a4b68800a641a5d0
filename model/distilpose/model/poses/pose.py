"""One person as answered."""

from dataclasses import dataclass

from distilpose.model.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Pose:
    """One person, in image pixels."""

    box_xyxy_px: FloatArray
    """(4,)"""
    box_score: float
    keypoints_xy_px: FloatArray
    """(17, 2)"""
    keypoint_score: FloatArray
    """(17,), 0..1, the probability of being right where there is a calibration."""
    raw_score: FloatArray
    """(17,), what the student said before calibration, unbounded."""
    sigma_px: FloatArray
    """(17, 2)"""

    @property
    def score(self) -> float:
        """Mean keypoint score times box score."""
        return float(self.keypoint_score.mean() * self.box_score)
