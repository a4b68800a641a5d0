"""Row S5: calls and streams over pods that come and go, by a plain channel with `round_robin`.

Three servers on three loopback addresses and one port stand for the pods of a headless Service, and
a name server for the cluster's.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import numpy as np
import pytest

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import SOON, frame, opening, refusal
from odd_images import encode
from ports import free_port
from scaling.names import Names
from servers import Server
from soaking import samples

pytestmark = pytest.mark.slow

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
AGE_SECONDS = 5.0
LAST_SECONDS = 2.5
"""Of twice the age: what is answered then is counted."""
STREAMS, CALLERS = 12, 4
PAUSE_SECONDS = 0.1
TINY = encode(np.zeros((8, 8, 3), np.uint8), "png")
NOBODY = [pose_pb2.Boxes()]
CALL = pose_pb2.EstimatePoseRequest(
    images=[pose_pb2.Image(encoded=TINY)], options=pose_pb2.PoseOptions(boxes=NOBODY)
)
OPTIONS = [
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.dns_min_time_between_resolutions_ms", 200),
    *SOON,
]
CALLS = 'requests_total{code="OK",method="estimate_pose",transport="grpc"}'
FRAMES = 'stream_frames_total{mode="ordered",outcome="answered"}'


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


Shares = dict[str, list[float]]


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


def shares(pods: list[Server]) -> Shares:
    """Who answers at the end of twice the age from now."""
    time.sleep(2 * AGE_SECONDS - LAST_SECONDS)
    before = [samples(pod) for pod in pods]
    time.sleep(LAST_SECONDS)
    after = [samples(pod) for pod in pods]
    found = {}
    for name in (CALLS, FRAMES):
        served = [new[name] - old[name] for old, new in zip(before, after, strict=True)]
        found[name] = [each / sum(served) for each in served]
    return found


def lived(pods: list[Server], port: int) -> Story:
    """Two pods; a third one comes; one of them is killed."""
    story = Story()
    with Names(*HOSTS[:2]) as names:
        target = f"dns://127.0.0.1:{names.port}/distilpose-headless.vision:{port}"
        with grpc.insecure_channel(target, OPTIONS) as channel, Load(channel) as load:
            story.two = shares(pods[:2])
            names.addresses = HOSTS
            story.three = shares(pods)
            story.lost_calls_before = load.lost_calls
            pods[0].process.kill()
            names.addresses = HOSTS[1:]
            story.two_again = shares(pods[1:])
    story.answered, story.reopened = load.answered, load.reopened
    return story


@pytest.fixture(scope="module")
def story(start_server: Any) -> Story:
    port, http_port = free_port(), free_port()
    pods = [
        replace(
            start_server(
                wait=False,
                HTTP__HOST=host,
                HTTP__PORT=str(http_port),
                GRPC__PORT=str(port),
                GRPC__MAX_CONNECTION_AGE_SECONDS=str(AGE_SECONDS),
                GRPC__MAX_CONNECTION_AGE_GRACE_SECONDS="0.5",
            ),
            url=f"http://{host}:{http_port}",
        )
        for host in HOSTS
    ]
    for pod in pods:
        pod.wait_until_ready()
    return lived(pods, port)


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_s5_pods_share_calls_and_streams(story: Story, name: str) -> None:
    assert min(story.two[name]) > 0.2


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_s5_a_new_pod_serves_its_share_within_twice_the_age(story: Story, name: str) -> None:
    assert min(story.three[name]) > 0.2


@pytest.mark.parametrize("name", [CALLS, FRAMES])
def test_s5_the_others_take_over_from_a_killed_pod(story: Story, name: str) -> None:
    assert min(story.two_again[name]) > 0.2


def test_connections_that_grow_old_lose_no_call(story: Story) -> None:
    assert story.lost_calls_before == 0


def test_reopened_streams_lose_no_frame_and_answer_none_twice(story: Story) -> None:
    assert story.reopened > STREAMS
    for answered in story.answered:
        assert answered == list(range(1, len(answered) + 1))
        assert len(answered) > 6 * AGE_SECONDS / PAUSE_SECONDS / 4
