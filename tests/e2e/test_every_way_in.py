"""A photo is answered the same by every way in, by REST and by gRPC, over a socket."""

import asyncio
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import frame, opening, raw
from odd_images import encode, exif, read
from photos import photo
from servers import Server
from soaking import address, ask, post, samples

BUS = photo("bus.jpg")
STREET = Image.open(io.BytesIO(BUS))
OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"
Numbers = np.ndarray[Any, Any]


def of_rest(document: dict[str, Any]) -> Numbers:
    """Size, then the boxes and keypoints of all people of the first image."""
    image = document["images"][0]
    people = [[p["box"], *([k["x"], k["y"]] for k in p["keypoints"])] for p in image["poses"]]
    flat = [value for person in people for part in person for value in part]
    return np.array([image["width"], image["height"], *flat])


def of_grpc(image: Any) -> Numbers:
    """The same of a gRPC answer."""
    flat = []
    for pose in image.poses:
        flat += [pose.box.x1, pose.box.y1, pose.box.x2, pose.box.y2]
        flat += [value for k in pose.keypoints for value in (k.x, k.y)]
    return np.array([image.width, image.height, *flat])


def by_body(server: Server, data: bytes) -> Numbers:
    with server.client() as client:
        headers = {"content-type": "application/octet-stream"}
        return of_rest(client.post("/v1/pose", content=data, headers=headers).json())


def by_file(server: Server, data: bytes) -> Numbers:
    with server.client() as client:
        return of_rest(client.post("/v1/pose", files=[("images", ("a", data))]).json())


def by_base64(server: Server, data: bytes) -> Numbers:
    body = {"images": [{"content": base64.b64encode(data).decode()}]}
    with server.client() as client:
        return of_rest(client.post("/v1/pose", json=body).json())


def by_call(server: Server, data: bytes) -> Numbers:
    return called(server, pose_pb2.Image(encoded=data))


def by_frame(server: Server, data: bytes) -> Numbers:
    with grpc.insecure_channel(server.grpc_target) as channel:
        [answer] = PoseServiceStub(channel).StreamPose(iter([opening(), frame(1, data)]))
    return of_grpc(answer)


def called(server: Server, image: pose_pb2.Image) -> Numbers:
    with grpc.insecure_channel(server.grpc_target) as channel:
        request = pose_pb2.EstimatePoseRequest(images=[image])
        return of_grpc(PoseServiceStub(channel).EstimatePose(request).images[0])


WAYS: tuple[Callable[[Server, bytes], Numbers], ...] = (
    by_body,
    by_file,
    by_base64,
    by_call,
    by_frame,
)


@pytest.mark.parametrize("way", WAYS)
def test_a_photo_is_turned_upright_on_every_way_in(
    server: Server, way: Callable[[Server, bytes], Numbers]
) -> None:
    upright = by_body(server, encode(STREET, "png"))
    turned = STREET.transpose(Image.Transpose.ROTATE_90)
    found = way(server, encode(turned, "png", exif=exif(6)))
    np.testing.assert_allclose(found, upright, atol=0.03)


@pytest.mark.parametrize("way", WAYS)
def test_red_is_red_on_every_way_in(
    server: Server, way: Callable[[Server, bytes], Numbers]
) -> None:
    expected = called(server, pose_pb2.Image(raw=raw(read(BUS), pose_pb2.PIXEL_FORMAT_RGB8)))
    np.testing.assert_allclose(way(server, BUS), expected, atol=0.03)


def test_a_raw_image_says_by_its_format_whether_blue_comes_first(server: Server) -> None:
    first_red = raw(read(BUS), pose_pb2.PIXEL_FORMAT_RGB8)
    first_blue = raw(read(BUS), pose_pb2.PIXEL_FORMAT_BGR8)
    right, swapped = (called(server, pose_pb2.Image(raw=each)) for each in (first_red, first_blue))
    np.testing.assert_allclose(swapped, right, atol=0.03)
    first_blue.format = pose_pb2.PIXEL_FORMAT_RGB8
    wrong = called(server, pose_pb2.Image(raw=first_blue))
    assert len(wrong) != len(right) or np.abs(wrong - right).max() > 1


async def test_a_crowd_is_split_over_batches(tuned: Server) -> None:
    boxes = json.dumps([[[8 * i, 400, 8 * i + 190, 900] for i in range(10)]], separators=(",", ":"))
    name = 'batch_items_count{stage="pose"}'
    before = samples(tuned)[name]
    answer = await ask(tuned, BUS, f"/v1/pose?boxes={boxes}")
    assert len(answer.poses) == 10
    assert samples(tuned)[name] - before == 3


async def test_a_body_that_stops_coming_is_waited_for_until_the_deadline(server: Server) -> None:
    reader, writer = await asyncio.open_connection(*address(server))
    length = str(len(BUS))
    writer.write(post(BUS[:1000], content_length=length, x_request_timeout_ms="300"))
    async with asyncio.timeout(30):
        status = await reader.readline()
    writer.close()
    assert status.split()[1] == b"504"


@pytest.mark.parametrize(
    "empty",
    [
        encode(STREET.crop((250, 0, 810, 200)), "png"),
        encode(Image.new("RGB", (640, 480)), "png"),
        encode(Image.new("RGB", (1, 1)), "png"),
    ],
    ids=["street", "black", "one pixel"],
)
def test_nobody_is_found_in_an_empty_photo(client: httpx.Client, empty: bytes) -> None:
    answer = client.post("/v1/pose", content=empty, headers={"content-type": "image/png"})
    assert answer.json()["images"][0]["poses"] == []


def test_a_photo_of_twice_the_size_has_its_people_at_twice_the_place(server: Server) -> None:
    box = np.array([49.0, 400.0, 245.0, 902.0])
    larger = STREET.resize((STREET.width * 2, STREET.height * 2), Image.Resampling.BICUBIC)
    # The first pixel's centre is 0, its left edge -0.5: edges stay, and so 0 comes to 0.5.
    pictures = [(STREET, box), (larger, 2 * box + 0.5)]
    found = []
    with server.client() as client:
        for image, of_image in pictures:
            answer = client.post(
                "/v1/pose",
                content=encode(image, "png"),
                headers={"content-type": "image/png"},
                params={"boxes": json.dumps([[of_image.tolist()]])},
            )
            found.append(of_rest(answer.json())[6:].reshape(-1, 2))
    shift_px = (found[1] - 0.5) / 2 - found[0]
    assert np.abs(shift_px).max() < 3
    assert np.abs(np.median(shift_px, axis=0)).max() < 0.5


def test_the_openapi_document_is_the_one_in_docs(client: httpx.Client) -> None:
    served = client.get("/openapi.json").json()
    checked_in = json.loads(OPENAPI.read_text())
    del served["info"]["version"], checked_in["info"]["version"]
    assert served == checked_in, f"curl -s .../openapi.json | python -m json.tool > {OPENAPI.name}"
