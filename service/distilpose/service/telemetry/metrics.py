"""All Prometheus metrics in one object, built on a given registry. Label values are bounded."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from distilpose.service import errors
from distilpose.service.domain import PoseAnswer
from distilpose.service.words import (
    Blame,
    ClosingReason,
    DropReason,
    Fault,
    MemoryPart,
    Pool,
    RefusalReason,
    Stage,
)

_DEVICE_STAGES: Final = (Stage.DETECT, Stage.POSE)
_DROPPING_POOLS: Final = tuple(pool for pool in Pool if pool != Pool.DEVICE)
"""The pools that drop work themselves; the device's is dropped by its stages."""
FRAME_OUTCOMES: Final = (
    ("ordered", "answered"),
    ("ordered", "failed"),
    ("latest", "answered"),
    ("latest", "failed"),
    ("latest", "replaced"),
)
"""The modes of streams, each with the outcomes of its frames."""
_QUEUED_DROPS: Final = tuple(each for each in DropReason if each != DropReason.REPLACED)
MEMORY_KINDS: Final = ("allocated", "cached")
DECODE_SIZES: Final = ("full", "scaled", "again")
IMAGE_OUTCOMES: Final = (
    "answered",
    errors.InvalidRequest.type,
    errors.UndecodableImage.type,
    errors.UnsupportedMediaType.type,
    errors.TooLarge.type,
    errors.DeadlineExceeded.type,
    errors.Overloaded.type,
    errors.Draining.type,
    errors.Internal.type,
    DropReason.CANCELLED,
)
PREFIX: Final = "distilpose_"

_REQUEST_SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_STAGE_SECONDS = (
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1,
)  # fmt: skip
_QUEUE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_FRAME_SECONDS = (0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)
_PEOPLE = (0, 1, 2, 3, 5, 8, 13, 21, 34, 50)
_SCORES = tuple(step / 10 for step in range(1, 11))


class QueueView(Protocol):
    """The values of a queue that its gauges read at each scrape."""

    stage: Stage

    @property
    def capacity(self) -> int:
        """Items that may wait, at the present pace."""
        ...

    @property
    def queued(self) -> int:
        """Items in the queue."""
        ...

    @property
    def oldest_queued_seconds(self) -> float:
        """The age of the first item in the queue, in seconds."""
        ...


class LogView(Protocol):
    """The value of the log that its counter reads at each scrape."""

    dropped_lines: int


class _DroppedLogLines(Collector):
    """Counts without a lock of its own: lines are dropped on any thread, at any moment."""

    def __init__(self) -> None:
        self.log: LogView | None = None

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            PREFIX + "log_lines_dropped",
            "Log lines that were not written, since standard error was not read in time.",
            value=self.log.dropped_lines if self.log else 0,
        )


class BudgetView(Protocol):
    """The memory that requests hold, as its gauges read it at each scrape."""

    @property
    def limit_bytes(self) -> int:
        """The most that all requests together may hold."""
        ...

    def held_bytes(self, part: MemoryPart) -> int:
        """The bytes that are held for one purpose."""
        ...


