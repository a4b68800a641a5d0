"""A Deployment's pods through a synthetic day, scaled by an autoscaler."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from sizing.autoscaler import SYNC_SECONDS, Autoscaler, PodValues
from sizing.day import Numbers, Photos
from sizing.pod import Pod, queue_seconds_at_most
from sizing.sizing import StageTimes

QUEUE, BUSY = "queue seconds", "busy share"
_SEED: Final = 7


@dataclass(frozen=True)
class Start:
    """The time that a new pod takes to start."""

    pending_seconds: float = 30
    """Seconds until the process runs: scheduling, pulling the image."""
    loading_seconds: float = 30
    """Seconds from then until it is ready."""


@dataclass
class Record:
    """The record of the day."""

    replicas: list[int] = field(default_factory=list)
    """The requested number of replicas at each step."""
    waits: list[Numbers] = field(default_factory=list)
    """The waits, in seconds, of each step's photos; infinite for refused ones."""

    @property
    def all_waits(self) -> Numbers:
        """The wait of each photo, in seconds."""
        return np.concatenate(self.waits)

    @property
    def refused_share(self) -> float:
        """The share of photos that were refused."""
        return float(np.isinf(self.all_waits).mean())

    def turns_at(self) -> list[float]:
        """The times at which the number of replicas changed direction."""
        changes = [
            (number * SYNC_SECONDS, after > before)
            for number, (before, after) in enumerate(pairwise(self.replicas), 1)
            if after != before
        ]
        return [at for (_, before), (at, after) in pairwise(changes) if before != after]

    def most_turns_within(self, seconds: float) -> int:
        """The largest number of changes of direction within that time."""
        turns = self.turns_at()
        return max((sum(at <= turn < at + seconds for turn in turns) for at in turns), default=0)

    def longest_wait_above(self, seconds: float) -> float:
        """The longest time in which every step had a photo that waited longer or was refused."""
        longest = now = 0
        for waits in self.waits:
            now = now + 1 if len(waits) and waits.max() > seconds else 0
            longest = max(longest, now)
        return longest * SYNC_SECONDS


class Fleet:
    """Pods behind a Service that assigns each photo to any ready one."""

    def __init__(
        self, autoscaler: Autoscaler, times: StageTimes, *, people: float, start: Start
    ) -> None:
        self._autoscaler = autoscaler
        self._times = times
        self._most_seconds = queue_seconds_at_most(times.device_seconds(people))
        self._start = start
        self._chance = np.random.default_rng(_SEED)
        self._pods = [Pod(running_at=0.0, ready_at=0.0)]

    def live(self, day: Iterable[Photos]) -> Record:
        """Serve a day's photos, step by step."""
        record = Record()
        for number, photos in enumerate(day, 1):
            record.waits.append(self._serve(photos, number * SYNC_SECONDS))
            self._scale(number * SYNC_SECONDS)
            record.replicas.append(len(self._pods))
        return record

    def _serve(self, photos: Photos, now: float) -> Numbers:
        ready = [pod for pod in self._pods if pod.ready_at <= now - SYNC_SECONDS]
        work = self._times.detect + photos.people * self._times.pose
        waits = np.empty(len(work))
        chosen = self._chance.integers(len(ready), size=len(work))
        for pod in self._pods:
            mine = chosen == ready.index(pod) if pod in ready else np.zeros(len(work), bool)
            waits[mine] = pod.serve(
                photos.arrived_at[mine], work[mine], now=now, most_seconds=self._most_seconds
            )
        return waits

    def _scale(self, now: float) -> None:
        running = [pod for pod in self._pods if pod.running_at < now]
        seen = [pod for pod in running if pod.running_at <= now - 2 * SYNC_SECONDS]
        decode_seconds = self._times.decode / self._times.decode_workers
        shares = [pod.busy_share(decode_seconds=decode_seconds) for pod in seen]
        unseen, pending = len(running) - len(seen), len(self._pods) - len(running)
        wanted = self._autoscaler.decide(
            now,
            len(self._pods),
            {
                QUEUE: PodValues([pod.queue_seconds() for pod in seen], unseen, pending),
                BUSY: PodValues(shares, unseen, pending),
            },
        )
        start = self._start
        running_at = now + start.pending_seconds
        while len(self._pods) < wanted:
            self._pods.append(Pod(running_at, running_at + start.loading_seconds))
        del self._pods[wanted:]  # the youngest, which finish their accepted photos
