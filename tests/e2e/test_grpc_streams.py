"""`StreamPose` over a socket: order, errors in their place, limits, and how a stream ends."""

import asyncio
import time
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

import odd_jpegs
from distilpose.v1 import pose_pb2
from grpc_callers import LAST_FRAME_ID, Refusal, frame, opening, raw, refusal, stream_stub
from odd_images import encode, read
from photos import photo
from servers import QUICK_START, Server

ZIDANE = photo("zidane.jpg")
TINY = encode(np.zeros((8, 8, 3), np.uint8), "png")
NOBODY = [pose_pb2.Boxes()]
"""As `boxes`: nothing is looked for, so that an answer costs no more than decoding."""
Message = pose_pb2.StreamPoseRequest


async def answers(
    server: Server, *messages: Message
) -> tuple[list[pose_pb2.StreamPoseResponse], Refusal | None]:
    """The answers to a stream of these messages, and the reason why it failed, if it did."""
    found: list[pose_pb2.StreamPoseResponse] = []
    async with stream_stub(server.grpc_target) as stub:
        try:
            async for answer in stub.StreamPose(iter(messages)):
                found.append(answer)  # noqa: PERF401 - what came before a failure counts
        except grpc.RpcError as err:
            return found, refusal(err)
    return found, None


async def test_frames_are_answered_in_their_order_with_errors_in_their_place(
    server: Server,
) -> None:
    rgb = raw(read(ZIDANE), pose_pb2.PIXEL_FORMAT_RGB8)
    torn = raw(read(TINY), pose_pb2.PIXEL_FORMAT_RGB8)
    torn.width = 9
    found, failure = await answers(
        server,
        opening(max_people=1),
        frame(10, ZIDANE),
        frame(11, ZIDANE[:5000]),
        Message(frame=pose_pb2.Frame(frame_id=12, timestamp_ms=480, raw=rgb)),
        frame(12, TINY),
        Message(frame=pose_pb2.Frame(frame_id=13, timestamp_ms=481, raw=torn)),
        Message(frame=pose_pb2.Frame(frame_id=14, timestamp_ms=482)),
        frame(20, TINY),
    )
    assert failure is None
    assert [answer.frame_id for answer in found] == [10, 11, 12, 12, 13, 14, 20]
    assert [answer.error.type for answer in found] == [
        "",
        "undecodable-image",
        "",
        "invalid-request",
        "invalid-request",
        "undecodable-image",
        "",
    ]
    encoded, _, pixels, repeated, short, empty, nobody = found
    assert (encoded.width, encoded.height, encoded.timestamp_ms) == (1280, 720, 400)
    assert encoded.poses == pixels.poses
    assert len(encoded.poses) == 1
    assert encoded.timing.total_ms > 0
    assert repeated.error.detail == "frame_id: expected more than 12, got 12"
    assert "9x8 RGB8 with 27 bytes a row: expected 216 bytes, got 192" in short.error.detail
    assert empty.error.detail == "the image is empty"
    assert (nobody.width, len(nobody.poses)) == (8, 0)


async def test_odd_jpegs_are_frames_like_others_and_damaged_ones_are_not(server: Server) -> None:
    jpeg = odd_jpegs.JPEGS["rows"]
    first, *_, last = odd_jpegs.interval_ends(jpeg)
    spare = odd_jpegs.with_bytes(jpeg, [first, last], lambda _: bytes(9))
    damaged = odd_jpegs.with_bytes(jpeg, [first], lambda _: b"twelve bytes")
    odd = odd_jpegs.with_scan_numbers(spare, b"\0\0\0")
    found, failure = await answers(
        server,
        opening(boxes=NOBODY),
        *(frame(number, data) for number, data in enumerate((jpeg, spare, damaged, odd), 1)),
    )
    assert failure is None
    kinds = [answer.error.type for answer in found]
    assert kinds == ["", "", "undecodable-image", ""]
    assert "12 bytes too many before a restart or end marker" in found[2].error.detail
    assert [(answer.width, answer.height) for answer in found][3] == odd_jpegs.SIZE_WH


