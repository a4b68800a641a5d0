"""Number of replicas, calculated from the stages' times."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class StageTimes:
    """Seconds that a photo costs a replica, by stage."""

    decode: float
    """Of one core, a photo."""
    detect: float
    """Of the device, a photo."""
    pose: float
    """Of the device, a person."""

    @classmethod
    def measured(
        cls, *, decode: float, photos_per_second: float, people: float, crops_per_second: float
    ) -> "StageTimes":
        """From what a replica does when it is full: photos with as many people, and given boxes."""
        pose = 1 / crops_per_second
        return cls(decode, 1 / photos_per_second - people * pose, pose)

    def device_seconds(self, people: float, *, detect_every: int = 1) -> float:
        """Of the device, a photo with as many people, or a frame where each Nth is detected."""
        return self.detect / detect_every + people * self.pose


def decode_cores(photos_per_second: float, times: StageTimes) -> float:
    """Cores that do nothing but decode, in all replicas together."""
    return photos_per_second * times.decode


def replicas_for_photos(
    photos_per_second: float, people: float, times: StageTimes, *, busy_share: float
) -> int:
    """Replicas whose devices are busy for `busy_share` of the time."""
    return max(1, _up(photos_per_second * times.device_seconds(people) / busy_share))


def frames_per_second(
    people: float, times: StageTimes, *, busy_share: float, detect_every: int = 1
) -> float:
    """Frames of streams that one replica answers a second."""
    return busy_share / times.device_seconds(people, detect_every=detect_every)


def replicas_for_streams(streams: int, fps: float, *, answered_per_second: float) -> int | None:
    """Replicas for streams of which every frame is answered; None where one holds not even one.

    A stream stays with one replica: what that answers beyond whole streams is of no use to another.
    """
    held = _down(answered_per_second / fps)
    return math.ceil(streams / held) if held else None


def _up(number: float) -> int:
    return math.ceil(round(number, 9))


def _down(number: float) -> int:
    return math.floor(round(number, 9))
