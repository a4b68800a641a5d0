"""Requests over HTTP: their contents, retries, and the names of failures."""

import io
import json
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image

from distilpose.client import (
    Backoff,
    Client,
    Internal,
    InvalidRequest,
    NotReady,
    Overloaded,
    PoseError,
    Unavailable,
    UndecodableImage,
)
from distilpose.client.rest.wire import retry_after_seconds
from distilpose.model.skeleton import KEYPOINT_NAMES
from ports import free_port

QUICK = Backoff(first_seconds=0.001, most_seconds=0.01)
Answer = tuple[int, dict[str, str], Any]

KEYPOINTS = [
    {"name": name, "x": i, "y": 2 * i, "score": 0.5, "visible": i > 2, "sigma_x": 1, "sigma_y": 2}
    for i, name in enumerate(KEYPOINT_NAMES)
]
FOUND: dict[str, Any] = {
    "request_id": "r",
    "model": {"name": "m", "version": "1"},
    "images": [
        {
            "index": 0,
            "id": None,
            "width": 40,
            "height": 60,
            "poses": [
                {"box": [1, 2, 31, 52], "box_score": 0.75, "score": 0.5, "keypoints": KEYPOINTS}
            ],
        }
    ],
    "timing_ms": {"decode": 1, "detect": 2, "pose": 3, "queue": 0, "total": 6},
}


