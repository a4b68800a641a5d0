"""Errors as a caller sees them."""

import base64
import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from odd_images import encode
from photos import photo
from servers import Server

BUS = photo("bus.jpg")
JPEG = {"content-type": "image/jpeg"}
TINY = encode(np.zeros((8, 8, 3), np.uint8), "png")


def assert_problem(response: httpx.Response, status: int, kind: str, *words: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == kind
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    for word in words:
        assert word in document["detail"]
    return document


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("min_box_scor=0.5", ["min_box_scor"]),
        ("min_box_score=1.5", ["min_box_score", "1"]),
        ("max_people=0", ["max_people"]),
        ("max_people=51", ["max_people", "50"]),
        ("flip_test=1&flip_test=0", ["flip_test", "twice"]),
        ("boxes=[[[1,2,3]]]", ["boxes.0.0"]),
        ("boxes=[[[9,2,3,4]]]", ["x1 < x2"]),
        ("boxes=[[[0,0,1,NaN]]]", ["boxes"]),
        ("boxes=[[],[]]", ["expected 1 lists", "got 2"]),
        ("boxes=[[[900,0,950,10]]]", ["does not touch the image of 810 x 1080"]),
        ("boxes=[[]]&whole_image=true", ["one or the other"]),
        ("format=xml", ["format"]),
        ("min_keypoint_score=-0.1", ["min_keypoint_score", "0"]),
        ("draw_sigma=true", ["draw_sigma", "drawn answer", "image/jpeg or image/png"]),
    ],
)
def test_a_wrong_option_is_422_and_named(
    client: httpx.Client, query: str, words: list[str]
) -> None:
    response = client.post(f"/v1/pose?{query}", content=BUS, headers=JPEG)
    assert_problem(response, 422, "invalid-request", *words)


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html", ""])
def test_ellipses_on_no_picture_are_422_with_every_kind_of_body(
    client: httpx.Client, accept: str
) -> None:
    image = {"content": base64.b64encode(TINY).decode()}
    part = ("options", (None, '{"draw_sigma": true}'))
    bodies: list[dict[str, Any]] = [
        {"json": {"images": [image], "options": {"draw_sigma": True}}},
        {"files": [("images", ("a.png", TINY)), part]},
    ]
    for body in bodies:
        response = client.post("/v1/pose", headers={"accept": accept}, **body)
        assert_problem(response, 422, "invalid-request", "draw_sigma", "drawn answer")


def test_more_boxes_than_people_are_answered_is_too_large(client: httpx.Client) -> None:
    boxes = json.dumps([[[0, 0, 10, 10]] * 51])
    response = client.post("/v1/pose", params={"boxes": boxes}, content=BUS, headers=JPEG)
    assert_problem(response, 413, "too-large", "51 boxes", "50")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, []),
        (b"[]", 400, []),
        (b'{"images": []}', 400, ["images"]),
        (b'{"images": [{"content": "not base64!"}]}', 400, ["images.0.content", "base64"]),
        (b'{"images": [{"url": "http://x"}]}', 400, ["images.0"]),
        (b'{"images": [{"content": ""}]}', 400, ["no image"]),
        (b'{"images": [{"content": "AAAA"}], "options": {"x": 1}}', 422, ["options.x"]),
    ],
)
def test_a_malformed_json_body_is_refused(
    client: httpx.Client, body: bytes, status: int, words: list[str]
) -> None:
    headers = {"content-type": "application/json"}
    response = client.post("/v1/pose", content=body, headers=headers)
    assert_problem(response, status, "invalid-request", *words)


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"", "multipart/form-data; boundary=x", ["no image"]),
        (b"abc", "multipart/form-data; boundary=x", ["multipart"]),
        (b"abc", "multipart/form-data", ["multipart"]),
        (
            b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\nA\r\n--x--',
            "multipart/form-data; boundary=x",
            ["'photo'", "images"],
        ),
        (
            b'--x\r\ncontent-disposition: form-data; name="images"\r\n\r\nA\r\n--x--',
            "multipart/form-data; boundary=x",
            ["must be a file"],
        ),
    ],
)
def test_a_malformed_multipart_body_is_refused(
    client: httpx.Client, body: bytes, content_type: str, words: list[str]
) -> None:
    headers = {"content-type": content_type}
    response = client.post("/v1/pose", content=body, headers=headers)
    assert_problem(response, 400, "invalid-request", *words)


def test_a_compressed_body_is_415_and_says_what_is_accepted(client: httpx.Client) -> None:
    headers = {"content-encoding": "gzip", **JPEG}
    response = client.post("/v1/pose", content=gzip.compress(TINY), headers=headers)
    assert_problem(response, 415, "unsupported-media-type", "content-encoding 'gzip'")
    assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("content_type", ["image/jpeg", "text/plain", None])
