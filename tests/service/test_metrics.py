"""What is counted, and under which names."""

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from distilpose.model.predict import Pose
from distilpose.service.domain import ImageAnswer, PoseAnswer, Timing
from distilpose.service.errors import UndecodableImage
from distilpose.service.metrics import DROP_REASONS, Metrics


def made() -> tuple[Metrics, CollectorRegistry]:
    registry = CollectorRegistry()
    return Metrics(registry), registry


def test_known_labels_exist_from_the_start_at_zero() -> None:
    _, registry = made()
    for reason in DROP_REASONS:
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
    timing = Timing(decode=0.1, pose=0.2, queue=0.3, total=0.6)
    metrics.answered(PoseAnswer(images, timing), waits={"pose": 0.3})
    value = registry.get_sample_value
    assert value("distilpose_images_total", {"outcome": "answered"}) == 1
    assert value("distilpose_images_total", {"outcome": "undecodable-image"}) == 1
    assert value("distilpose_poses_total") == 2
    assert value("distilpose_people_per_image_count") == 1
    assert value("distilpose_keypoint_score_count") == 34
    assert value("distilpose_stage_duration_seconds_sum", {"stage": "pose"}) == 0.2
    assert value("distilpose_stage_duration_seconds_count", {"stage": "detect"}) == 0
    assert value("distilpose_queue_wait_seconds_sum", {"stage": "pose"}) == 0.3


def test_every_series_has_the_prefix_and_a_help_text() -> None:
    metrics, registry = made()
    for family in registry.collect():
        assert family.name.startswith("distilpose_")
        assert family.documentation
    assert b"distilpose_build_info{version=" in generate_latest(metrics.registry)
