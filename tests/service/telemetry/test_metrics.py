"""The metrics' names, labels and counts."""

import asyncio
import math
from dataclasses import dataclass

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from distilpose.model.poses.pose import Pose
from distilpose.service.domain import ImageAnswer, PoseAnswer
from distilpose.service.errors import DeadlineExceeded, Overloaded, UndecodableImage
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Blame, DropReason, Pool, Stage


def made() -> tuple[Metrics, CollectorRegistry]:
    registry = CollectorRegistry()
    return Metrics(registry), registry


PROMISED = {
    "requests_total": {"transport", "method", "code", "blame"},
    "request_duration_seconds": {"transport", "method"},
    "requests_in_flight": {"transport"},
    "memory_held_bytes": {"part"},
    "memory_limit_bytes": set(),
    "refusals_total": {"reason"},
    "connections": set(),
    "connections_refused_total": {"reason"},
    "answers_dropped_total": {"transport"},
    "images_total": {"outcome"},
    "decodes_total": {"size"},
    "poses_total": set(),
    "stage_duration_seconds": {"stage"},
    "queue_wait_seconds": {"stage"},
    "queue_items": {"stage"},
    "queue_capacity": {"stage"},
    "queue_oldest_seconds": {"stage"},
    "batch_items": {"stage"},
    "padding_items_total": {"stage"},
    "dropped_items_total": {"stage", "reason"},
    "device_busy_seconds_total": {"stage"},
    "pool_busy_seconds_total": {"pool"},
    "pool_workers": {"pool"},
    "stalled": set(),
    "device_memory_bytes": {"kind"},
    "device_errors_total": {"kind"},
    "streams_active": set(),
    "stream_frames_total": {"mode", "outcome"},
    "stream_frame_age_seconds": {"mode"},
    "keypoint_score": set(),
    "people_per_image": set(),
    "log_lines_dropped_total": set(),
    "ready": set(),
    "build_info": {"version"},
    "model_info": {"name", "version", "device", "dtype", "detector_dtype", "engine", "digest"},
}
BOUNDARIES = {
    "request_duration_seconds": ".005 .01 .02 .035 .05 .075 .1 .15 .25 .5 1 2.5 5 10",
    "stage_duration_seconds": ".0005 .001 .002 .004 .008 .016 .032 .064 .128 .256 .512 1",
    "queue_wait_seconds": ".0005 .001 .0025 .005 .01 .025 .05 .1 .25 .5 1 2.5",
    "batch_items": "1 2 4 8 16 32 64 128 256",
    "people_per_image": "0 1 2 3 5 8 13 21 34 50",
    "stream_frame_age_seconds": ".01 .02 .035 .05 .075 .1 .15 .25 .5 1 2.5 5",
}


def everything() -> CollectorRegistry:
    """The metrics of a service in operation."""
    metrics, registry = made()
    metrics.expect("rest", "estimate_pose", endings=[("200", Blame.NONE)])
    metrics.model_info.info(dict.fromkeys(PROMISED["model_info"], "x"))
    return registry


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_metric_has_its_labels_from_the_start(name: str) -> None:
    samples = [s for family in everything().collect() for s in family.samples]
    endings = {f"distilpose_{name}", f"distilpose_{name}_bucket"}
    found = [set(sample.labels) - {"le"} for sample in samples if sample.name in endings]
    assert found
    assert all(labels == PROMISED[name] for labels in found)


def test_no_metric_is_there_that_was_not_promised() -> None:
    plain = {name.removesuffix("_total").removesuffix("_info") for name in PROMISED}
    names = {family.name.removeprefix("distilpose_") for family in everything().collect()}
    assert names == plain


@pytest.mark.parametrize("name", BOUNDARIES)
def test_boundaries_are_where_decisions_are(name: str) -> None:
    [family] = [f for f in everything().collect() if f.name == f"distilpose_{name}"]
    found = dict.fromkeys(s.labels["le"] for s in family.samples if s.name.endswith("_bucket"))
    assert [float(edge) for edge in found] == [*map(float, BOUNDARIES[name].split()), math.inf]


def test_sizes_of_batches_that_the_settings_name_are_boundaries() -> None:
    registry = CollectorRegistry()
    Metrics(registry, buckets={12, 4})
    labels = {"stage": "pose", "le": "12.0"}
    assert registry.get_sample_value("distilpose_batch_items_bucket", labels) == 0