class Metrics:
    """Counts events; also serves as the batchers' observer.

    `buckets` are batch sizes in addition to the powers of two.
    """

    def __init__(self, registry: CollectorRegistry, *, buckets: Iterable[int] = ()) -> None:
        self.registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(PREFIX + name, text, labels, registry=registry)

        def histogram(
            name: str, text: str, *labels: str, boundaries: tuple[float, ...]
        ) -> Histogram:
            return Histogram(PREFIX + name, text, labels, registry=registry, buckets=boundaries)

        self.requests = counter(
            "requests",
            "Requests that have ended, and who is to blame.",
            "transport",
            "method",
            "code",
            "blame",
        )
        self.request_duration = histogram(
            "request_duration_seconds",
            "From the arrival of a request to its answer, or to a failure of the service.",
            "transport",
            "method",
            boundaries=_REQUEST_SECONDS,
        )
        self.requests_in_flight = gauge("requests_in_flight", "Requests begun.", "transport")
        self.streams_active = gauge("streams_active", "Open video streams.")
        self.refusals = counter("refusals", "Calls refused as overload, by reason.", "reason")
        self.connections = gauge("connections", "Open HTTP connections.")
        self.connections_refused = counter(
            "connections_refused", "HTTP connections that the service closed, by reason.", "reason"
        )
        self.answers_dropped = counter(
            "answers_dropped", "Answers given up since their callers took nothing.", "transport"
        )
        self.stream_frames = counter(
            "stream_frames", "Frames of streams, by outcome.", "mode", "outcome"
        )
        self.stream_frame_age = histogram(
            "stream_frame_age_seconds",
            "From a frame's arrival to its answer.",
            "mode",
            boundaries=_FRAME_SECONDS,
        )
        self.images = counter("images", "Images, by outcome.", "outcome")
        self.decodes = counter(
            "decodes",
            "Images decoded in full, scaled down, or again in full for small people.",
            "size",
        )
        self.poses = counter("poses", "People answered.")
        self.people_per_image = histogram(
            "people_per_image", "People answered for an image.", boundaries=_PEOPLE
        )
        self.keypoint_score = histogram(
            "keypoint_score", "Scores of answered keypoints.", boundaries=_SCORES
        )
        self.stage_duration = histogram(
            "stage_duration_seconds",
            "A request's wall time in a stage, overlap counted once.",
            "stage",
            boundaries=_STAGE_SECONDS,
        )
        self.queue_wait = histogram(
            "queue_wait_seconds",
            "A request's wait for a stage, overlap counted once.",
            "stage",
            boundaries=_QUEUE_SECONDS,
        )
        self.batch_items = histogram(
            "batch_items",
            "Items of a batch.",
            "stage",
            boundaries=tuple(sorted({*_BATCH_ITEMS, *buckets})),
        )
        self.dropped_items = counter(
            "dropped_items", "Items that were not computed.", "stage", "reason"
        )
        self.device_busy = counter(
            "device_busy_seconds", "Time the device spent computing.", "stage"
        )
        self.pool_busy = counter(
            "pool_busy_seconds", "Time that a pool's workers spent working, added up.", "pool"
        )
        self.pool_workers = gauge("pool_workers", "Workers of a pool.", "pool")
        self.stalled = gauge("stalled", "1 while work is queued and nothing runs or ends.")
        self.padding_items = counter("padding_items", "Padding: empty places of batches.", "stage")
        self.device_errors = counter("device_errors", "Failures on the device.", "kind")
        self.queue_items = gauge("queue_items", "Items waiting.", "stage")
        self.queue_capacity = gauge(
            "queue_capacity", "Items that may wait, at the present pace.", "stage"
        )
        self.queue_oldest = gauge("queue_oldest_seconds", "Age of the first queued item.", "stage")
        self.device_memory = gauge(
            "device_memory_bytes", "Memory held on a device with its own memory.", "kind"
        )
        self._dropped_log_lines = _DroppedLogLines()
        registry.register(self._dropped_log_lines)
        self.memory_held = gauge(
            "memory_held_bytes", "Memory that requests hold, by purpose.", "part"
        )
        self.memory_limit = gauge("memory_limit_bytes", "Memory that requests may hold.")
        self.ready = gauge("ready", "1 while requests are answered.")
        self.model_info = Info(PREFIX + "model", "The student that answers.", registry=registry)
        build = Info(PREFIX + "build", "This program.", registry=registry)
        build.info({"version": version("distilpose")})
        self._create_known_labels()

    def _create_known_labels(self) -> None:
        """Create the known combinations of labels at 0, so that rates include the first event."""
        for transport in ("rest", "grpc"):
            self.requests_in_flight.labels(transport)
            self.answers_dropped.labels(transport)
        for mode, outcome in FRAME_OUTCOMES:
            self.stream_frames.labels(mode, outcome)
            self.stream_frame_age.labels(mode)
        self.dropped_items.labels(Stage.DECODE, DropReason.REPLACED)
        one_label: list[tuple[Counter | Gauge, Iterable[str]]] = [
            (self.refusals, RefusalReason),
            (self.connections_refused, ClosingReason),
            (self.images, IMAGE_OUTCOMES),
            (self.decodes, DECODE_SIZES),
            (self.device_memory, MEMORY_KINDS),
            (self.memory_held, MemoryPart),
            (self.device_errors, Fault),
        ]
        for metric, values in one_label:
            for value in values:
                metric.labels(value)
        self._create_labels_of_work()

    def _create_labels_of_work(self) -> None:
        for stage in Stage:
            self.stage_duration.labels(stage)
            self.queue_wait.labels(stage)
            self.queue_items.labels(stage)
            self.queue_capacity.labels(stage)
            self.queue_oldest.labels(stage)
        for stage in _DEVICE_STAGES:
            self.batch_items.labels(stage)
            self.device_busy.labels(stage)
            self.padding_items.labels(stage)
        for pool in Pool:
            self.pool_busy.labels(pool)
            self.pool_workers.labels(pool)
        for place in (*_DEVICE_STAGES, *_DROPPING_POOLS):
            for reason in _QUEUED_DROPS:
                self.dropped_items.labels(place, reason)

    def watch(self, queue: QueueView) -> None:
        """Read a queue's gauges at each scrape."""
        stage = queue.stage
        self.queue_capacity.labels(stage).set_function(lambda: queue.capacity)
        self.queue_items.labels(stage).set_function(lambda: queue.queued)
        self.queue_oldest.labels(stage).set_function(lambda: queue.oldest_queued_seconds)

    def watch_pool(self, pool: Pool, workers: int) -> None:
        """Record the number of a pool's workers."""
        self.pool_workers.labels(pool).set(workers)

    def watch_stalled(self, read: Callable[[], bool]) -> None:
        """Read at each scrape if work is queued while nothing runs or ends."""
        self.stalled.set_function(read)

    def watch_budget(self, budget: BudgetView) -> None:
        """Read the memory that requests hold at each scrape."""
        self.memory_limit.set_function(lambda: budget.limit_bytes)
        for part in MemoryPart:
            self.memory_held.labels(part).set_function(partial(budget.held_bytes, part))

    def watch_memory(self, held_bytes: Callable[[], Mapping[str, int]]) -> None:
        """Read the device's memory use, by kind, at each scrape."""
        for kind in MEMORY_KINDS:
            self.device_memory.labels(kind).set_function(partial(_bytes_of, kind, held_bytes))

    def watch_log(self, log: LogView) -> None:
        """Read the number of log lines that were not written at each scrape."""
        self._dropped_log_lines.log = log

    def expect(self, transport: str, method: str, *, endings: Iterable[tuple[str, Blame]]) -> None:
        """Create a method's counters for these codes, each with its blame.

        A stream has no duration.
        """
        if method != "stream_pose":
            self.request_duration.labels(transport, method)
        for code, blame in endings:
            self.requests.labels(transport, method, code, blame)

    def request_done(
        self, transport: str, *, method: str, code: str, blame: Blame, seconds: float | None
    ) -> None:
        """Count a request that has ended; a stream has no duration.

        Only what was answered, or failed because of the service, tells how fast the service is.
        """
        self.requests.labels(transport, method, code, blame).inc()
        if seconds is not None and blame in (Blame.NONE, Blame.SERVICE):
            self.request_duration.labels(transport, method).observe(seconds)

    def refused(self, reason: RefusalReason) -> None:
        """Count a call that was refused as overload."""
        self.refusals.labels(reason).inc()

    def frame_done(self, mode: str, *, answered: bool, age_seconds: float) -> None:
        """Count a stream's frame that was answered, with poses or with its error."""
        self.stream_frames.labels(mode, "answered" if answered else "failed").inc()
        self.stream_frame_age.labels(mode).observe(age_seconds)

    def frame_replaced(self, mode: str) -> None:
        """Count a frame that was replaced by a newer one before it was processed."""
        self.stream_frames.labels(mode, "replaced").inc()
        self.items_dropped(Stage.DECODE, reason=DropReason.REPLACED, items=1)

    def answered(self, answer: PoseAnswer) -> None:
        """Count an answer's images and poses."""
        for image in answer.images:
            self.images.labels(image.error.type if image.error else "answered").inc()
            if not image.error:
                self.people_per_image.observe(len(image.poses))
                self.poses.inc(len(image.poses))
            for pose in image.poses:
                for score in pose.keypoint_score:
                    self.keypoint_score.observe(float(score))

    @contextmanager
    def whole_failures(self, images: int) -> Iterator[None]:
        """Count a request's images if its work fails as a whole within the context."""
        try:
            yield
        except errors.ServiceError as err:
            self.images.labels(err.type).inc(images)
            raise
        except asyncio.CancelledError:
            self.images.labels(DropReason.CANCELLED).inc(images)
            raise

    def stages_passed(self, work: Mapping[Stage, float], waits: Mapping[Stage, float]) -> None:
        """Observe a request's seconds in each stage and in its queue, however the request ended."""
        for stage, seconds in work.items():
            if seconds:
                self.stage_duration.labels(stage).observe(seconds)
        for stage, seconds in waits.items():
            self.queue_wait.labels(stage).observe(seconds)

    def decoded(self, size: str) -> None:
        """Count a decoded image, by one of `DECODE_SIZES`."""
        self.decodes.labels(size).inc()

    def batch_done(self, stage: Stage, *, items: int, padding: int, seconds: float) -> None:
        """Record a batch that has left the device, successful or not, padded by `padding` items."""
        self.batch_items.labels(stage).observe(items)
        self.padding_items.labels(stage).inc(padding)
        self.device_busy.labels(stage).inc(seconds)
        self.work_done(Pool.DEVICE, seconds=seconds)

    def work_done(self, pool: Pool, *, seconds: float) -> None:
        """Record the time that a piece of work took one of a pool's workers."""
        self.pool_busy.labels(pool).inc(seconds)

    def work_dropped(self, pool: Pool, *, reason: DropReason) -> None:
        """Count a piece of work that no worker of the pool will do."""
        self.dropped_items.labels(pool, reason).inc()

    def items_dropped(self, stage: Stage, *, reason: DropReason, items: int) -> None:
        """Count items that will not be computed."""
        self.dropped_items.labels(stage, reason).inc(items)

    def failed(self, stage: Stage, *, kind: Fault) -> None:
        """Count a failure of a batch, or of one item, on the device."""
        self.device_errors.labels(kind).inc()


def _bytes_of(kind: str, held_bytes: Callable[[], Mapping[str, int]]) -> int:
    return held_bytes().get(kind, 0)
