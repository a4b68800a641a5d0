"""Drawn answers: their memory, and their deadline."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from distilpose.model.drawing import skeletons
from distilpose.service.app import Service
from distilpose.service.batching.room import Lease
from distilpose.service.domain import ImageAnswer, PoseAnswer, PoseRequest
from distilpose.service.errors import UndecodableImage
from distilpose.service.life import State
from distilpose.service.rest.api import create_app
from distilpose.service.settings import Settings

PNG = {"content-type": "image/jpeg", "accept": "image/png"}
BYTES = 1000


@dataclass
class Keeping:
    """A pipeline that keeps the pixels of one image, and memory for them."""

    service: Service
    fails: bool = False

    def expect_body(self, _: str) -> None:
        """Has always room."""

    def refuse_if_full(self, _: str) -> None:
        """Has always room."""

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        assert request.keep_pixels
        memory = Lease(self.service.memory.room.take(BYTES))
        if self.fails:
            image = ImageAnswer(None, error=UndecodableImage("broken"))
        else:
            image = ImageAnswer(None, (40, 30), [], image=np.zeros((30, 40, 3), np.uint8))
        return PoseAnswer([image], memory=memory)


@pytest.fixture
async def keeping() -> AsyncIterator[Keeping]:
    service = Service(Settings(), CollectorRegistry())
    made = Keeping(service)
    service._pipeline = made  # type: ignore[assignment]  # what comes before the drawing
    service.life.advance(State.READY)
    yield made
    await service.close()


async def draw(keeping: Keeping, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(keeping.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post("/v1/pose", content=b"x", headers=PNG | headers)


async def test_memory_is_returned_once_the_drawing_is_written(keeping: Keeping) -> None:
    answer = await draw(keeping)
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")
    assert keeping.service.memory.room.used == 0


async def test_memory_is_returned_where_there_is_nothing_to_draw(keeping: Keeping) -> None:
    keeping.fails = True
    assert (await draw(keeping)).status_code == 422
    assert keeping.service.memory.room.used == 0


async def test_a_drawing_that_is_late_is_504_and_holds_its_memory_until_its_thread_ends(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_poses = skeletons.draw_poses

    def slowly(*given: object, **options: object) -> object:
        time.sleep(0.6)
        return draw_poses(*given, **options)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(skeletons, "draw_poses", slowly)
    began = time.monotonic()
    answer = await draw(keeping, **{"x-request-timeout-ms": "200"})
    assert answer.status_code == 504
    assert "while the answer was drawn" in answer.json()["detail"]
    assert time.monotonic() - began < 0.5
    assert keeping.service.memory.room.used == BYTES
    await asyncio.sleep(0.7)
    assert keeping.service.memory.room.used == 0
