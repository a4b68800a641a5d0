"""What a caller gets: poses in pixels, the same by REST and by gRPC.

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
    """(4,), within the picture."""
    box_score: float
    score: float
    """Mean keypoint score times box score."""
    keypoints_xy_px: FloatArray
    """(17, 2)."""
    keypoint_score: FloatArray
    """(17,)."""
    visible: BoolArray
    """(17,): whose score is at least `min_keypoint_score`."""
    sigma_px: FloatArray
    """(17, 2): how far each keypoint may be off, in x and in y."""
    track_id: int | None = None
    """In streams with `track` who this is: the same number in every frame."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where the service's time went, milliseconds; overlapping work is counted once."""

    decode_ms: float = 0.0
    detect_ms: float = 0.0
    pose_ms: float = 0.0
    queue_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageAnswer:
    """The people of one picture, or why there is no answer."""

    width: int = 0
    """Of the upright picture, pixels; 0 with an error."""
    height: int = 0
    poses: tuple[Pose, ...] = ()
    """Empty when nobody was found."""
    error: PoseError | None = None
    timing: Timing = Timing()


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameAnswer(ImageAnswer):
    """The people of one frame of a stream."""

    frame_id: int
    """Which frame: they are counted from 0 as they are read."""
    timestamp_ms: float
    dropped_frame_ids: tuple[int, ...] = ()
    """Frames dropped since the previous answer; in `latest` streams only."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The student that answers, and on what it runs."""

    name: str
    version: str
    sha256: str
    source: str
    calibrated: bool
    """Whether scores are calibrated probabilities."""
    device: str
    dtype: str
    engine: str
    input_size_hw: tuple[int, int]
    """Of a crop, pixels."""
    keypoints: tuple[str, ...]
    detector: str


def to_fields(answer: ImageAnswer) -> dict[str, Any]:
    """What JSON can hold of an answer, named as in the service's REST answers."""
    if answer.error:
        return {"error": {"type": answer.error.type, "detail": answer.error.detail}}
    poses = [_pose_fields(pose) for pose in answer.poses]
    return {"width": answer.width, "height": answer.height, "poses": poses}


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
