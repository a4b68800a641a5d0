"""The client and real servers: the same numbers over every transport, sizes, lost servers."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from distilpose.client import Backoff, Client, Frame, FrameAnswer, TooLarge
from distilpose.client.pictures import Encoded
from distilpose.client.rpc.wire import to_image
from distilpose.v1 import pose_pb2
from odd_images import read
from photos import photo
from servers import Server, running_servers

pytestmark = pytest.mark.slow

LIMIT_BYTES = 1_000_000
FRAMES = 36
StartServers = Callable[[int], list[Server]]


@pytest.fixture(scope="module")
def start_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServers]:
    with running_servers(tmp_path_factory.mktemp("servers")) as start_server:

        def begin(count: int) -> list[Server]:
            limit = {"GRPC__MAX_MESSAGE_BYTES": str(LIMIT_BYTES)}
            new = [start_server(wait=False, **limit) for _ in range(count)]
            for server in new:
                server.wait_until_ready()
            return new

        yield begin


@pytest.fixture(scope="module")
def server(start_servers: StartServers) -> Server:
    return start_servers(1)[0]


def target(*servers: Server) -> str:
    return "ipv4:" + ",".join(server.grpc_target for server in servers)


def test_rest_and_grpc_answer_the_same_for_files_and_pixels(server: Server) -> None:
    data = photo("bus.jpg")
    small = read(data)[::2, ::2]
    for picture in (data, small):
        with Client(target(server)) as by_grpc, Client(server.url) as by_rest:
            one, other = by_grpc.estimate(picture), by_rest.estimate(picture)
        assert (one.width, one.height) == (other.width, other.height)
        assert len(one.poses) == len(other.poses) >= 3
        for pose, same in zip(one.poses, other.poses, strict=True):
            np.testing.assert_allclose(pose.keypoints_xy_px, same.keypoints_xy_px, atol=0.03)
            np.testing.assert_allclose(pose.sigma_px, same.sigma_px, atol=0.03)
            np.testing.assert_allclose(pose.keypoint_score, same.keypoint_score, atol=1e-3)
    with Client(target(server)) as by_grpc, Client(server.url) as by_rest:
        assert by_grpc.model() == by_rest.model()


def message_of(size_bytes: int) -> bytes:
    """A picture whose request has that size; bytes after a JPEG's end are ignored."""
    data = photo("bus.jpg")

    def request(picture: bytes) -> int:
        images = [to_image(Encoded(picture))]
        whole = pose_pb2.EstimatePoseRequest(images=images, options=pose_pb2.PoseOptions())
        return whole.ByteSize()

    picture = data + bytes(size_bytes - len(data) - 20)
    return picture + bytes(size_bytes - request(picture))


async def never_again(_: float) -> NoReturn:
    raise AssertionError("asked again")


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (LIMIT_BYTES + 1, f"has {LIMIT_BYTES + 1} bytes, the limit is {LIMIT_BYTES}"),
        (2 * LIMIT_BYTES, "larger than max"),
    ],
)
def test_a_message_over_the_limit_is_refused_and_not_sent_again(
    server: Server, size_bytes: int, words: str
) -> None:
    once = Backoff(sleep=never_again)
    with Client(target(server), backoff=once) as client, pytest.raises(TooLarge, match=words):
        client.estimate(message_of(size_bytes))


def test_a_message_below_the_limit_is_answered(server: Server) -> None:
    with Client(target(server)) as client:
        assert client.estimate(message_of(LIMIT_BYTES - 1)).poses


def streamed_while(servers: list[Server], meanwhile: Callable[[Server], None]) -> list[FrameAnswer]:
    """The answers to `FRAMES` frames; `meanwhile` runs while a window of them is in flight."""
    began = threading.Event()
    picture = photo("zidane.jpg")

    def frames() -> Iterator[Frame]:
        for number in range(FRAMES):
            if number == FRAMES // 3:
                began.wait(60)
            yield Frame(picture, 40.0 * number)

    answers = []
    with Client(target(*servers), timeout_seconds=60) as client:
        for answer in client.stream(frames(), whole_image=True, track=True):
            answers.append(answer)
            if len(answers) == 5:
                meanwhile(serving(servers))
                began.set()
    return answers


def serving(servers: list[Server]) -> Server:
    """The server on which a stream is open."""
    for server in servers:
        with server.client() as client:
            if "distilpose_streams_active 1.0" in client.get("/metrics").text:
                return server
    raise AssertionError("no server has a stream")


def test_a_killed_server_loses_and_doubles_no_frame(start_servers: StartServers) -> None:
    servers = start_servers(2)
    answers = streamed_while(servers, lambda server: server.process.kill())
    assert [answer.frame_id for answer in answers] == list(range(FRAMES))
    assert all(answer.error is None and len(answer.poses) == 1 for answer in answers)
    assert sum(server.process.poll() == -signal.SIGKILL for server in servers) == 1
    # The other server does not know the people, so nobody there has a number that was seen before.
    numbers = [answer.poses[0].track_id or 0 for answer in answers]
    assert sorted(numbers) == numbers
    assert set(numbers) == {1, 2}


def test_a_draining_server_loses_and_doubles_no_frame(start_servers: StartServers) -> None:
    servers = start_servers(2)
    answers = streamed_while(servers, lambda server: server.process.send_signal(signal.SIGTERM))
    assert [answer.frame_id for answer in answers] == list(range(FRAMES))
    assert all(answer.error is None and len(answer.poses) == 1 for answer in answers)
    limit = time.monotonic() + 60
    while not any(server.process.poll() == 0 for server in servers):
        assert time.monotonic() < limit, "the drained server has not ended well"
        time.sleep(0.1)


def test_a_stream_of_a_folder_of_frames(server: Server, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(photo("zidane.jpg"))
    with Client(target(server)) as client:
        answers = list(client.stream(sorted(tmp_path.iterdir())))
    assert [len(answer.poses) for answer in answers] == [2, 2, 2]
