"""All Prometheus metrics in one object, built on a given registry. Label values are bounded."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from distilpose.service.domain import PoseAnswer, Timing

STAGES: Final = ("decode", "detect", "pose")
QUEUED_STAGES: Final = ("detect", "pose")
DROP_REASONS: Final = ("deadline", "cancelled", "overloaded", "draining", "failed")
PREFIX: Final = "distilpose_"

_REQUEST_SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_STAGE_SECONDS = (
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1,
)  # fmt: skip
_QUEUE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PEOPLE = (0, 1, 2, 3, 5, 8, 13, 21, 34, 50)
_SCORES = tuple(step / 10 for step in range(1, 11))


class QueueView(Protocol):
    """What the gauges of a queue read at each scrape."""

    stage: str
    queue_capacity: int

    @property
    def queued(self) -> int:
        """Items in the queue."""
        ...

    @property
    def oldest_queued_seconds(self) -> float:
        """How long the first item has waited."""
        ...


class Metrics:
    """Counts what happens. Also the batchers' observer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(PREFIX + name, text, labels, registry=registry)

        def histogram(
            name: str, text: str, *labels: str, boundaries: tuple[float, ...]
        ) -> Histogram:
            return Histogram(PREFIX + name, text, labels, registry=registry, buckets=boundaries)

        self.requests = counter("requests", "Answered requests.", "transport", "method", "code")
        self.request_duration = histogram(
            "request_duration_seconds",
            "From the request's arrival to its answer.",
            "transport",
            "method",
            boundaries=_REQUEST_SECONDS,
        )
        self.requests_in_flight = gauge("requests_in_flight", "Requests begun.", "transport")
        self.images = counter("images", "Images, by what became of them.", "outcome")
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
            "batch_items", "Items of a batch.", "stage", boundaries=_BATCH_ITEMS
        )
        self.dropped_items = counter(
            "dropped_items", "Items that were not computed.", "stage", "reason"
        )
        self.device_busy = counter("device_busy_seconds", "Time the device computed.", "stage")
        self.device_errors = counter("device_errors", "Batches that raised.", "kind")
        self.queue_items = gauge("queue_items", "Items waiting.", "stage")
        self.queue_capacity = gauge("queue_capacity", "Items that may wait.", "stage")
        self.queue_oldest = gauge(
            "queue_oldest_seconds", "How long the first item has waited.", "stage"
        )
        self.ready = gauge("ready", "1 when requests are answered.")
        self.model_info = Info(PREFIX + "model", "The student that answers.", registry=registry)
        build = Info(PREFIX + "build", "This program.", registry=registry)
        build.info({"version": version("distilpose")})
        self._create_known_labels()

    def _create_known_labels(self) -> None:
        """Known combinations exist from the start, at 0, so that rates see the first event."""
        self.requests_in_flight.labels("rest")
        self.request_duration.labels("rest", "estimate_pose")
        self.requests.labels("rest", "estimate_pose", "200")
        self.images.labels("answered")
        self.device_errors.labels("fault")
        for stage in STAGES:
            self.stage_duration.labels(stage)
            self.queue_wait.labels(stage)
        for stage in QUEUED_STAGES:
            self.batch_items.labels(stage)
            self.device_busy.labels(stage)
            for reason in DROP_REASONS:
                self.dropped_items.labels(stage, reason)

    def watch(self, queue: QueueView) -> None:
        """Read a queue's gauges at each scrape."""
        stage = queue.stage
        self.queue_capacity.labels(stage).set(queue.queue_capacity)
        self.queue_items.labels(stage).set_function(lambda: queue.queued)
        self.queue_oldest.labels(stage).set_function(lambda: queue.oldest_queued_seconds)

    def request_done(self, *, method: str, code: int, seconds: float) -> None:
        """A REST request was answered."""
        self.requests.labels("rest", method, str(code)).inc()
        self.request_duration.labels("rest", method).observe(seconds)

    def answered(self, answer: PoseAnswer, *, waits: Mapping[str, float]) -> None:
        """Poses were answered; `waits` are the request's seconds in each stage's queue."""
        for image in answer.images:
            self.images.labels(image.error.type if image.error else "answered").inc()
            if not image.error:
                self.people_per_image.observe(len(image.poses))
                self.poses.inc(len(image.poses))
            for pose in image.poses:
                for score in pose.keypoint_score:
                    self.keypoint_score.observe(float(score))
        self._observe_stages(answer.timing, waits)

    def _observe_stages(self, timing: Timing, waits: Mapping[str, float]) -> None:
        for stage in STAGES:
            if seconds := getattr(timing, stage):
                self.stage_duration.labels(stage).observe(seconds)
            if stage in waits:
                self.queue_wait.labels(stage).observe(waits[stage])

    def batch_done(self, stage: str, *, items: int, seconds: float) -> None:
        """A batch has left the device, well or not."""
        self.batch_items.labels(stage).observe(items)
        self.device_busy.labels(stage).inc(seconds)

    def item_dropped(self, stage: str, *, reason: str, items: int = 1) -> None:
        """Items will not be computed."""
        self.dropped_items.labels(stage, reason).inc(items)

    def batch_failed(self) -> None:
        """The device raised."""
        self.device_errors.labels("fault").inc()
