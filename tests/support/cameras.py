"""Callers of streams in the test's own process, and the parts that a stream needs."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry

from distilpose.model.pictures.source import EncodedImage
from distilpose.service.domain import (
    Frame,
    FrameAnswer,
    ImageAnswer,
    Options,
    PoseAnswer,
    PoseRequest,
    StreamOptions,
)
from distilpose.service.errors import ServiceError
from distilpose.service.life import Life, State
from distilpose.service.settings import StreamsSettings
from distilpose.service.streams.stream import Stream, Streams
from distilpose.service.telemetry.metrics import Metrics

WINDOW = 8
POSE = Options(min_box_score=0.25, max_people=5, min_keypoint_score=0.3)
Estimate = Callable[[Frame], PoseAnswer]


def frame(number: int, *, timeout_seconds: float = 1e12) -> Frame:
    content = EncodedImage(b"picture", number)
    return Frame(number, number * 40.0, content, arrived_at=0, timeout_seconds=timeout_seconds)


def answered(asked: Frame) -> PoseAnswer:
    """Return an answer that differs from those of other frames."""
    return PoseAnswer([ImageAnswer(asked.source.id, (1, 1))])


class Camera:
    """A caller that sends frames, as fast as they are read by default, and takes answers."""

    def __init__(
        self,
        frames: Iterable[Frame],
        *,
        estimate: Estimate = answered,
        seconds: float = 0.003,
        stays_open: bool = False,
        opens: bool = True,
        every_seconds: float = 0,
        **options: Any,
    ) -> None:
        self.taken: list[FrameAnswer] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.most_in_flight = 0
        self.working = self.most_working = 0
        self.read_frames = 0
        self._frames = iter(frames)
        self._read_by_id: dict[str | int | None, Frame] = {}
        self._estimate = estimate
        self._seconds = seconds
        self._stays_open = stays_open
        self._opens = opens
        self._every_seconds = every_seconds
        self._options = StreamOptions(pose=POSE, **options)

    async def open(self) -> StreamOptions:
        if not self._opens:
            await asyncio.Event().wait()
        return self._options

    async def read(self) -> Frame | None:
        await asyncio.sleep(self._every_seconds)
        following = next(self._frames, None)
        if following is None and self._stays_open:
            await asyncio.Event().wait()
        if following:
            self.read_frames += 1
            self._read_by_id[following.source.id] = following
        self.most_in_flight = max(self.most_in_flight, self.read_frames - len(self.taken))
        return following

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        """Answer in the pipeline's place for this stream."""
        self.working += 1
        self.most_working = max(self.most_working, self.working)
        try:
            await asyncio.sleep(random.uniform(0, self._seconds))  # noqa: S311 - a delay
            return self._estimate(self.frame_of(request))
        finally:
            self.working -= 1

    def frame_of(self, request: PoseRequest) -> Frame:
        """The frame that is requested."""
        [source] = request.images
        return self._read_by_id[source.id]

    async def send(self, answer: FrameAnswer) -> None:
        await self.takes.wait()
        self.taken.append(answer)

    @property
    def taken_ids(self) -> list[int]:
        return [answer.frame.frame_id for answer in self.taken]

    @property
    def errors(self) -> list[ServiceError | None]:
        return [answer.image.error for answer in self.taken]

    @property
    def kinds(self) -> list[str]:
        return [error.type if error else "answered" for error in self.errors]


class Bench:
    """Parts that all streams share, and their metrics."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.life = Life()
        self.life.advance(State.READY)

    def stream(self, camera: Camera, *, window: int = WINDOW) -> Stream:
        return Stream(
            camera,
            estimate=camera.estimate,
            window=window,
            metrics=self.metrics,
            clock=self.clock,
        )

    def streams(self, *, max_age_seconds: float = 300, **settings: float) -> Streams:
        return Streams(
            StreamsSettings.model_validate(settings),
            self.life,
            self.metrics,
            max_age_seconds=max_age_seconds,
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"distilpose_{name}", labels)
