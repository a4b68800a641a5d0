"""Two hundred callers that misbehave beside ten good ones, for two minutes."""

import asyncio
import io
import json
import subprocess
import time
from typing import Any

import pytest
from PIL import Image

import bad_callers
from photos import photo
from polite_callers import ONE_PERSON, PoliteCaller
from servers import Server
from soaking import (
    FAST,
    address,
    ask,
    assert_no_harm,
    descriptors,
    rss_mib,
    start_callers,
    variants,
    wait_until_idle,
)

SECONDS = 120
FIRST_WAVE_SECONDS = 40
BAD_CALLERS = 200
GOOD_CALLERS = 10
DEADLINE_SECONDS = 10.0
MEMORY_MIB = 100.0
"""More than after a first wave, which need not have met the worst moment. What the allocator keeps
of that it uses again: three waves of 45 s were seen to hold 840, 842 and 846 MiB."""

pytestmark = pytest.mark.soak


def start_bad_callers(server: Server, seconds: float) -> "subprocess.Popen[str]":
    """Start them; they have begun when this returns."""
    host, port = address(server)
    arguments = [host, port, server.grpc_target, BAD_CALLERS, seconds]
    return start_callers(bad_callers.__file__, *arguments)


async def test_good_callers_are_answered_beside_two_hundred_that_misbehave(
    start_server: Any,
) -> None:
    server: Server = start_server(**FAST)
    photos = variants(Image.open(io.BytesIO(photo("bus.jpg"))), 8, longest_px=600)
    solo = [await ask(server, each, ONE_PERSON) for each in photos]
    assert sum(len(answer.poses) for answer in solo) == 8
    with start_bad_callers(server, FIRST_WAVE_SECONDS) as first:
        await asyncio.to_thread(first.communicate)
    wait_until_idle(server)
    held_mib, open_before = rss_mib(server), descriptors(server)
    good = [PoliteCaller(server, photos, solo) for _ in range(GOOD_CALLERS)]
    with start_bad_callers(server, SECONDS) as bad:
        try:
            await asyncio.gather(*(each.ask_until(time.monotonic() + SECONDS) for each in good))
            output, _ = await asyncio.to_thread(bad.communicate)
        finally:
            bad.kill()
    done = json.loads(output)
    wait_until_idle(server)
    seconds = sorted(second for each in good for second in each.seconds)
    print(  # noqa: T201 - figures for whoever runs it
        f"{len(seconds)} good answers, p50 {seconds[len(seconds) // 2]:.2f} s, longest "
        f"{seconds[-1]:.2f} s, refused {sum(each.refusals for each in good)} times; "
        f"{held_mib:.0f} -> {rss_mib(server):.0f} MiB; {done}"
    )
    assert seconds[-1] <= DEADLINE_SECONDS
    assert set(done) == {kind.__name__ for kind in bad_callers.KINDS}
    assert_no_harm(server)
    assert descriptors(server) <= open_before + 2
    assert rss_mib(server) <= held_mib + MEMORY_MIB
