"""Requests whose JPEGs are decoded at reduced size: answers are those of the whole image.

A white spot is the person; detector and student find its position.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from distilpose.model import pictures
from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.geometry import crop_regions
from distilpose.model.letterbox import square
from distilpose.model.pictures.headers import ImageHeader
from distilpose.model.pictures.source import EncodedImage, Source
from distilpose.model.poses.pose import Pose
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.domain import ImageAnswer, Options, PoseRequest
from distilpose.service.errors import Draining
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Stage
from odd_images import Picture, encode, exif
from pipelines import means

SIZE_WH = (1301, 2603)
SPOT_XY_PX = (500.3, 1500.6)


def middle_of_light_xy(image: Picture) -> FloatArray:
    light = np.clip(image[..., 0].astype(np.float64) - 8, 0, None)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(x * light).sum(), (y * light).sum()] / light.sum(), np.float32)


def find_the_spot(items: Sequence[DetectItem], half_height: float) -> list[Detections]:
    half = np.array([half_height / 2, half_height], np.float32)
    found = []
    for item in items:
        # The grey of the border does not count as light.
        canvas = np.where(item.canvas == 114, 0, item.canvas).astype(np.uint8)
        middle = middle_of_light_xy(canvas) + np.float32(0.5)
        box = np.concatenate([middle - half, middle + half])[None]
        found.append(Detections(box, np.ones(1, np.float32)))
    return found


def point_at_the_spot(crops: Sequence[Picture]) -> list[PoseArrays]:
    crop_wh = np.array([192, 256], np.float32)
    ones = np.ones((17, 2), np.float32)
    return [
        PoseArrays(ones * middle_of_light_xy(crop) / crop_wh, ones[:, 0], ones) for crop in crops
    ]


def photo_of_the_spot(name: str = "jpeg", orientation: int = 1) -> bytes:
    """The spot in an image whose orientation makes it upright."""
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    distance_px = np.hypot(x - SPOT_XY_PX[0], y - SPOT_XY_PX[1])
    light = (255 * np.exp(-((distance_px / 60) ** 2) / 2)).astype(np.uint8)
    stored = light if orientation < 5 else light.T
    mirrored_y, mirrored_x = {
        1: (False, False),
        2: (False, True),
        3: (True, True),
        4: (True, False),
        5: (False, False),
        6: (True, False),
        7: (True, True),
        8: (False, True),
    }[orientation]
    stored = stored[:: -1 if mirrored_y else 1, :: -1 if mirrored_x else 1]
    rgb = np.ascontiguousarray(stored)[..., None].repeat(3, axis=2)
    return encode(rgb, name, exif=exif(orientation))


class Bench:
    def __init__(self) -> None:
        self.device = Device()
        self.registry = CollectorRegistry()
        self.factors: list[int] = []
        self.half_height = 60.0
        metrics = Metrics(self.registry)
        shared: dict[str, Any] = {
            "device": self.device,
            "queue_capacity": 100,
            "observer": metrics,
        }
        self.parts: dict[str, Any] = {
            "device": self.device,
            "detect": Batcher[DetectItem, Detections](
                lambda items: find_the_spot(items, self.half_height),
                stage=Stage.DETECT,
                buckets=(1,),
                **shared,
            ),
            "pose": Batcher[Picture, PoseArrays](
                point_at_the_spot, stage=Stage.POSE, buckets=(8,), **shared
            ),
            "metrics": metrics,
            "canvases": square(160),
            "max_pixels": 5_000_000,
        }

    async def ask(
        self,
        *contents: bytes,
        scaled_decode: bool = True,
        keep_pixels: bool = False,
        boxes: Sequence[Sequence[float]] | None = None,
        whole_image: bool = False,
    ) -> list[ImageAnswer]:
        given = None if boxes is None else [np.array(boxes, np.float32)]
        options = Options(
            min_box_score=0.25,
            max_people=50,
            min_keypoint_score=0.3,
            boxes=given,
            whole_image=whole_image,
        )
        request = PoseRequest(
            [EncodedImage(content) for content in contents],
            options,
            deadline=time.monotonic() + 30,
            keep_pixels=keep_pixels,
        )
        made = means(scaled_decode=scaled_decode, **self.parts)
        answer = await Pipeline(made).estimate(request)
        for pool in (made.decode.workers, made.cut):
            pool.close(Draining("the test is over"))
        if answer.memory:
            answer.memory.let_go()
        assert made.memory.room.used == made.decode.room.used == 0
        return list(answer.images)

    def decodes(self) -> dict[str, float | None]:
        name = "distilpose_decodes_total"
        return {
            size: self.registry.get_sample_value(name, {"size": size})
            for size in ("full", "scaled", "again")
        }


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    made = Bench()
    decode = pictures.decode

    def recording(source: Source, header: ImageHeader, *, factor: int = 1) -> ImageHWC:
        made.factors.append(factor)
        return decode(source, header, factor=factor)

    monkeypatch.setattr(pictures, "decode", recording)
    made.device.start()
    yield made
    await made.device.close(Draining("the test is over"))


def shift_crop_px(pose: Pose) -> float:
    """The largest distance of a keypoint from the spot."""
    [[width, _]] = crop_regions(pose.box_xyxy_px).sizes_wh_px
    return float(np.abs(pose.keypoints_xy_px - SPOT_XY_PX).max() / width * 192)


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_what_a_smaller_picture_shows_is_answered_in_the_whole_images_pixels(
    bench: Bench, orientation: int
) -> None:
    data = photo_of_the_spot(orientation=orientation)
    [image] = await bench.ask(data)
    assert bench.decodes() == {"full": 0, "scaled": 1, "again": 0}
    assert image.size_wh == SIZE_WH
    [pose] = image.poses
    assert shift_crop_px(pose) <= 0.1
    middle_xy_px = pose.box_xyxy_px.reshape(2, 2).mean(0)
    # A pixel of the detector's canvas is 16 of the image's.
    np.testing.assert_allclose(middle_xy_px, np.add(SPOT_XY_PX, 0.5), atol=2)


async def test_small_people_are_cut_from_the_whole_image(bench: Bench) -> None:
    bench.half_height = 8.0
    data = photo_of_the_spot()
    [image] = await bench.ask(data)
    assert bench.decodes() == {"full": 0, "scaled": 1, "again": 1}
    assert bench.factors == [8, 1]
    [again] = image.poses
    # The crop shows the spot in part, so that only what is cut from the same place agrees.
    boxes = [again.box_xyxy_px.tolist()]
    [[full]] = [each.poses for each in await bench.ask(data, boxes=boxes, scaled_decode=False)]
    np.testing.assert_array_equal(again.keypoints_xy_px, full.keypoints_xy_px)


async def test_those_who_decode_again_do_not_wait_for_each_other(bench: Bench) -> None:
    bench.half_height = 8.0
    data = photo_of_the_spot()
    images = await asyncio.wait_for(bench.ask(*[data] * 5), 30)
    assert [image.error for image in images] == [None] * 5
    assert bench.decodes() == {"full": 0, "scaled": 5, "again": 5}


async def test_without_the_setting_everything_is_decoded_in_full(bench: Bench) -> None:
    await bench.ask(photo_of_the_spot(), scaled_decode=False)
    assert bench.decodes() == {"full": 1, "scaled": 0, "again": 0}
    assert bench.factors == [1]


async def test_a_picture_that_will_be_drawn_on_is_decoded_in_full(bench: Bench) -> None:
    [image] = await bench.ask(photo_of_the_spot(), keep_pixels=True)
    assert image.image is not None
    assert image.image.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert bench.decodes() == {"full": 1, "scaled": 0, "again": 0}


async def test_other_formats_count_as_decoded_in_full(bench: Bench) -> None:
    await bench.ask(photo_of_the_spot("png"))
    assert bench.decodes() == {"full": 1, "scaled": 0, "again": 0}


@pytest.mark.parametrize(("box_height", "factor"), [(2000, 8), (900, 4), (450, 2), (200, 1)])
async def test_given_boxes_say_how_small_at_once(
    bench: Bench, box_height: int, factor: int
) -> None:
    x, y = SPOT_XY_PX
    box = [x - 90, max(0, y - box_height / 2), x + 90, y + box_height / 2]
    [image] = await bench.ask(photo_of_the_spot(), boxes=[box])
    assert bench.factors == [factor]
    kind = "full" if factor == 1 else "scaled"
    assert bench.decodes() == {"full": 0, "scaled": 0, "again": 0} | {kind: 1}
    assert image.poses[0].box_xyxy_px.tolist() == pytest.approx(box)


async def test_a_whole_image_is_a_given_box(bench: Bench) -> None:
    [image] = await bench.ask(photo_of_the_spot(), whole_image=True)
    assert bench.decodes() == {"full": 0, "scaled": 1, "again": 0}
    assert shift_crop_px(image.poses[0]) <= 0.1
