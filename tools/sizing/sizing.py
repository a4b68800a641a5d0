"""Estimate the number of replicas from the times of the stages."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class StageTimes:
    """The cost of a photo for a replica, in seconds."""

    decode: float
    """Seconds of one core per photo."""
    detect: float
    """Seconds of the device per photo."""
    pose: float
    """Seconds of the device per person."""
    decode_workers: float = math.inf
    """The threads that decode in each replica; infinite where each gets the cores it needs."""

    @classmethod
    def measured(
        cls,
        *,
        decode: float,
        decode_workers: float,
        photos_per_second: float,
        people: float,
        crops_per_second: float,
    ) -> "StageTimes":
        """From the throughput of a saturated replica: photos with these people, and given boxes."""
        pose = 1 / crops_per_second
        return cls(decode, 1 / photos_per_second - people * pose, pose, decode_workers)

    def device_seconds(self, people: float, *, detect_every: int = 1) -> float:
        """Seconds of the device for a photo with these people, or a frame with `detect_every`."""
        return self.detect / detect_every + people * self.pose

    def busiest_seconds(self, people: float, *, detect_every: int = 1) -> float:
        """Seconds for which a photo or frame takes up a replica's busiest pool of workers."""
        device_seconds = self.device_seconds(people, detect_every=detect_every)
        return max(device_seconds, self.decode / self.decode_workers)


def decode_cores(photos_per_second: float, times: StageTimes) -> float:
    """The number of cores used for decoding, in all replicas together."""
    return photos_per_second * times.decode


def replicas_for_photos(
    photos_per_second: float, people: float, times: StageTimes, *, busy_share: float
) -> int:
    """The number of replicas whose busiest workers work for `busy_share` of the time."""
    return max(1, _up(photos_per_second * times.busiest_seconds(people) / busy_share))


def frames_per_second(
    people: float, times: StageTimes, *, busy_share: float, detect_every: int = 1
) -> float:
    """The number of stream frames that one replica answers per second."""
    return busy_share / times.busiest_seconds(people, detect_every=detect_every)


def replicas_for_streams(streams: int, fps: float, *, answered_per_second: float) -> int | None:
    """Replicas for streams whose every frame is answered; None if a replica cannot hold one stream.

    A stream stays with one replica: capacity that is left beyond whole streams cannot be used.
    """
    held = _down(answered_per_second / fps)
    return math.ceil(streams / held) if held else None


def _up(number: float) -> int:
    return math.ceil(round(number, 9))


def _down(number: float) -> int:
    return math.floor(round(number, 9))