def test_the_bytes_decide_the_format(client: httpx.Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = client.post("/v1/pose", content=TINY, headers=headers)
    assert response.status_code == 200


def test_what_curl_sends_without_a_content_type_is_an_image(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.png").write_bytes(TINY)
    url = f"{server.url}/v1/pose?id=7"
    line = ["curl", "-s", url, "--data-binary", f"@{tmp_path / 'tiny.png'}"]
    done = subprocess.run(line, capture_output=True, check=True)
    [image] = json.loads(done.stdout)["images"]
    assert (image["id"], image["width"], image["people_found"]) == ("7", 8, 0)


def test_json_under_another_content_type_is_named(client: httpx.Client) -> None:
    response = client.post("/v1/pose", content=b'{"images": []}', headers=JPEG)
    assert_problem(response, 422, "undecodable-image", "is it application/json?")


def test_an_image_id_out_of_range_is_refused_before_the_work(client: httpx.Client) -> None:
    response = client.post(f"/v1/pose?format=coco&id={2**63}", content=TINY, headers=JPEG)
    assert_problem(response, 422, "invalid-request", f"'{2**63}'", f"0 to {2**63 - 1}")


def test_a_gif_is_415(client: httpx.Client) -> None:
    gif = encode(np.zeros((8, 8, 3), np.uint8), "gif")
    response = client.post("/v1/pose", content=gif, headers=JPEG)
    assert_problem(response, 415, "unsupported-media-type", "GIF")


@pytest.mark.parametrize("data", [BUS[:-2000], b"\xff\xd8\xff\xe0 no photo", b"hello"])
def test_broken_bytes_are_422(client: httpx.Client, data: bytes) -> None:
    response = client.post("/v1/pose", content=data, headers=JPEG)
    assert_problem(response, 422, "undecodable-image")


def test_an_empty_body_is_400(client: httpx.Client) -> None:
    response = client.post("/v1/pose", content=b"", headers=JPEG)
    assert_problem(response, 400, "invalid-request", "no image")


def test_several_failures_are_all_reported_with_the_status_of_the_first(
    client: httpx.Client,
) -> None:
    gif = encode(np.zeros((8, 8, 3), np.uint8), "gif")
    contents = [{"content": base64.b64encode(d).decode()} for d in (b"hello", gif)]
    response = client.post("/v1/pose", json={"images": contents})
    document = assert_problem(response, 422, "undecodable-image")
    assert [image["error"]["status"] for image in document["images"]] == [422, 415]


def test_a_picture_answer_takes_one_image(client: httpx.Client) -> None:
    contents = [{"content": base64.b64encode(TINY).decode()}] * 2
    response = client.post("/v1/pose", json={"images": contents}, headers={"accept": "image/png"})
    assert_problem(response, 400, "invalid-request", "one image")


def test_options_in_the_query_of_a_json_body_are_refused(client: httpx.Client) -> None:
    response = client.post("/v1/pose?flip_test=1", json={"images": [{"content": "AAAA"}]})
    assert_problem(response, 400, "invalid-request", "flip_test")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v2", 404), ("GET", "/v1/pose", 405)]
)
def test_unknown_routes_answer_problem_documents(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


def test_limits_are_checked_before_decoding(strict: Server) -> None:
    with strict.client() as client:
        pixels = client.post("/v1/pose", content=BUS, headers=JPEG)
        assert_problem(pixels, 413, "too-large", "874800", "500000")
        body = client.post("/v1/pose", content=bytes(200_001), headers=JPEG)
        assert_problem(body, 413, "too-large", "200001", "200000")
        chunked = client.post("/v1/pose", content=iter([bytes(150_000)] * 2), headers=JPEG)
        assert_problem(chunked, 413, "too-large", "200000")
        contents = [{"content": base64.b64encode(TINY).decode()}] * 3
        several = client.post("/v1/pose", json={"images": contents})
        assert_problem(several, 413, "too-large", "more than 2 images")
        files = [("images", (f"{i}.png", TINY, "image/png")) for i in range(3)]
        assert_problem(client.post("/v1/pose", files=files), 413, "too-large", "2")


@pytest.mark.parametrize(
    ("accept", "size_hw", "words"),
    [
        ("image/jpeg", (2, 65_536), ["65536", "65500", "image/png"]),
        ("image/jpeg", (65_501, 2), ["65501", "65500", "image/png"]),
        ("image/png", (1, 1_000_001), ["1000001", "1000000", "application/json"]),
    ],
)
def test_a_drawing_that_its_format_cannot_hold_is_413_and_names_another(
    client: httpx.Client, accept: str, size_hw: tuple[int, int], words: list[str]
) -> None:
    picture = encode(np.zeros((*size_hw, 3), np.uint8), "tiff")
    response = client.post(
        "/v1/pose?boxes=[[]]",
        content=picture,
        headers={"accept": accept, "content-type": "image/tiff"},
    )
    assert_problem(response, 413, "too-large", *words)
