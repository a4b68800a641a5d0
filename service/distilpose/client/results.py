"""Results: poses in pixels, the same over REST and gRPC.

Coordinates are pixels of the upright picture: x right, y down, the centre of the top-left pixel is
(0, 0). Keypoints are COCO's 17 in COCO's order, `KEYPOINT_NAMES`; left and right are the person's
own. Scores are 0..1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distilpose.client.errors import PoseError
from distilpose.model.skeleton import KEYPOINT_NAMES

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class Pose:
    """One person."""

    box_xyxy_px: FloatArray
    """Box (4,), clipped to the picture."""
    box_score: float
    score: float
    """Mean keypoint score multiplied by the box score."""
    keypoints_xy_px: FloatArray
    """Coordinates (17, 2)."""
    keypoint_score: FloatArray
    """Scores (17,)."""
    visible: BoolArray
    """Flags (17,), true for keypoints with at least the score `min_keypoint_score`."""
    sigma_px: FloatArray
    """Predicted spread (17, 2) of each keypoint, in x and in y."""
    track_id: int | None = None
    """The person's number, the same in every frame; only in streams with `track`."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time spent in the service, in milliseconds; overlapping work is counted once."""

    decode_ms: float = 0.0
    detect_ms: float = 0.0
    pose_ms: float = 0.0
    queue_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageAnswer:
    """The people of one picture, or the error."""

    width: int = 0
    """Width of the upright picture, in pixels; 0 with an error."""
    height: int = 0
    poses: tuple[Pose, ...] = ()
    """The people; empty if none was found."""
    people_found: int | None = None
    """Number of people that the detector found, at most 300, of whom `max_people` were answered;
    None if it did not run."""
    error: PoseError | None = None
    timing: Timing = Timing()


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameAnswer(ImageAnswer):
    """The people of one frame of a stream."""

    frame_id: int
    """The frame's number, counted from 0 in the order of reading."""
    timestamp_ms: float
    dropped_frame_ids: tuple[int, ...] = ()
    """Frames dropped since the previous answer; in `latest` streams only."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The student that answers, and the device and runtime it uses."""

    name: str
    version: str
    sha256: str
    source: str
    calibrated: bool
    """True if scores are calibrated probabilities."""
    device: str
    dtype: str
    """Precision of the student, such as `float32`."""
    engine: str
    input_size_hw: tuple[int, int]
    """Size of a crop, in pixels."""
    keypoints: tuple[str, ...]
    detector: str
    detector_dtype: str = ""
    """Precision of the detector; empty if the service is too old to say."""


def to_fields(answer: ImageAnswer) -> dict[str, Any]:
    """An answer as values that JSON can hold, with the names of the service's REST answers."""
    if answer.error:
        return {"error": {"type": answer.error.type, "detail": answer.error.detail}}
    found = {} if answer.people_found is None else {"people_found": answer.people_found}
    poses = [_pose_fields(pose) for pose in answer.poses]
    return {"width": answer.width, "height": answer.height, **found, "poses": poses}


def _pose_fields(pose: Pose) -> dict[str, Any]:
    columns = pose.keypoints_xy_px, pose.keypoint_score, pose.visible, pose.sigma_px
    rows = zip(KEYPOINT_NAMES, *(column.tolist() for column in columns), strict=True)
    fields: dict[str, Any] = {} if pose.track_id is None else {"track_id": pose.track_id}
    return fields | {
        "box": [round(value, 2) for value in pose.box_xyxy_px.tolist()],
        "box_score": round(pose.box_score, 4),
        "score": round(pose.score, 4),
        "keypoints": [
            {
                "name": name,
                "x": round(x, 2),
                "y": round(y, 2),
                "score": round(score, 4),
                "visible": visible,
                "sigma_x": round(sigma_x, 2),
                "sigma_y": round(sigma_y, 2),
            }
            for name, (x, y), score, visible, (sigma_x, sigma_y) in rows
        ],
    }
