"""One person in an answer."""

from dataclasses import dataclass

from distilpose.model.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Pose:
    """One person, in image pixels."""

    box_xyxy_px: FloatArray
    """Shape (4,)."""
    box_score: float
    keypoints_xy_px: FloatArray
    """Shape (17, 2)."""
    keypoint_score: FloatArray
    """Score of each keypoint (17,), 0..1; with a calibration, the probability of being right."""
    raw_score: FloatArray
    """The student's score before calibration, (17,), unbounded."""
    sigma_px: FloatArray
    """Shape (17, 2)."""

    @property
    def score(self) -> float:
        """Mean keypoint score multiplied by the box score."""
        return float(self.keypoint_score.mean() * self.box_score)
