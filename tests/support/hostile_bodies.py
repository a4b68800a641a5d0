"""Bodies and messages within the limits of bytes that ask for as much work as they can."""

import base64
import json
from collections.abc import Callable
from typing import NamedTuple

from distilpose.v1 import pose_pb2
from odd_images import encode, noise

MEBIBYTE = 2**20
MANY = 31 * MEBIBYTE
"""Almost as many bytes as a body may have."""
MANY_FIELDS = 8 * MEBIBYTE
"""Of a message: fewer, since gRPC itself copies a message twice before anyone may refuse it."""
BOUNDARY = "x"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
_IMAGE = '{"content": "AAAA"}'
_PART = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
PHOTO = encode(noise(16, 16), "png")


class Body(NamedTuple):
    """A body of `POST /v1/pose`, and the status of its answer."""

    status: int
    content: bytes
    media_type: str = "application/json"


def _fill(start: str, repeated: str, end: str = "", *, size: int = MANY) -> bytes:
    """`repeated` between `start` and `end`, as often as fits."""
    count = (size - len(start) - len(end)) // len(repeated)
    return (start + repeated * count + end).encode()


def _options(start: str, repeated: str, end: str = "", *, size: int = MANY) -> bytes:
    return _fill(f'{{"images": [{_IMAGE}], "options": {start}', repeated, end, size=size)


def _names(count: int) -> str:
    return ",".join(f'"name{i}": {i}' for i in range(count))


def _multipart(name: str, content: bytes, *, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'{_PART}"{name}"{file}\r\n\r\n'.encode() + content + f"\r\n--{BOUNDARY}--".encode()


def _longest_options() -> bytes:
    boxes = json.dumps([[[0.1 + 0.2, 1 / 3, 1000 / 3, "x"]] * 50] * 32)
    return f'{{"images": [{_IMAGE}], "options": {{"boxes": {boxes}}}}}'.encode()


BODIES: dict[str, Callable[[], Body]] = {
    "wrong boxes, 0.25 MB": lambda: Body(
        413, _options('{"boxes": [[', "[1],", "[1]]]}}", size=MEBIBYTE // 4)
    ),
    "wrong boxes": lambda: Body(413, _options('{"boxes": [[', "[1],", "[1]]]}}")),
    "empty boxes": lambda: Body(413, _options('{"boxes": [', "[],", "[]]}}")),
    "numbers for boxes": lambda: Body(413, _options('{"boxes": [[[', "1,", "1]]]}}")),
    "texts for boxes": lambda: Body(413, _options('{"boxes": [[[', '"",', '""]]]}}')),
    "a box wrong at the end": lambda: Body(422, _longest_options()),
    "deep boxes": lambda: Body(413, _options('{"boxes": ', "[")),
    "deep options": lambda: Body(413, _options("", '{"a":')),
    "many options": lambda: Body(413, _options("{", '"a": 1,', '"b": 1}}')),
    "61 options": lambda: Body(422, _options(f"{{{_names(61)}}}}}", " ", size=100_000)),
    "a long option": lambda: Body(413, _options('{"', "n", '": 1}}', size=4 * MEBIBYTE)),
    "a long option's value": lambda: Body(413, _options('{"format": "', "\\n", '"}}')),
    "a long number": lambda: Body(413, _options('{"max_people": ', "9", "}}")),
    "blank options": lambda: Body(413, _options("{", " ", "}}")),
    "no images": lambda: Body(400, _fill('{"images": [', "{},", "{}]}")),
    "many images": lambda: Body(413, _fill('{"images": [', f"{_IMAGE},", f"{_IMAGE}]}}")),
    "lists for images": lambda: Body(400, _fill('{"images": [', "[],", "[]]}")),
    "deep images": lambda: Body(400, _fill('{"images": ', "[")),
    "many names": lambda: Body(400, _fill("{", '"images": [],', '"options": {}}')),
    "a long name": lambda: Body(400, _fill('{"', "n", '": 1}')),
    "a long name of escapes": lambda: Body(400, _fill('{"', "\\n", '": 1}')),
    "a long name in an image": lambda: Body(
        400, _fill('{"images": [{"', "é", '": 1}]}', size=15 * MEBIBYTE)
    ),
    "a long id": lambda: Body(413, _fill('{"images": [{"id": "', "i", '"}]}')),
    "a long number for an id": lambda: Body(413, _fill('{"images": [{"id": ', "1", "}]}")),
    "quotes": lambda: Body(400, _fill("", '"')),
    "blanks": lambda: Body(400, _fill("", "\n\t ")),
    "blanks and nothing": lambda: Body(400, _fill("{", " ", "}")),
    "escapes for base64": lambda: Body(
        422, _fill('{"images": [{"content": "', "\\u0041\\u0041\\u0041\\u0041", '"}]}')
    ),
    "slashes for base64": lambda: Body(
        422, _fill('{"images": [{"content": "', "\\/\\/\\/\\/", '"}]}')
    ),
    "base64 that is none at its end": lambda: Body(
        400, _fill('{"images": [{"content": "', "AAAA", '!"}]}')
    ),
    "base64": lambda: Body(
        422, b'{"images": [{"content": "' + base64.b64encode(bytes(23 * MEBIBYTE)) + b'"}]}'
    ),
    "zeros": lambda: Body(422, bytes(MANY), "image/jpeg"),
    "many parts": lambda: Body(
        400, _fill("", f'{_PART}"options"\r\n\r\n{{}}\r\n', f"--{BOUNDARY}--"), MULTIPART
    ),
    "many files": lambda: Body(
        413, _fill("", f'{_PART}"images"; filename="a"\r\n\r\nA\r\n', f"--{BOUNDARY}--"), MULTIPART
    ),
    "a long part of options": lambda: Body(
        413, _multipart("options", _fill('{"boxes": [[', "[1],", "[1]]]}")), MULTIPART
    ),
    "wrong boxes in a part": lambda: Body(
        413, _multipart("options", _fill("[", "[],", "[]]", size=400_000)), MULTIPART
    ),
    "a part with a long name": lambda: Body(400, _multipart("n" * 2 * MEBIBYTE, b""), MULTIPART),
    "a file with a long name": lambda: Body(
        413, _multipart("images", b"A", filename="n" * 4000), MULTIPART
    ),
    "a long header of a part": lambda: Body(400, _fill(f"--{BOUNDARY}\r\na: ", "b"), MULTIPART),
    "many headers of a part": lambda: Body(400, _fill(f"--{BOUNDARY}\r\n", "a: b\r\n"), MULTIPART),
    "almost boundaries": lambda: Body(
        422, _multipart("images", _fill("", "\r\n-\r\n--\r", ""), filename="a"), MULTIPART
    ),
    "no boundary": lambda: Body(400, bytes(MANY), MULTIPART),
    "text after the form": lambda: Body(400, _fill(f"--{BOUNDARY}--\r\n", "--x\r\n"), MULTIPART),
    "a long content type": lambda: Body(422, b"{", "text/" + "x" * 30_000),
    "a long type of a form": lambda: Body(400, b"", MULTIPART + ";a=b" * 8_000),
}
"""Bodies that are refused, and some that no decoder accepts."""


CHUNKS_OF_A_BYTE = b"1\r\nA\r\n" * (MEBIBYTE) + b"0\r\n\r\n"
"""A body in the chunked transfer coding."""


def _field(number: int, data: bytes) -> bytes:
    size, text = len(data), bytearray()
    while size > 127:
        text.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *text, size]) + data


