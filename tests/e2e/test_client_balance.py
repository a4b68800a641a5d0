"""Our own client over pods that come and go: one leaves, a new one comes, callers notice nothing.

Servers and names are those of `test_streams_balance.py`; the client needs none of the settings that
a plain channel needs there.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from distilpose.client import AsyncClient, PoseError
from loopback_pods import (
    AGE_SECONDS,
    CALLERS,
    CALLS,
    FRAMES,
    HOSTS,
    PAUSE_SECONDS,
    STREAMS,
    TINY,
    Shares,
    shares,
    started,
)
from names import Names
from servers import Server
from soaking import samples

pytestmark = pytest.mark.slow

NOBODY = np.empty((0, 4), np.float32)
SHARE = 0.2
NAMES_ASKED_EVERY_SECONDS = 30
"""At most, by gRPC: more than this test's age, and far less than the 300 s that is the default."""
ENDED = 'requests_total{blame="refused",code="UNAVAILABLE",method="stream_pose",transport="grpc"}'
"""Streams that a server has ended and the client has gone on with."""


class Load:
    """Callers and streams of one client. Leaving the `async with` ends them."""

    def __init__(self, client: AsyncClient) -> None:
        self.calls = 0
        self.errors: list[PoseError] = []
        """Of calls and frames."""
        self.sent = [0] * STREAMS
        self.answered: list[list[int]] = [[] for _ in range(STREAMS)]
        """Frame ids, in the order of their answers."""
        self._client = client
        self._ending = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> "Load":
        await self._tasks.__aenter__()
        for _ in range(CALLERS):
            self._tasks.create_task(self._call())
        for number in range(STREAMS):
            self._tasks.create_task(self._stream(number))
        return self

    async def __aexit__(self, *raised: Any) -> None:
        self._ending.set()
        await self._tasks.__aexit__(*raised)

    async def _call(self) -> None:
        while not self._ending.is_set():
            try:
                await self._client.estimate(TINY, boxes_xyxy_px=NOBODY)
            except PoseError as err:
                self.errors.append(err)
            self.calls += 1
            await asyncio.sleep(PAUSE_SECONDS / 4)

    async def _stream(self, number: int) -> None:
        async for answer in self._client.stream(self._frames(number), boxes_xyxy_px=NOBODY):
            self.answered[number].append(answer.frame_id)
            if answer.error:
                self.errors.append(answer.error)

    async def _frames(self, number: int) -> AsyncIterator[bytes]:
        while not self._ending.is_set():
            self.sent[number] += 1
            yield TINY
            await asyncio.sleep(PAUSE_SECONDS)


@dataclass
class Story:
    """Each pod's share of the calls and of the frames, and what the callers saw."""

    before: Shares
    after: Shares
    """Time at which one of the two pods has left and a third one has come."""
    exit_code: int
    """Of the one that left."""
    ended_streams: float
    load: Load


async def lived(pods: list[Server], port: int) -> Story:
    """Two pods; a third one comes, and the first one leaves as in an upgrade."""
    leaving, *staying = pods
    with Names(*HOSTS[:2]) as names:
        address = f"dns://127.0.0.1:{names.port}/distilpose-headless.vision:{port}"
        async with AsyncClient(address) as client, Load(client) as load:
            before = await shared(pods[:2], within_seconds=2 * AGE_SECONDS)
            names.addresses = HOSTS[1:]
            exit_code = await asyncio.to_thread(leaving.stop)
            limit_seconds = NAMES_ASKED_EVERY_SECONDS + 2 * AGE_SECONDS
            after = await shared(staying, within_seconds=limit_seconds)
    ended = sum(samples(pod)[ENDED] for pod in staying)
    return Story(before, after, exit_code, ended, load)


async def shared(pods: Sequence[Server], *, within_seconds: float) -> Shares:
    """The pods that answer, as soon as each does its part, or when time is over."""
    limit = time.monotonic() + within_seconds
    while True:
        found = await asyncio.to_thread(shares, pods)
        least = min(min(each) for each in found.values())
        if least > SHARE or time.monotonic() > limit:
            return found


@pytest.fixture(scope="module")
def story(start_server: Any) -> Story:
    return asyncio.run(lived(*started(start_server)))


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_the_client_goes_round_all_addresses_of_a_name(story: Story, name: str) -> None:
    assert min(story.before[name]) > SHARE


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_a_new_pod_gets_its_share_without_the_client_being_reconfigured(
    story: Story, name: str
) -> None:
    assert min(story.after[name]) > SHARE


def test_a_pod_that_leaves_ends_well_under_load(story: Story) -> None:
    assert story.exit_code == 0


def test_no_call_is_lost(story: Story) -> None:
    assert story.load.calls > 100
    assert story.load.errors == []


def test_streams_lose_no_frame_and_answer_none_twice(story: Story) -> None:
    assert story.ended_streams > STREAMS
    for sent, answered in zip(story.load.sent, story.load.answered, strict=True):
        assert answered == list(range(sent))
        assert sent > 100
