"""Calls and streams over pods that come and go, by a plain channel with `round_robin`.

Three servers on three loopback addresses and one port stand for the pods of a headless Service, and
a name server for the cluster's.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import SOON, frame, opening, refusal
from loopback_pods import (
    AGE_SECONDS,
    CALLERS,
    CALLS,
    FRAMES,
    HOSTS,
    LAST_SECONDS,
    PAUSE_SECONDS,
    STREAMS,
    TINY,
    Shares,
    shares,
    started,
)
from names import Names
from servers import Server

pytestmark = pytest.mark.slow

NOBODY = [pose_pb2.Boxes()]
CALL = pose_pb2.EstimatePoseRequest(
    images=[pose_pb2.Image(encoded=TINY)], options=pose_pb2.PoseOptions(boxes=NOBODY)
)
OPTIONS = [
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.dns_min_time_between_resolutions_ms", 200),
    *SOON,
]


class Load:
    """Callers and streams on one channel. Leaving the `with` ends them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.lost_calls = 0
        self.reopened = 0
        self.answered: list[list[int]] = [[] for _ in range(STREAMS)]
        """Frame ids, in the order of their answers."""
        self._stub: Any = PoseServiceStub(channel)
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(CALLERS + STREAMS)
        self._running: list[Future[None]] = []

    def __enter__(self) -> "Load":
        self._running = [self._pool.submit(self._call) for _ in range(CALLERS)]
        self._running += [self._pool.submit(self._stream, answered) for answered in self.answered]
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def _call(self) -> None:
        while not self._ending.is_set():
            try:
                self._stub.EstimatePose(CALL, timeout=10)
            except grpc.RpcError as err:
                _expect_unavailable(err)
                self.lost_calls += 1
            time.sleep(PAUSE_SECONDS / 4)

    def _stream(self, answered: list[int]) -> None:
        while not self._ending.is_set():
            try:
                for answer in self._stub.StreamPose(self._frames(len(answered) + 1)):
                    answered.append(answer.frame_id)  # noqa: PERF401 - what came before counts
            except grpc.RpcError as err:
                _expect_unavailable(err)
                self.reopened += 1

    def _frames(self, number: int) -> Iterator[pose_pb2.StreamPoseRequest]:
        yield opening(boxes=NOBODY)
        while not self._ending.is_set():
            yield frame(number, TINY)
            number += 1
            time.sleep(PAUSE_SECONDS)


def _expect_unavailable(error: grpc.RpcError) -> None:
    if refusal(error).code != "UNAVAILABLE":
        raise error


@dataclass
class Story:
    """Each pod's share of the calls and of the frames, by what they are called in the metrics."""

    two: Shares = field(default_factory=dict)
    three: Shares = field(default_factory=dict)
    two_again: Shares = field(default_factory=dict)
    lost_calls_before: int = 0
    """Before a pod was killed."""
    answered: list[list[int]] = field(default_factory=list)
    reopened: int = 0


def shares_at_last(pods: list[Server]) -> Shares:
    """The pods that answer at the end of twice the age from now."""
    time.sleep(2 * AGE_SECONDS - LAST_SECONDS)
    return shares(pods)


def lived(pods: list[Server], port: int) -> Story:
    """Two pods; a third one comes; one of them is killed."""
    story = Story()
    with Names(*HOSTS[:2]) as names:
        target = f"dns://127.0.0.1:{names.port}/distilpose-headless.vision:{port}"
        with grpc.insecure_channel(target, OPTIONS) as channel, Load(channel) as load:
            story.two = shares_at_last(pods[:2])
            names.addresses = HOSTS
            story.three = shares_at_last(pods)
            story.lost_calls_before = load.lost_calls
            pods[0].process.kill()
            names.addresses = HOSTS[1:]
            story.two_again = shares_at_last(pods[1:])
    story.answered, story.reopened = load.answered, load.reopened
    return story


@pytest.fixture(scope="module")
def story(start_server: Any) -> Story:
    return lived(*started(start_server))


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_pods_share_calls_and_streams(story: Story, name: str) -> None:
    assert min(story.two[name]) > 0.2


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_a_new_pod_serves_its_share_within_twice_the_age(story: Story, name: str) -> None:
    assert min(story.three[name]) > 0.2


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_the_others_take_over_from_a_killed_pod(story: Story, name: str) -> None:
    assert min(story.two_again[name]) > 0.2


def test_connections_that_grow_old_lose_no_call(story: Story) -> None:
    assert story.lost_calls_before == 0


def test_reopened_streams_lose_no_frame_and_answer_none_twice(story: Story) -> None:
    assert story.reopened > STREAMS
    for answered in story.answered:
        assert answered == list(range(1, len(answered) + 1))
        assert len(answered) > 6 * AGE_SECONDS / PAUSE_SECONDS / 4
