"""The three kinds of body of `POST /v1/pose`, read within the byte limit, to images and options."""

import asyncio
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import BinaryIO, Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from distilpose.service.domain import EncodedImage
from distilpose.service.errors import (
    DeadlineExceeded,
    InvalidRequest,
    TooLarge,
    UnsupportedMediaType,
)
from distilpose.service.intake import OptionsBody, check_images
from distilpose.service.schemas_request import parse_body, parse_options_json, parse_options_query

IMAGE_MEDIA_TYPES: Final = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/tiff",
    "image/avif",
    "application/octet-stream",
)
_HANDLED_ON_THE_LOOP_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 1024 * 1024
_OPTIONS_PART_BYTES: Final = 1024 * 1024

Parsed = tuple[list[EncodedImage], OptionsBody]


async def read_body(
    request: Request, *, deadline: float, max_bytes: int, max_images: int
) -> Parsed:
    """What the caller sent; the content type decides how it is read.

    Raises:
        UnsupportedMediaType: no such content type is accepted.
        TooLarge: more bytes or images than allowed.
        InvalidRequest: malformed, or without an image.
        DeadlineExceeded: the caller did not send all of it in time.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            images, options = await _read(request, max_bytes, max_images)
    except TimeoutError as err:
        raise DeadlineExceeded("the deadline passed before the whole body had come") from err
    check_images(images, max_images=max_images)
    return images, options


async def _read(request: Request, max_bytes: int, max_images: int) -> Parsed:
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _read_multipart(request, max_bytes, max_images)
    if media_type == "application/json":
        return await _read_json(request, max_bytes)
    if media_type in IMAGE_MEDIA_TYPES:
        body = await _read_all(request, max_bytes)
        return [EncodedImage(body)], parse_options_query(_query(request))
    accepted = ", ".join(("multipart/form-data", "application/json", *IMAGE_MEDIA_TYPES))
    raise UnsupportedMediaType(f"content type {media_type or 'missing'!r}; accepted: {accepted}")


def _query(request: Request) -> list[tuple[str, str]]:
    return request.query_params.multi_items()


async def _limited_stream(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks; refuses by the declared length before reading, then by what arrives."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooLarge(f"the body has {declared} bytes, the limit is {max_bytes}")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"the body has more than {max_bytes} bytes, the limit")
        yield chunk


async def _read_all(request: Request, max_bytes: int) -> bytes:
    chunks = [chunk async for chunk in _limited_stream(request, max_bytes)]
    if sum(map(len, chunks)) <= _HANDLED_ON_THE_LOOP_BYTES:
        return b"".join(chunks)
    return await asyncio.to_thread(b"".join, chunks)


async def _read_json(request: Request, max_bytes: int) -> Parsed:
    _refuse_query(request)
    body = await _read_all(request, max_bytes)
    if len(body) <= _HANDLED_ON_THE_LOOP_BYTES:
        return parse_body(body)
    return await asyncio.to_thread(parse_body, body)


class _InMemoryParser(MultiPartParser):
    """Keeps files in memory, whose size is limited already, so that no disk is needed."""

    spool_max_size = 2**62


async def _read_multipart(request: Request, max_bytes: int, max_images: int) -> Parsed:
    _refuse_query(request)
    parser = _InMemoryParser(
        request.headers,
        _limited_stream(request, max_bytes),
        max_files=max_images + 1,
        max_fields=2,
        max_part_size=_OPTIONS_PART_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as err:
        if err.message.startswith("Too many files"):
            raise TooLarge(f"more than {max_images} images, the limit") from err
        raise InvalidRequest(f"malformed multipart body: {err.message}") from err
    except (KeyError, UnicodeDecodeError) as err:
        raise InvalidRequest("malformed multipart body: no boundary, or not decodable") from err
    try:
        return await _parts(form)
    finally:
        await form.close()


def _refuse_query(request: Request) -> None:
    if request.query_params:
        names = ", ".join(sorted(request.query_params))
        raise InvalidRequest(f"{names}: with this content type, options belong into the body")


async def _parts(form: FormData) -> Parsed:
    images: list[EncodedImage] = []
    options: OptionsBody | None = None
    for name, value in form.multi_items():
        if name == "images" and isinstance(value, UploadFile):
            images.append(EncodedImage(await _contents(value), value.filename or None))
        elif name == "options" and options is None:
            text = await value.read() if isinstance(value, UploadFile) else value
            options = parse_options_json(text)
        elif name == "images":
            raise InvalidRequest("part `images` must be a file (give it a file name)")
        else:
            raise InvalidRequest(
                f"part {name[:80]!r}: expected `images` (files) and at most one `options`"
            )
    return images, options or OptionsBody()


async def _contents(upload: UploadFile) -> bytes:
    if (upload.size or 0) <= _HANDLED_ON_THE_LOOP_BYTES:
        return await upload.read()
    return await asyncio.to_thread(_read_in_pieces, upload.file)


def _read_in_pieces(file: BinaryIO) -> bytes:
    """All of it. Reading holds the interpreter, and so the event loop, for one piece at most."""
    return b"".join(iter(partial(file.read, _PIECE_BYTES), b""))
