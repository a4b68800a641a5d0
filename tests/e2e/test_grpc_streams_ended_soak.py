"""Ten thousand streams that end in each way but the orderly one leave nothing in the server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from grpc_callers import stream_stub
from leaving_callers import WAYS, abandoned
from servers import QUICK_START, Server
from soaking import assert_no_harm, descriptors, rss_mib, wait_until_idle

STREAMS = 10_000
AT_ONCE = 16
MEMORY_MIB = 6.0
"""Memory that the last nine thousand may add."""
TRIMMED_AFTER_SECONDS = 7
"""By then an idle server has given back what it freed."""

pytestmark = pytest.mark.soak


async def end_streams(ending: Callable[[Any], Awaitable[None]], target: Any, count: int) -> None:
    """Let as many streams end like this."""
    left = iter(range(count))

    async def callers() -> None:
        for _ in left:
            await ending(target)

    await asyncio.gather(*(callers() for _ in range(AT_ONCE)))


@pytest.fixture(scope="module")
def long_lived(start_server: Any) -> Server:
    """A server that lets streams live as long as this takes."""
    server: Server = start_server(GRPC__MAX_CONNECTION_AGE_SECONDS="3600", **QUICK_START)
    return server


@pytest.mark.parametrize("ending", [*WAYS, abandoned])
async def test_ten_thousand_streams_leave_nothing_behind(
    long_lived: Server, ending: Callable[[Any], Awaitable[None]]
) -> None:
    server = long_lived
    async with stream_stub(server.grpc_target) as stub:
        target = server.grpc_target if ending is abandoned else stub
        await end_streams(ending, target, STREAMS // 10)
        await asyncio.to_thread(wait_until_idle, server)
        await asyncio.sleep(TRIMMED_AFTER_SECONDS)
        held_mib, open_files = rss_mib(server), descriptors(server)
        await end_streams(ending, target, STREAMS - STREAMS // 10)
        await asyncio.to_thread(wait_until_idle, server)
        await asyncio.sleep(TRIMMED_AFTER_SECONDS)
        more_mib, more_files = rss_mib(server) - held_mib, descriptors(server) - open_files
    print(f"{ending.__name__}: {held_mib:.0f} MiB, {more_mib:+.1f}")  # noqa: T201 - figures
    assert more_mib <= MEMORY_MIB
    assert more_files == 0
    assert_no_harm(server)