def _images(data: bytes) -> bytes:
    return _field(1, data) * (MANY_FIELDS // (len(data) + 2))


MESSAGES: dict[str, Callable[[], bytes]] = {
    "empty images": lambda: _images(b""),
    "images with ids": lambda: _images(_field(3, b"a")),
    "an image of many": lambda: _field(1, b"\x0a\0" * (MANY_FIELDS // 2)),
    "a raw image of many": lambda: _field(1, _field(2, b"\x08\1" * (MANY_FIELDS // 2))),
    "an image with a long id": lambda: pose_pb2.EstimatePoseRequest(
        images=[pose_pb2.Image(encoded=PHOTO, id="i" * 4 * MEBIBYTE)]
    ).SerializeToString(),
    "empty boxes": lambda: _field(2, _field(4, b"") * (MANY_FIELDS // 2)),
    "boxes": lambda: _field(2, _field(4, _field(1, b"") * (MANY_FIELDS // 2))),
    "boxes in many options": lambda: _field(2, _field(4, _field(1, b"") * 20_000)) * 100,
    "unknown numbers": lambda: b"\x78\0" * (MANY_FIELDS // 2),
    "unknown groups": lambda: b"\x7b\x7c" * (MANY_FIELDS // 2),
    "a long unknown field of options": lambda: _field(2, _field(9, bytes(MANY_FIELDS))),
    "zeros": lambda: bytes(MANY_FIELDS),
}
"""Messages to EstimatePose, each refused with INVALID_ARGUMENT."""
