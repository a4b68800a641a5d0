"""Requests over gRPC: their contents, retries, and their servers."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme

from distilpose.client import (
    AsyncClient,
    Backoff,
    Client,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    Overloaded,
    PoseError,
    Tls,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UndecodableImage,
)
from distilpose.v1 import pose_pb2
from ports import free_port
from stub_grpc_service import LOST, Failure, StubGrpcService

QUICK = Backoff(first_seconds=0.001, most_seconds=0.01)
CODES = grpc.StatusCode


@pytest.fixture
def service() -> Iterator[StubGrpcService]:
    with StubGrpcService() as running:
        yield running


def test_an_answer_has_typed_poses(service: StubGrpcService) -> None:
    with Client(service.address) as client:
        answer = client.estimate(b"a picture")
    assert (answer.width, answer.height, answer.error) == (40, 60, None)
    [pose] = answer.poses
    np.testing.assert_array_equal(pose.box_xyxy_px, np.array([1, 2, 31, 52], np.float32))
    assert (pose.box_score, pose.score, pose.track_id) == (0.75, 0.5, None)
    assert pose.keypoints_xy_px.shape == pose.sigma_px.shape == (17, 2)
    assert pose.keypoints_xy_px[5].tolist() == [5, 10]
    assert pose.sigma_px[5].tolist() == [6, 7]
    assert pose.keypoint_score.tolist() == [0.5] * 17
    assert pose.visible.tolist() == [False] * 3 + [True] * 14
    assert pose.keypoints_xy_px.dtype == np.float32


async def test_the_asynchronous_client_answers_the_same(service: StubGrpcService) -> None:
    async with AsyncClient(service.address) as client:
        answer = await client.estimate(b"a picture")
        many = [a.width async for a in client.estimate_many([b"a", b"b"])]
    assert len(answer.poses) == 1
    assert many == [40, 40]


def test_pixels_are_sent_as_they_are_and_files_too(service: StubGrpcService) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    with Client(service.address) as client:
        client.estimate(pixels[:, ::-1])
        client.estimate(b"a file")
    raw, encoded = (asked.images[0] for asked in service.asked)
    assert (raw.raw.width, raw.raw.height) == (4, 2)
    assert raw.raw.format == pose_pb2.PIXEL_FORMAT_RGB8
    assert raw.raw.data == pixels[:, ::-1].tobytes()
    assert encoded.encoded == b"a file"


def test_options_are_sent_and_those_not_given_are_absent(service: StubGrpcService) -> None:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    with Client(service.address) as client:
        client.estimate(b"x", min_box_score=0.5, max_people=3, boxes_xyxy_px=boxes)
        client.estimate(b"x")
        client.estimate(b"x", boxes_xyxy_px=np.zeros((0, 4), np.float32))
    given, absent, nobody = (asked.options for asked in service.asked)
    assert (given.min_box_score, given.max_people) == (0.5, 3)
    assert [(b.x1, b.y1, b.x2, b.y2) for b in given.boxes[0].boxes] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert absent == pose_pb2.PoseOptions()
    assert [len(boxes.boxes) for boxes in nobody.boxes] == [0]


def test_a_threshold_of_zero_is_sent_and_none_is_left_to_the_server(
    service: StubGrpcService,
) -> None:
    with Client(service.address) as client:
        client.estimate(b"x", min_keypoint_score=0)
        client.estimate(b"x", min_box_score=None, min_keypoint_score=None, max_people=None)
    zero, absent = (asked.options for asked in service.asked)
    assert zero.HasField("min_keypoint_score")
    assert zero.min_keypoint_score == 0
    assert absent == pose_pb2.PoseOptions()


def test_a_key_goes_along(service: StubGrpcService) -> None:
    with Client(service.address, api_key="secret") as client:
        client.estimate(b"x")
    assert service.metadata[0]["x-api-key"] == "secret"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_bok_score": 1}, "min_bok_score: no such option"),
        ({"flip_test": "yes"}, "options:"),
        ({"boxes_xyxy_px": [[1, 2, 3]]}, "boxes_xyxy_px: expected shape"),
        ({"mode": "latest"}, "mode: no such option"),
    ],
)
def test_options_that_cannot_be_sent_are_refused(
    service: StubGrpcService, options: dict[str, object], words: str
) -> None:
    with Client(service.address) as client, pytest.raises(InvalidRequest, match=words):
        client.estimate(b"x", **options)  # type: ignore[arg-type]  # that is the test
    assert service.asked == []


@pytest.mark.parametrize("picture", [np.zeros((2, 2)), np.zeros((2, 2), np.uint8), 7])
def test_what_is_no_picture_is_refused(service: StubGrpcService, picture: object) -> None:
    with Client(service.address) as client, pytest.raises(InvalidRequest, match=r"picture|pixels"):
        client.estimate(picture)  # type: ignore[arg-type]  # that is the test


def test_an_empty_picture_is_no_image(service: StubGrpcService) -> None:
    with Client(service.address) as client, pytest.raises(UndecodableImage, match="is empty"):
        client.estimate(b"")


@pytest.mark.parametrize(
    "failure",
    [
        LOST,
        Failure(CODES.CANCELLED),
        Failure(CODES.RESOURCE_EXHAUSTED, "OVERLOADED", retry_seconds=0.01),
    ],
)
def test_what_is_safe_is_asked_again(service: StubGrpcService, failure: Failure) -> None:
    service.failures.extend([failure, failure])
    with Client(service.address, backoff=QUICK) as client:
        assert client.estimate(b"x").width == 40
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(CODES.RESOURCE_EXHAUSTED), TooLarge),
        (Failure(CODES.RESOURCE_EXHAUSTED, "OVERLOADED"), Overloaded),
        (Failure(CODES.INTERNAL, "INTERNAL"), Internal),
        (Failure(CODES.INVALID_ARGUMENT, "UNDECODABLE_IMAGE"), UndecodableImage),
        (Failure(CODES.UNAUTHENTICATED, "UNAUTHENTICATED"), Unauthenticated),
        (Failure(CODES.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"), DeadlineExceeded),
    ],
)
def test_a_call_is_not_retried_where_that_is_unsafe_or_useless(
    service: StubGrpcService, failure: Failure, kind: type[PoseError]
) -> None:
    service.failures.append(failure)
    with Client(service.address, backoff=QUICK) as client, pytest.raises(kind) as raised:
        client.estimate(b"x")
    assert len(service.asked) == 1
    assert raised.value.type == kind.type


def test_a_failure_unknown_to_the_client_keeps_its_name(service: StubGrpcService) -> None:
    service.failures.append(Failure(CODES.ABORTED, "SOMETHING_NEW"))
    with Client(service.address) as client, pytest.raises(PoseError) as raised:
        client.estimate(b"x")
    assert raised.value.type == "something-new"


def test_nobody_there_is_unavailable_after_the_retries() -> None:
    address = f"grpc://127.0.0.1:{free_port()}"
    with Client(address, backoff=QUICK) as client, pytest.raises(Unavailable):
        client.estimate(b"x")


def test_calls_go_round_all_addresses(service: StubGrpcService) -> None:
    with StubGrpcService() as other:
        target = f"ipv4:127.0.0.1:{service.port},127.0.0.1:{other.port}"
        with Client(target) as client:
            while not (service.asked and other.asked):
                client.estimate(b"x")
            before = len(service.asked), len(other.asked)
            for _ in range(10):
                client.estimate(b"x")
    gained = len(service.asked) - before[0], len(other.asked) - before[1]
    assert gained == (5, 5)


def test_many_pictures_are_answered_in_order_with_errors_in_their_place(
    service: StubGrpcService,
) -> None:
    with Client(service.address) as client:
        answers = list(client.estimate_many([b"a", b"", b"c"], at_once=2))
    assert [answer.error and answer.error.type for answer in answers] == [
        None,
        "undecodable-image",
        None,
    ]


def test_what_would_fail_every_picture_ends_the_questions(service: StubGrpcService) -> None:
    service.failures.append(Failure(CODES.UNAUTHENTICATED, "UNAUTHENTICATED"))
    with Client(service.address) as client, pytest.raises(Unauthenticated):
        list(client.estimate_many(bytes([i]) for i in range(100)))
    assert len(service.asked) < 100


def test_a_client_outside_its_block_says_so(service: StubGrpcService) -> None:
    with pytest.raises(RuntimeError, match="`with` block"):
        Client(service.address).estimate(b"x")


def test_grpcs_own_message_limits_are_off_both_ways(service: StubGrpcService) -> None:
    service.answer_id = "x" * 5_000_000
    with Client(service.address) as client:
        assert client.estimate(bytes(5_000_000)).width == 40


def test_connections_are_encrypted_and_trust_the_authority_given(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    trusting = Tls(ca=tmp_path / "ca.pem")
    with StubGrpcService(credentials=credentials) as service:
        with Client(service.address, tls=trusting) as client:
            assert client.estimate(b"x").width == 40
        with Client(service.address, backoff=QUICK) as client, pytest.raises(Unavailable):
            client.estimate(b"x")


def test_the_model_is_described(service: StubGrpcService) -> None:
    with Client(service.address) as client:
        model = client.model()
    assert (model.name, model.input_size_hw) == ("a model", (256, 192))


def test_files_of_a_folder_are_answered_by_name(service: StubGrpcService, tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt", "deeper/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    with Client(service.address) as client:
        found = [(path.name, answer.width) for path, answer in client.estimate_folder(tmp_path)]
    assert found == [("a.PNG", 40), ("b.jpg", 40), ("c.webp", 40)]


def test_importing_the_client_brings_no_torch_and_no_service() -> None:
    program = (
        "import sys, distilpose.client, distilpose.client.adapters\n"
        "print({m.split('.')[0] for m in sys.modules} & {'torch', 'ultralytics', 'fastapi', 'cv2'},"
        " [m for m in sys.modules if m.startswith('distilpose.service')])"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert output.strip() == "set() []"
