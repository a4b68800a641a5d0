"""Read the three kinds of body of `POST /v1/pose`, within the byte limit, as images and options."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Final, TypeVar

from starlette.requests import Request

from distilpose.model.formats import MEDIA_TYPES
from distilpose.model.pictures.source import EncodedImage
from distilpose.service.errors import (
    InvalidRequest,
    NotSent,
    TooLarge,
    UnsupportedMediaType,
)
from distilpose.service.intake import OptionsBody, check_images, read_in_thread_if_large
from distilpose.service.printable import excerpt
from distilpose.service.rest.multipart import read_parts
from distilpose.service.rest.request import parse_body, parse_options_json, parse_options_query

IMAGE_MEDIA_TYPES: Final = (*MEDIA_TYPES, "application/octet-stream")

T = TypeVar("T")
Parsed = tuple[list[EncodedImage], OptionsBody]


async def read_body(
    request: Request, *, deadline: float, max_bytes: int, max_images: int
) -> Parsed:
    """Read the images and options of a request, according to its content type.

    Raises:
        UnsupportedMediaType: the content type is not accepted.
        TooLarge: more bytes or images than allowed.
        InvalidRequest: malformed, or without an image.
        NotSent: the caller did not send all of it in time.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            images, options = await _read(request, max_bytes, max_images)
    except TimeoutError as err:
        raise NotSent("the deadline passed before the whole body arrived") from err
    check_images(images, max_images=max_images)
    return images, options


async def _read(request: Request, max_bytes: int, max_images: int) -> Parsed:
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        _refuse_query(request)
        parse = partial(_parse_multipart, content_type=content_type, max_images=max_images)
        return await _read_and(request, max_bytes, parse)
    if media_type == "application/json":
        _refuse_query(request)
        return await _read_and(request, max_bytes, parse_body)
    if media_type in IMAGE_MEDIA_TYPES:
        image = await _read_and(request, max_bytes, EncodedImage)
        return [image], parse_options_query(request.query_params.multi_items())
    accepted = ", ".join(("multipart/form-data", "application/json", *IMAGE_MEDIA_TYPES))
    given = excerpt(media_type) or "missing"
    raise UnsupportedMediaType(f"content type '{given}'; accepted: {accepted}")


async def _limited_stream(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks; refuses by the declared length before reading, then by the bytes read."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooLarge(f"the body has {declared} bytes, the limit is {max_bytes}")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"the body exceeds the limit of {max_bytes} bytes")
        yield chunk


async def _read_and(request: Request, max_bytes: int, parse: Callable[[bytes], T]) -> T:
    chunks = [chunk async for chunk in _limited_stream(request, max_bytes)]

    def join_and_parse() -> T:
        body = b"".join(chunks)
        chunks.clear()
        return parse(body)

    return await read_in_thread_if_large(sum(map(len, chunks)), join_and_parse)


def _refuse_query(request: Request) -> None:
    if request.query_params:
        names = excerpt(", ".join(sorted(request.query_params)))
        raise InvalidRequest(f"{names}: with this content type, options belong in the body")


def _parse_multipart(body: bytes, *, content_type: str, max_images: int) -> Parsed:
    images: list[EncodedImage] = []
    options: OptionsBody | None = None
    for part in read_parts(body, content_type, max_images=max_images):
        if part.name == "images" and part.filename is not None:
            images.append(EncodedImage(part.content, part.filename or None))
        elif part.name == "options" and options is None:
            options = parse_options_json(part.content)
        elif part.name == "images":
            raise InvalidRequest("part `images` must be a file (give it a file name)")
        else:
            raise InvalidRequest(
                f"part '{excerpt(part.name)}': expected `images` (files) and at most one `options`"
            )
    return images, options or OptionsBody()
