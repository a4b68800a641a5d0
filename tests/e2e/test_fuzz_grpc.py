"""Random bytes and damaged messages to every RPC: refused as the caller's fault, or answered."""

from collections.abc import Iterator

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilpose.v1 import pose_pb2
from grpc_callers import frame, opening
from odd_images import encode, noise
from servers import Server
from soaking import assert_no_harm, wait_until_idle

EXAMPLES = 150
SOAK_EXAMPLES = 5000
SERVICE = "distilpose.v1.PoseService"
FINE = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
SMALL = encode(noise(16, 16), "png")
BOX = pose_pb2.Boxes(boxes=[pose_pb2.Box(x1=1, y1=1, x2=9, y2=9)])
OPTIONS = pose_pb2.PoseOptions(boxes=[BOX], min_keypoint_score=0.5, flip_test=True)
RAW = pose_pb2.RawPixels(
    format=pose_pb2.PIXEL_FORMAT_RGB8, width=4, height=4, row_stride_bytes=12, data=bytes(48)
)
MESSAGES = [
    pose_pb2.EstimatePoseRequest(
        images=[pose_pb2.Image(encoded=SMALL, id="a")], options=OPTIONS
    ).SerializeToString(),
    pose_pb2.EstimatePoseRequest(images=[pose_pb2.Image(raw=RAW)]).SerializeToString(),
    opening(boxes=[BOX]).SerializeToString(),
    frame(1, SMALL).SerializeToString(),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A right message with some bytes changed, or cut."""
    message = bytearray(draw(st.sampled_from(MESSAGES)))
    for position, value in draw(
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5)
    ):
        message[position % len(message)] = value
    return bytes(message[: len(message) - draw(st.integers(0, 20))])


messages = st.one_of(st.binary(max_size=300), damaged())


@pytest.fixture
def fuzzed(server: Server) -> Iterator[Server]:
    """The server, which no test may harm."""
    begins = server.log.stat().st_size
    yield server
    wait_until_idle(server)
    assert_no_harm(server, since_byte=begins)


def send(channel: grpc.Channel, method: str, sent: list[bytes]) -> grpc.StatusCode:
    """The code of a call with these bytes for messages."""
    path = f"/{SERVICE}/{method}"
    try:
        if method == "StreamPose":
            list(channel.stream_stream(path, bytes, bytes)(iter(sent), timeout=60))
        else:
            channel.unary_unary(path, bytes, bytes)(sent[0], timeout=60)
    except grpc.RpcError as err:
        code: grpc.StatusCode = err.code()
        return code
    return grpc.StatusCode.OK


def fuzz(server: Server, method: str, *, examples: int) -> None:
    """Send as many calls; none is answered as a bug of the server."""
    with grpc.insecure_channel(server.grpc_target) as channel:

        @given(sent=st.lists(messages, min_size=1, max_size=4), begins_well=st.booleans())
        @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
        def answered(sent: list[bytes], begins_well: bool) -> None:
            if begins_well and method == "StreamPose":
                sent = [MESSAGES[2], *sent]
            assert send(channel, method, sent) in FINE

        answered()


@pytest.mark.parametrize("method", ["EstimatePose", "StreamPose", "GetModel"])
def test_random_bytes_find_no_bug(fuzzed: Server, method: str) -> None:
    fuzz(fuzzed, method, examples=EXAMPLES)


def test_unharmed_messages_are_answered(fuzzed: Server) -> None:
    with grpc.insecure_channel(fuzzed.grpc_target) as channel:
        for message in MESSAGES[:2]:
            assert send(channel, "EstimatePose", [message]) is grpc.StatusCode.OK
        assert send(channel, "StreamPose", MESSAGES[2:]) is grpc.StatusCode.OK


@pytest.mark.soak
@pytest.mark.parametrize("method", ["EstimatePose", "StreamPose", "GetModel"])
def test_very_many_random_bytes_find_no_bug(fuzzed: Server, method: str) -> None:
    fuzz(fuzzed, method, examples=SOAK_EXAMPLES)