def test_expected_requests_are_counted_from_zero() -> None:
    metrics, registry = made()
    metrics.expect("rest", "get_model", endings=[("200", Blame.NONE), ("401", Blame.CALLER)])
    metrics.expect("grpc", "stream_pose", endings=[("OK", Blame.NONE)])
    value = registry.get_sample_value
    model = {"transport": "rest", "method": "get_model"}
    stream = {"transport": "grpc", "method": "stream_pose"}
    assert value("distilpose_requests_total", {**model, "code": "401", "blame": "caller"}) == 0
    assert value("distilpose_request_duration_seconds_count", model) == 0
    assert value("distilpose_requests_total", {**stream, "code": "OK", "blame": "none"}) == 0
    assert value("distilpose_request_duration_seconds_count", stream) is None


def test_the_devices_memory_is_read_at_each_scrape() -> None:
    metrics, registry = made()
    held = {"allocated": 5}
    metrics.watch_memory(lambda: held)
    held["allocated"] = 7
    value = registry.get_sample_value
    assert value("distilpose_device_memory_bytes", {"kind": "allocated"}) == 7
    assert value("distilpose_device_memory_bytes", {"kind": "cached"}) == 0


def test_known_labels_exist_from_the_start_at_zero() -> None:
    _, registry = made()
    for reason in set(DropReason) - {DropReason.REPLACED}:
        labels = {"stage": "pose", "reason": reason}
        assert registry.get_sample_value("distilpose_dropped_items_total", labels) == 0


def test_an_answer_is_counted_by_image_person_and_keypoint() -> None:
    metrics, registry = made()
    points = np.zeros((17, 2), np.float32)
    half = np.full(17, 0.5, np.float32)
    pose = Pose(np.zeros(4, np.float32), 1.0, points, half, half, points)
    images = [
        ImageAnswer(None, (1, 1), [pose, pose]),
        ImageAnswer(None, error=UndecodableImage("")),
    ]
    metrics.answered(PoseAnswer(images))
    value = registry.get_sample_value
    assert value("distilpose_images_total", {"outcome": "answered"}) == 1
    assert value("distilpose_images_total", {"outcome": "undecodable-image"}) == 1
    assert value("distilpose_poses_total") == 2
    assert value("distilpose_people_per_image_count") == 1
    assert value("distilpose_keypoint_score_count") == 34


def test_a_requests_work_and_waits_are_observed_by_stage() -> None:
    metrics, registry = made()
    metrics.stages_passed({Stage.DECODE: 0.1, Stage.POSE: 0.2}, {Stage.POSE: 0.3})
    value = registry.get_sample_value
    assert value("distilpose_stage_duration_seconds_sum", {"stage": "pose"}) == 0.2
    assert value("distilpose_stage_duration_seconds_count", {"stage": "detect"}) == 0
    assert value("distilpose_queue_wait_seconds_sum", {"stage": "pose"}) == 0.3


def test_every_series_has_the_prefix_and_a_help_text() -> None:
    metrics, registry = made()
    families = list(registry.collect())
    assert families
    for family in families:
        assert family.name.startswith("distilpose_")
        assert family.documentation
    assert b"distilpose_build_info{version=" in generate_latest(metrics.registry)


def test_a_request_is_counted_by_transport_and_a_stream_has_no_duration() -> None:
    metrics, registry = made()
    metrics.request_done("rest", method="estimate_pose", code="200", blame=Blame.NONE, seconds=0.5)
    metrics.request_done("grpc", method="stream_pose", code="OK", blame=Blame.NONE, seconds=None)
    value = registry.get_sample_value
    rest = {"transport": "rest", "method": "estimate_pose"}
    stream = {"transport": "grpc", "method": "stream_pose"}
    assert value("distilpose_requests_total", {**rest, "code": "200", "blame": "none"}) == 1
    assert value("distilpose_requests_total", {**stream, "code": "OK", "blame": "none"}) == 1
    assert value("distilpose_request_duration_seconds_sum", rest) == 0.5
    assert value("distilpose_request_duration_seconds_sum", stream) is None


