"""Broken, odd and hostile images, by REST and gRPC: each is answered or refused by its kind."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

import bad_callers
from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from odd_images import corpus
from servers import Server
from soaking import assert_no_harm, wait_until_idle

SOAK_SECONDS = 90
TOGETHER = 16
CORPUS = corpus()
KINDS = {"", "undecodable-image", "unsupported-media-type", "too-large", "invalid-request"}
"""Kinds of error that an image may get; empty where it was answered."""


@pytest.fixture
def fuzzed(server: Server) -> Iterator[Server]:
    """The server, which no test may harm."""
    begins = server.log.stat().st_size
    yield server
    wait_until_idle(server)
    assert_no_harm(server, since_byte=begins)


def errors_by_rest(server: Server, images: list[bytes]) -> list[str]:
    """The kind of each image's error; empty where there is none."""
    files = [("images", (f"{n}.jpg", data, "image/jpeg")) for n, data in enumerate(images)]
    with server.client() as client:
        answer = client.post("/v1/pose", files=files)
    assert answer.status_code in (200, 400, 413, 415, 422), answer.text
    document = answer.json()
    if "images" not in document:
        return [document["type"]]
    return [image.get("error", {}).get("type", "") for image in document["images"]]


def errors_by_grpc(server: Server, images: list[bytes]) -> list[str]:
    """The same by gRPC."""
    parts = [pose_pb2.Image(encoded=data) for data in images]
    with grpc.insecure_channel(server.grpc_target) as channel:
        try:
            answer = PoseServiceStub(channel).EstimatePose(
                pose_pb2.EstimatePoseRequest(images=parts)
            )
        except grpc.RpcError as err:
            assert err.code() is grpc.StatusCode.INVALID_ARGUMENT, err  # noqa: PT017 - one of two
            return []
    return [image.error.type for image in answer.images]


@pytest.mark.parametrize("tell", [errors_by_rest, errors_by_grpc])
def test_no_image_of_the_corpus_finds_a_bug(fuzzed: Server, tell: Any) -> None:
    files = [data for data in CORPUS if data]
    answered = 0
    for start in range(0, len(files), TOGETHER):
        errors = tell(fuzzed, files[start : start + TOGETHER])
        assert set(errors) <= KINDS
        answered += errors.count("")
    assert answered >= 16


@pytest.mark.soak
@pytest.mark.parametrize("tell", [errors_by_rest, errors_by_grpc])
def test_no_damaged_image_finds_a_bug(fuzzed: Server, tell: Any) -> None:
    random = np.random.default_rng(66)
    hostile = [*CORPUS, bad_callers.bomb()]
    ends_at = time.monotonic() + SOAK_SECONDS / 2
    sent = 0

    def damaged() -> bytes:
        data = bytearray(hostile[random.integers(len(hostile))] or b"\0")
        for _ in range(random.integers(8)):
            # Headers, where what matters stands, more often than pixels.
            position = min(int(random.exponential(60)), len(data) - 1)
            data[position] ^= int(random.integers(1, 256))
        return bytes(data[: len(data) - int(random.integers(20))]) or b"\0"

    while time.monotonic() < ends_at:
        images = [damaged() for _ in range(TOGETHER)]
        assert set(tell(fuzzed, images)) <= KINDS
        sent += len(images)
    print(f"{sent} images")  # noqa: T201 - the figure for whoever runs it
