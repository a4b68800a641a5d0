"""Many callers get as much as a few from a decoder that is the bottleneck, and none is late."""

import asyncio
import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from photos import photo
from servers import Server
from soaking import ask, busy_gauges, samples, wait_until_idle

SECONDS = 20.0
RAMP_SECONDS = 5.0
"""In the first seconds all callers send at once, and nothing is decoded yet."""
CALLERS = (4, 16, 150)
LEAST_SHARE = 0.95
SETTINGS = {"TEST_RUN_FIRST": str(Path(__file__).parent / "first" / "answer_at_once.py")}

pytestmark = pytest.mark.soak


def large_photo() -> bytes:
    """A JPEG of 12 megapixels."""
    written = io.BytesIO()
    Image.open(io.BytesIO(photo("bus.jpg"))).resize((3000, 4000)).save(written, "JPEG", quality=90)
    return written.getvalue()


async def caller(server: Server, body: bytes, begins: float, statuses: Counter[int]) -> None:
    """Ask again and again, and come back when told to; count from `begins` on."""
    ends = begins + SECONDS
    while time.monotonic() < ends:
        answer = await ask(server, body)
        if begins <= time.monotonic() < ends:
            statuses[answer.status] += 1
        if answer.status == 429:
            await asyncio.sleep(float(answer.headers["retry-after"]))


async def photos_per_second(server: Server, body: bytes, callers: int) -> float:
    statuses: Counter[int] = Counter()
    begins = time.monotonic() + RAMP_SECONDS
    await asyncio.gather(*(caller(server, body, begins, statuses) for _ in range(callers)))
    print(f"{callers} callers: {dict(statuses)}")  # noqa: T201 - figures for whoever runs it
    assert set(statuses) <= {200, 429}, statuses
    wait_until_idle(server)
    return statuses[200] / SECONDS


async def test_150_callers_get_as_many_photos_a_second_as_any_fewer(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    server: Server = start_server()
    body = large_photo()
    await photos_per_second(server, body, 2)
    pace = {callers: await photos_per_second(server, body, callers) for callers in CALLERS}
    print({callers: round(each, 2) for callers, each in pace.items()})  # noqa: T201 - the same
    assert pace[150] >= LEAST_SHARE * max(pace.values())
    assert not busy_gauges(server)
    late = samples(server)['dropped_items_total{reason="deadline",stage="decode"}']
    assert late == 0
