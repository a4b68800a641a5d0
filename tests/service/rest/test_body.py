"""Bodies of `POST /v1/pose` by their content types and encodings."""

import time
from typing import Any

import pytest
from starlette.requests import Request

from distilpose.model.pictures.source import EncodedImage
from distilpose.service.errors import (
    InvalidOptions,
    InvalidRequest,
    UndecodableImage,
    UnsupportedEncoding,
)
from distilpose.service.intake import OptionsLimits
from distilpose.service.pipeline.memory import Memory
from distilpose.service.rest.body import read_body
from distilpose.service.rest.request import Parsed
from distilpose.service.settings import MEBIBYTE
from distilpose.service.words import MemoryPart

BODY = b"\xff\xd8\xff any bytes"
LIMITS = OptionsLimits(max_images=3, max_people=5)


async def read(body: bytes, *headers: tuple[str, str], query: str = "", size: int = 7) -> Parsed:
    """The images and options of a request whose body arrives in pieces of that size."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {
        "type": "http",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    with Memory(100 * MEBIBYTE).hold(MemoryPart.BODIES) as holding:
        return await read_body(
            Request(scope, receive),
            deadline=time.monotonic() + 10,
            max_bytes=MEBIBYTE,
            limits=LIMITS,
            holding=holding,
            check_room=lambda: None,
        )


def form(part_headers: str, content: bytes = BODY) -> bytes:
    disposition = 'content-disposition: form-data; name="images"; filename="a.jpg"'
    head = f"--x\r\n{disposition}\r\n{part_headers}\r\n"
    return head.encode() + content + b"\r\n--x--\r\n"


FORM = ("content-type", "multipart/form-data; boundary=x")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "image/jpg",
        "image/jpeg; charset=binary",
        "IMAGE/JPEG",
        "image/heic",
        "application/x-www-form-urlencoded",  # curl's, where none is given
        "application/octet-stream",
        "binary/octet-stream",
        "text/plain",
        "video/mp4",
        "multipart/mixed; boundary=x",
        "nonsense",
    ],
)
async def test_a_body_of_any_other_type_is_an_image(content_type: str | None) -> None:
    headers = [] if content_type is None else [("content-type", content_type)]
    images, options = await read(BODY, *headers, query="flip_test=1&id=a")
    assert images == [EncodedImage(BODY, "a")]
    assert options.flip_test


@pytest.mark.parametrize("content_type", ["application/JSON", "application/json; charset=utf-8"])
async def test_json_is_no_image(content_type: str) -> None:
    images, _ = await read(b'{"images": [{"content": "AAAA"}]}', ("content-type", content_type))
    assert images == [EncodedImage(b"\0\0\0")]


@pytest.mark.parametrize(
    "headers", ["", "content-type: text/plain\r\n", "content-type: image/jpg\r\n", "x-any: b\r\n"]
)
async def test_a_part_of_any_type_is_an_image(headers: str) -> None:
    images, _ = await read(form(headers), FORM)
    assert images == [EncodedImage(BODY, "a.jpg")]


@pytest.mark.parametrize("content_type", [None, "image/jpeg", "text/plain"])
async def test_no_bytes_are_no_image(content_type: str | None) -> None:
    headers = [] if content_type is None else [("content-type", content_type)]
    with pytest.raises(InvalidRequest, match="holds no image"):
        await read(b"", *headers)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b' {"images": []}', "is it application/json?"),
        (b"[1]", "is it application/json?"),
        (form(""), "is it multipart/form-data with a boundary?"),
    ],
)
async def test_json_or_a_form_of_a_wrong_type_is_named(body: bytes, words: str) -> None:
    sent = ("content-type", "application/x-www-form-urlencoded")
    with pytest.raises(UndecodableImage) as refusal:
        await read(body, sent)
    assert words in refusal.value.detail
    assert "'application/x-www-form-urlencoded'" in refusal.value.detail
    with pytest.raises(UndecodableImage, match="has no content type"):
        await read(body)


@pytest.mark.parametrize(
    ("codings", "named"),
    [
        (["gzip"], "gzip"),
        (["deflate"], "deflate"),
        (["identity, BR"], "br"),
        (["identity", "zstd"], "zstd"),
        (["x" * 900], "x" * 199),
    ],
)
@pytest.mark.parametrize("content_type", ["image/jpeg", "application/json", FORM[1]])
async def test_a_compressed_body_is_refused_whatever_it_holds(
    codings: list[str], named: str, content_type: str
) -> None:
    sent = [("content-encoding", coding) for coding in codings]
    with pytest.raises(UnsupportedEncoding) as refusal:
        await read(b"\x1f\x8b", ("content-type", content_type), *sent)
    assert f"content-encoding '{named}" in refusal.value.detail


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
async def test_a_body_as_it_is_may_say_so(coding: str) -> None:
    images, _ = await read(BODY, ("content-encoding", coding))
    assert images == [EncodedImage(BODY)]


@pytest.mark.parametrize(
    ("header", "is_refused"),
    [
        ("Content-Transfer-Encoding: base64", True),
        ("content-transfer-encoding: quoted-printable", True),
        ("Content-Encoding: gzip", True),
        ("Content-Transfer-Encoding: binary", False),
        ("Content-Transfer-Encoding: 8BIT", False),
        ("Content-Encoding: identity", False),
    ],
)
async def test_a_part_has_its_bytes_as_they_are(header: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(UnsupportedEncoding, match="of a part"):
            await read(form(f"{header}\r\n"), FORM)
    else:
        images, _ = await read(form(f"{header}\r\n"), FORM)
        assert images == [EncodedImage(BODY, "a.jpg")]


@pytest.mark.parametrize("identity", ["139", "000000000139.jpg", "val2017/000000000139.jpg"])
async def test_coco_takes_a_number_from_the_query(identity: str) -> None:
    images, _ = await read(BODY, query=f"format=coco&id={identity}")
    assert images[0].id == identity


@pytest.mark.parametrize("identity", ["bus.jpg", "", "-1", "1.5.jpg", "1e3"])
async def test_coco_refuses_another_id_of_the_query(identity: str) -> None:
    with pytest.raises(InvalidOptions, match=rf"id '{identity}': .* 9223372036854775807"):
        await read(BODY, query=f"format=coco&id={identity}")
    images, _ = await read(BODY, query=f"id={identity}")
    assert images[0].id == identity
