"""Jitter filter for keypoints: a One-Euro filter for each person. Knows no streams.

*Source:* Casiez, Roussel and Vogel, "1 Euro Filter", CHI 2012, equations 1 to 7.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray
from distilpose.model.poses.pose import Pose
from distilpose.service.streams.tracking import FORGOTTEN_AFTER_MS, LEAST_ELAPSED_MS

_LEAST_CUTOFF_HZ: Final = 1.5
"""Cutoff frequency for a keypoint at rest: faster motion counts as jitter."""
_CUTOFF_HZ_PER_SPEED: Final = 4.0
"""Increase of the cutoff frequency per person size (root of the box area) moved per second."""
_SPEED_CUTOFF_HZ: Final = 1.0


@dataclass(slots=True)
class _Person:
    keypoints_xy_px: npt.NDArray[np.float64]
    velocity_xy_px: npt.NDArray[np.float64]
    """Pixels per second."""
    seen_at_ms: float


class Smoother:
    """Smooths each person's keypoints over time; a person's first keypoints are unchanged."""

    def __init__(self) -> None:
        self._people: dict[int, _Person] = {}

    def smooth(
        self, poses: Sequence[Pose], track_ids: Sequence[int], timestamp_ms: float
    ) -> list[Pose]:
        """The poses with smoothed keypoints; `timestamp_ms` must increase from call to call."""
        smoothed = [
            replace(pose, keypoints_xy_px=self._smoothed(pose, track_id, timestamp_ms))
            for pose, track_id in zip(poses, track_ids, strict=True)
        ]
        self._people = {
            track_id: person
            for track_id, person in self._people.items()
            if timestamp_ms - person.seen_at_ms <= FORGOTTEN_AFTER_MS
        }
        return smoothed

    def _smoothed(self, pose: Pose, track_id: int, timestamp_ms: float) -> FloatArray:
        found_xy_px = pose.keypoints_xy_px.astype(np.float64)
        before = self._people.get(track_id)
        if before is None:
            self._people[track_id] = _Person(found_xy_px, np.zeros_like(found_xy_px), timestamp_ms)
            return pose.keypoints_xy_px
        seconds = max(timestamp_ms - before.seen_at_ms, LEAST_ELAPSED_MS) / 1000
        velocity_xy_px = (found_xy_px - before.keypoints_xy_px) / seconds
        share = _share(_SPEED_CUTOFF_HZ, seconds)
        before.velocity_xy_px += share * (velocity_xy_px - before.velocity_xy_px)
        speed_px = np.linalg.norm(before.velocity_xy_px, axis=1, keepdims=True)
        cutoff_hz = _LEAST_CUTOFF_HZ + _CUTOFF_HZ_PER_SPEED * speed_px / _size_px(pose)
        moved = _share(cutoff_hz, seconds) * (found_xy_px - before.keypoints_xy_px)
        before.keypoints_xy_px = before.keypoints_xy_px + moved
        before.seen_at_ms = timestamp_ms
        return before.keypoints_xy_px.astype(np.float32)


def _share(cutoff_hz: Any, seconds: float) -> Any:
    """The share of a new value that a low-pass filter takes on."""
    turns = 2 * math.pi * cutoff_hz * seconds
    return turns / (turns + 1)


def _size_px(pose: Pose) -> float:
    """A length that scales with the person: the square root of the box's area."""
    width_px, height_px = pose.box_xyxy_px[2:] - pose.box_xyxy_px[:2]
    return max(math.sqrt(width_px * height_px), 1.0)