async def test_a_stream_without_a_frame_is_fine(server: Server) -> None:
    assert await answers(server, opening()) == ([], None)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "the first message carries the options"),
        ([frame(1, TINY)], "the first message carries the options"),
        ([opening(), opening()], "every message but the first carries a frame"),
        ([opening(min_box_score=2)], "min_box_score"),
        ([Message.FromString(b"\x0a\x02\x08\x63")], "mode: unknown value 99"),
    ],
)
async def test_messages_out_of_place_end_the_stream(
    server: Server, messages: list[Message], words: str
) -> None:
    found, failure = await answers(server, *messages)
    assert found == []
    assert failure is not None
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert words in failure.detail


async def test_frames_before_a_message_out_of_place_are_answered(server: Server) -> None:
    found, failure = await answers(server, opening(), frame(1, TINY), opening(), frame(2, TINY))
    assert [answer.frame_id for answer in found] == [1]
    assert failure is not None
    assert failure.code == "INVALID_ARGUMENT"


async def test_several_streams_keep_their_frames_apart(
    server: Server, client: httpx.Client
) -> None:
    pictures = [encode(np.zeros((8, width, 3), np.uint8), "png") for width in range(8, 16)]

    async def one(number: int) -> list[tuple[int, int]]:
        frames = [frame(number * 100 + i, pictures[number]) for i in range(10)]
        found, failure = await answers(server, opening(boxes=NOBODY), *frames)
        assert failure is None
        return [(answer.frame_id, answer.width) for answer in found]

    found = await asyncio.gather(*(one(number) for number in range(8)))
    assert found == [[(number * 100 + i, number + 8) for i in range(10)] for number in range(8)]
    await asyncio.to_thread(wait_for_metric, client, "distilpose_streams_active 0.0")


def wait_for_metric(client: httpx.Client, line: str) -> None:
    limit = time.monotonic() + 10
    while line not in client.get("/metrics").text:
        assert time.monotonic() < limit
        time.sleep(0.02)


async def test_a_caller_that_leaves_ends_its_stream(server: Server, client: httpx.Client) -> None:
    async with stream_stub(server.grpc_target) as stub:
        call = stub.StreamPose()
        await call.write(opening())
        await call.write(frame(1, TINY))
        await call.read()
        await asyncio.to_thread(wait_for_metric, client, "distilpose_streams_active 1.0")
        call.cancel()
        await asyncio.to_thread(wait_for_metric, client, "distilpose_streams_active 0.0")


async def test_an_old_stream_is_ended_and_names_its_last_frame(start_server: Any) -> None:
    server: Server = start_server(
        STREAMS__STREAM_WINDOW="2",
        GRPC__MAX_CONNECTION_AGE_SECONDS="2",
        GRPC__MAX_CONNECTION_AGE_GRACE_SECONDS="1",
        **QUICK_START,
    )
    async with stream_stub(server.grpc_target) as stub:
        call = stub.StreamPose()
        await call.write(opening(boxes=NOBODY))
        for number in (3, 4):
            await call.write(frame(number, TINY))
        assert [(await call.read()).frame_id for _ in range(2)] == [3, 4]
        with pytest.raises(grpc.RpcError) as ended:
            await asyncio.wait_for(call.read(), 10)
    error = refusal(ended.value)
    assert (error.code, error.reason, error.retry_seconds) == ("UNAVAILABLE", "DRAINING", 0)
    assert "maximum age of 2 s" in error.detail
    assert error.trailing[LAST_FRAME_ID] == "4"


async def test_more_streams_than_the_limit_are_overload(strict: Server) -> None:
    async with stream_stub(strict.grpc_target) as stub:
        calls = [stub.StreamPose() for _ in range(2)]
        for call in calls:
            await call.write(opening(boxes=NOBODY))
            await call.write(frame(1, TINY))
            await call.read()
        _, failure = await answers(strict, opening())
        for call in calls:
            await call.done_writing()
            assert await call.code() == grpc.StatusCode.OK
    assert failure is not None
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert failure.retry_seconds == 1


async def test_a_frame_over_the_limit_gets_its_own_error(strict: Server) -> None:
    large = TINY + bytes(10_000)
    found, failure = await answers(strict, opening(), frame(1, large), frame(2, TINY))
    assert failure is None
    assert [(answer.frame_id, answer.error.type) for answer in found] == [(1, "too-large"), (2, "")]
    assert "the limit is 10000" in found[0].error.detail