@pytest.mark.parametrize(
    ("blame", "observed"),
    [(Blame.NONE, 1), (Blame.SERVICE, 1), (Blame.CALLER, 0), (Blame.REFUSED, 0)],
)
def test_only_answers_and_failures_of_the_service_tell_how_long_requests_take(
    blame: Blame, observed: int
) -> None:
    metrics, registry = made()
    metrics.request_done("rest", method="estimate_pose", code="504", blame=blame, seconds=0.5)
    labels = {"transport": "rest", "method": "estimate_pose"}
    value = registry.get_sample_value
    ended = {**labels, "code": "504", "blame": blame}
    assert value("distilpose_requests_total", ended) == 1
    assert (value("distilpose_request_duration_seconds_count", labels) or 0) == observed


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (DeadlineExceeded("late"), "deadline-exceeded"),
        (Overloaded("full"), "overloaded"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_the_images_of_a_request_that_fails_as_a_whole_are_counted(
    failure: BaseException, outcome: str
) -> None:
    metrics, registry = made()
    value = registry.get_sample_value
    assert value("distilpose_images_total", {"outcome": outcome}) == 0
    with pytest.raises(type(failure)), metrics.whole_failures(3):
        raise failure
    assert value("distilpose_images_total", {"outcome": outcome}) == 3


def test_work_without_a_failure_is_not_counted_as_one() -> None:
    metrics, registry = made()
    with metrics.whole_failures(3):
        pass
    counted = [s.value for f in registry.collect() for s in f.samples if "images_total" in s.name]
    assert sum(counted) == 0


@dataclass
class Queue:
    """A queue as its gauges see it."""

    stage: Stage
    capacity: int
    queued: int = 0
    oldest_queued_seconds: float = 0.0


@pytest.mark.parametrize("stage", Stage)
def test_a_queues_gauges_are_read_at_each_scrape(stage: Stage) -> None:
    metrics, registry = made()
    queue = Queue(stage, 40)

    def shown() -> list[float | None]:
        names = ("items", "capacity", "oldest_seconds")
        labels: dict[str, str] = {"stage": stage}
        return [registry.get_sample_value(f"distilpose_queue_{n}", labels) for n in names]

    assert shown() == [0, 0, 0]
    metrics.watch(queue)
    assert shown() == [0, 40, 0]
    queue.queued, queue.capacity, queue.oldest_queued_seconds = 3, 25, 0.5
    assert shown() == [3, 25, 0.5]


@pytest.mark.parametrize("pool", Pool)
def test_a_pools_work_and_workers_are_counted_from_zero(pool: Pool) -> None:
    metrics, registry = made()

    def shown() -> list[float | None]:
        names = ("distilpose_pool_busy_seconds_total", "distilpose_pool_workers")
        return [registry.get_sample_value(name, {"pool": pool}) for name in names]

    assert shown() == [0, 0]
    metrics.watch_pool(pool, 2)
    metrics.work_done(pool, seconds=0.5)
    metrics.work_done(pool, seconds=0.25)
    assert shown() == [0.75, 2]


def test_both_networks_keep_the_device_busy() -> None:
    metrics, registry = made()
    for stage in (Stage.DETECT, Stage.POSE):
        metrics.batch_done(stage, items=1, padding=0, seconds=0.5)
    value = registry.get_sample_value
    assert value("distilpose_device_busy_seconds_total", {"stage": "pose"}) == 0.5
    assert value("distilpose_pool_busy_seconds_total", {"pool": "device"}) == 1


@pytest.mark.parametrize("pool", [Pool.DECODE, Pool.CUT, Pool.DRAW])
def test_work_that_a_pool_drops_is_counted_from_zero(pool: Pool) -> None:
    metrics, registry = made()
    labels = {"stage": pool, "reason": "deadline"}
    name = "distilpose_dropped_items_total"
    assert registry.get_sample_value(name, labels) == 0
    metrics.work_dropped(pool, reason=DropReason.DEADLINE)
    assert registry.get_sample_value(name, labels) == 1


def test_a_stall_is_read_at_each_scrape() -> None:
    metrics, registry = made()
    stalled = False
    assert registry.get_sample_value("distilpose_stalled") == 0
    metrics.watch_stalled(lambda: stalled)
    assert registry.get_sample_value("distilpose_stalled") == 0
    stalled = True
    assert registry.get_sample_value("distilpose_stalled") == 1


def test_frames_are_counted_by_what_became_of_them() -> None:
    metrics, registry = made()
    metrics.frame_done("ordered", answered=True, age_seconds=0.5)
    value = registry.get_sample_value
    for outcome, count in (("answered", 1), ("failed", 0)):
        labels = {"mode": "ordered", "outcome": outcome}
        assert value("distilpose_stream_frames_total", labels) == count
    for mode, seconds in (("ordered", 0.5), ("latest", 0)):
        assert value("distilpose_stream_frame_age_seconds_sum", {"mode": mode}) == seconds


def test_replaced_frames_are_counted_from_zero() -> None:
    metrics, registry = made()
    value = registry.get_sample_value
    frames = ("distilpose_stream_frames_total", {"mode": "latest", "outcome": "replaced"})
    items = ("distilpose_dropped_items_total", {"stage": "decode", "reason": "replaced"})
    assert (value(*frames), value(*items)) == (0, 0)
    metrics.frame_replaced("latest")
    assert (value(*frames), value(*items)) == (1, 1)


def test_lost_log_lines_are_read_from_the_log() -> None:
    @dataclass
    class Log:
        dropped_lines: int = 3

    metrics, registry = made()
    assert registry.get_sample_value("distilpose_log_lines_dropped_total") == 0
    metrics.watch_log(Log())
    assert registry.get_sample_value("distilpose_log_lines_dropped_total") == 3
