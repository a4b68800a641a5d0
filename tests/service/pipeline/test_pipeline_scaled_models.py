"""The packaged models on photos of 12 megapixels, decoded at reduced size and in full."""

import asyncio
import dataclasses
import io
import math
import time

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from distilpose.model.arrays import FloatArray
from distilpose.model.configs import CROP_WIDTH
from distilpose.model.geometry import crop_regions
from distilpose.model.pictures.source import EncodedImage
from distilpose.model.poses.pose import Pose
from distilpose.service.app import Service
from distilpose.service.domain import Options, PoseRequest
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.settings import BatchingSettings, Settings
from odd_images import encode
from photos import photo

pytestmark = pytest.mark.slow

PHOTOS = ("bus.jpg", "zidane.jpg")
OPTIONS = Options(min_box_score=0.25, max_people=50, min_keypoint_score=0.3)


def photo_of_12_megapixels(name: str) -> bytes:
    small = Image.open(io.BytesIO(photo(name)))
    scale = math.sqrt(12_000_000 / (small.width * small.height))
    size_wh = round(small.width * scale), round(small.height * scale)
    large = small.resize(size_wh, Image.Resampling.BICUBIC)
    return encode(large, "jpeg", quality=95, subsampling=0)


async def poses(pipeline: Pipeline, name: str) -> list[Pose]:
    request = PoseRequest(
        [EncodedImage(photo_of_12_megapixels(name))], OPTIONS, deadline=time.monotonic() + 60
    )
    [image] = (await pipeline.estimate(request)).images
    assert image.error is None
    return list(image.poses)


async def all_poses() -> list[tuple[list[Pose], list[Pose]]]:
    batching = BatchingSettings(scaled_decode=True, pose_max_batch=4)
    service = Service(Settings(batching=batching), CollectorRegistry())
    await service.start()
    scaled = service.pipeline
    full = Pipeline(dataclasses.replace(scaled.means, scaled_decode=False))
    try:
        pairs = [(await poses(full, name), await poses(scaled, name)) for name in PHOTOS]
        counted = service.metrics.registry.get_sample_value
        for size, decodes in {"full": 2, "scaled": 2, "again": 0}.items():
            assert counted("distilpose_decodes_total", {"size": size}) == decodes
    finally:
        await service.close()
    return pairs


@pytest.fixture(scope="module")
def answers() -> list[tuple[list[Pose], list[Pose]]]:
    """The poses of each photo, decoded in full and at reduced size."""
    return asyncio.run(all_poses())


def moved_crop_px(full: FloatArray, scaled: FloatArray, pose: Pose) -> FloatArray:
    """The shifts of a person's points (N, 2)."""
    [[width, _]] = crop_regions(pose.box_xyxy_px).sizes_wh_px
    moved_px = np.linalg.norm(full - scaled, axis=1)
    return np.asarray(moved_px / width * CROP_WIDTH, np.float32)


def test_the_same_people_are_found(answers: list[tuple[list[Pose], list[Pose]]]) -> None:
    assert [len(full) for full, _ in answers] == [4, 2]
    for full, scaled in answers:
        for one, other in zip(full, scaled, strict=True):
            assert one.box_score == pytest.approx(other.box_score, abs=0.02)
            corners = one.box_xyxy_px.reshape(2, 2), other.box_xyxy_px.reshape(2, 2)
            assert moved_crop_px(*corners, one).max() <= 2


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="one grey level of noise moves the packaged student further than is asked here",
)
def test_keypoints_stay_where_they_are(
    answers: list[tuple[list[Pose], list[Pose]]],
) -> None:
    moved = [
        moved_crop_px(one.keypoints_xy_px, other.keypoints_xy_px, one)
        for full, scaled in answers
        for one, other in zip(full, scaled, strict=True)
    ]
    assert np.median(moved) <= 0.1
    assert np.percentile(moved, 99) <= 0.5
