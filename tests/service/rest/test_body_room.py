"""A body is read only while there may be room for its images."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from distilpose.service.app import Service
from distilpose.service.errors import Overloaded
from distilpose.service.life import State
from distilpose.service.rest import body
from distilpose.service.rest.api import create_app
from distilpose.service.settings import Settings

JPEG = {"content-type": "image/jpeg"}


@dataclass
class Filling:
    """A pipeline that has room until so many pieces have been sent, and answers nothing."""

    full_after: int
    sent: int = field(default=0, init=False)
    refused_at: int | None = field(default=None, init=False)

    def expect_body(self, caller: str) -> None:
        self.refuse_if_full(caller)

    def refuse_if_full(self, _: str) -> None:
        if self.sent >= self.full_after:
            self.refused_at = self.sent
            raise Overloaded("full")

    async def estimate(self, _: Any) -> Any:
        raise Overloaded("full at the end")

    async def pieces(self) -> AsyncIterator[bytes]:
        for _ in range(10):
            self.sent += 1
            yield b"x" * 1000


async def refused(pipeline: Filling) -> str:
    """The detail of the refusal."""
    service = Service(Settings(), CollectorRegistry())
    service._pipeline = pipeline  # type: ignore[assignment]  # what comes after the body
    service.life.advance(State.READY)
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/v1/pose", content=pipeline.pieces(), headers=JPEG)
    await service.close()
    assert answer.status_code == 429
    detail: str = answer.json()["detail"]
    return detail


async def test_a_body_whose_images_cannot_fit_is_not_asked_for() -> None:
    pipeline = Filling(full_after=0)
    assert await refused(pipeline) == "full"
    assert pipeline.refused_at == 0


async def test_the_rest_of_a_body_is_not_kept_when_others_took_the_room() -> None:
    pipeline = Filling(full_after=3)
    assert await refused(pipeline) == "full"
    assert pipeline.refused_at == 3


async def test_a_body_that_takes_long_to_arrive_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body, "_WATCHED_SECONDS", 0.0)
    pipeline = Filling(full_after=3)
    assert await refused(pipeline) == "full at the end"
    assert pipeline.sent == 10