class Asked:
    """A server that answers with the given responses, then with a person, and records requests."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        asked = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked.requests.append((self.path, headers, body))
                status, extra, document = asked.answers.popleft() if asked.answers else FINE
                answer = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                for name, value in {**extra, "content-length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


FINE: Answer = (200, {}, FOUND)


def problem(status: int, kind: str, **headers: str) -> Answer:
    return status, {"x-request-id": "r", **headers}, {"type": kind, "detail": "as configured"}


@pytest.fixture
def asked() -> Iterator[Asked]:
    service = Asked()
    threading.Thread(target=service.server.serve_forever, daemon=True).start()
    yield service
    service.server.shutdown()
    service.server.server_close()


def test_an_answer_has_the_same_typed_poses_as_by_grpc(asked: Asked) -> None:
    with Client(asked.url) as client:
        answer = client.estimate(b"a file")
    assert (answer.width, answer.height, answer.timing.total_ms) == (40, 60, 6)
    [pose] = answer.poses
    assert pose.keypoints_xy_px[5].tolist() == [5, 10]
    assert pose.visible.tolist() == [False] * 3 + [True] * 14
    assert pose.sigma_px.shape == (17, 2)
    assert pose.box_xyxy_px.dtype == np.float32
    assert pose.track_id is None
    assert answer.people_found is None


def test_the_number_of_people_is_known_where_it_was_answered(asked: Asked) -> None:
    crowd = {**FOUND, "images": [{**FOUND["images"][0], "people_found": 61}]}
    asked.answers.append((200, {}, crowd))
    with Client(asked.url) as client:
        assert client.estimate(b"a file").people_found == 61


def test_a_file_is_posted_as_it_is_with_options_and_key(asked: Asked) -> None:
    boxes = np.array([[1, 2, 3, 4]])
    with Client(asked.url, api_key="secret", timeout_seconds=7) as client:
        client.estimate(b"a file", flip_test=True, min_box_score=0.5, boxes_xyxy_px=boxes)
    [(path, headers, body)] = asked.requests
    assert body == b"a file"
    assert dict(parse_qsl(urlsplit(path).query)) == {
        "flip_test": "true",
        "min_box_score": "0.5",
        "boxes": "[[[1.0,2.0,3.0,4.0]]]",
    }
    assert (urlsplit(path).path, headers["x-api-key"]) == ("/v1/pose", "secret")
    assert 6000 < int(headers["x-request-timeout-ms"]) <= 7000


def test_a_threshold_of_zero_is_posted_and_none_is_left_to_the_server(asked: Asked) -> None:
    with Client(asked.url) as client:
        client.estimate(b"a file", min_keypoint_score=0)
        client.estimate(b"a file", min_box_score=None, min_keypoint_score=None, boxes_xyxy_px=None)
    queries = [urlsplit(path).query for path, _, _ in asked.requests]
    assert queries == ["min_keypoint_score=0", ""]


def test_pixels_are_posted_as_a_png(asked: Asked) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with Client(asked.url) as client:
        client.estimate(pixels)
    picture = Image.open(io.BytesIO(asked.requests[0][2]))
    assert picture.format == "PNG"
    np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_a_service_below_a_path_is_asked_there(asked: Asked) -> None:
    with Client(f"{asked.url}/poses") as client:
        client.estimate(b"x")
    assert asked.requests[0][0] == "/poses/v1/pose"


@pytest.mark.parametrize(("status", "kind"), [(429, "overloaded"), (503, "draining")])
def test_overload_is_asked_again_after_retry_after(asked: Asked, status: int, kind: str) -> None:
    asked.answers.append(problem(status, kind, **{"retry-after": "0"}))
    with Client(asked.url, backoff=QUICK) as client:
        assert client.estimate(b"x").width == 40
    assert len(asked.requests) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(429, "overloaded"), Overloaded),
        (problem(500, "internal", **{"retry-after": "0"}), Internal),
        (problem(422, "undecodable-image"), UndecodableImage),
        ((503, {}, b"<html>no such upstream</html>"), NotReady),
    ],
)
def test_the_rest_is_asked_once(asked: Asked, answer: Answer, kind: type[PoseError]) -> None:
    asked.answers.append(answer)
    with Client(asked.url, backoff=QUICK) as client, pytest.raises(kind) as raised:
        client.estimate(b"x")
    assert len(asked.requests) == 1
    assert raised.value.type == kind.type


def test_a_failure_names_the_request(asked: Asked) -> None:
    asked.answers.append(problem(500, "internal"))
    with Client(asked.url) as client, pytest.raises(Internal, match="as configured") as raised:
        client.estimate(b"x")
    assert raised.value.request_id == "r"


def test_a_refused_connection_is_asked_again_and_then_unavailable() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with Client(address, backoff=QUICK) as client, pytest.raises(Unavailable):
        client.estimate(b"x")


@pytest.mark.parametrize("document", [b"hello", [], {"images": []}])
def test_an_answer_unlike_the_services_is_an_error(asked: Asked, document: Any) -> None:
    asked.answers.append((200, {}, document))
    with Client(asked.url) as client, pytest.raises(PoseError, match="not an answer"):
        client.estimate(b"x")


def test_frames_are_asked_one_by_one_with_errors_in_their_place(asked: Asked) -> None:
    asked.answers.extend([FINE, problem(422, "undecodable-image"), FINE])
    with Client(asked.url) as client:
        answers = list(client.stream([b"a", b"b", b"c"], track=False, flip_test=True))
    assert [answer.frame_id for answer in answers] == [0, 1, 2]
    kinds = [answer.error.type if answer.error else None for answer in answers]
    assert kinds == [None, "undecodable-image", None]
    assert "flip_test=true" in asked.requests[0][0]


@pytest.mark.parametrize(
    "options", [{"mode": "latest"}, {"track": True}, {"detect_every": 5}, {"smooth": True}]
)
def test_what_needs_a_real_stream_names_grpc(asked: Asked, options: dict[str, Any]) -> None:
    with Client(asked.url) as client, pytest.raises(InvalidRequest, match="grpc://"):
        list(client.stream([b"a"], **options))


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime.now(UTC)
    assert retry_after_seconds("17") == 17
    soon = retry_after_seconds(format_datetime(now + timedelta(seconds=30), usegmt=True))
    assert soon is not None
    assert 28 < soon <= 30
    assert retry_after_seconds(format_datetime(now - timedelta(days=1), usegmt=True)) == 0
    assert retry_after_seconds("soon") is None
    assert retry_after_seconds("") is None
