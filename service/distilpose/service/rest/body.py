"""Read the three kinds of body of `POST /v1/pose`, within the byte limit, as images and options."""

import asyncio
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from starlette.requests import Request

from distilpose.model.formats import MEDIA_TYPES
from distilpose.model.pictures.source import EncodedImage
from distilpose.service.errors import (
    InvalidOptions,
    InvalidRequest,
    NotSent,
    TooLarge,
    UndecodableImage,
    UnsupportedEncoding,
)
from distilpose.service.intake import (
    OptionsBody,
    OptionsLimits,
    check_images,
    options_from_json,
)
from distilpose.service.pipeline.memory import Holding
from distilpose.service.printable import excerpt
from distilpose.service.rest.coco import MOST_IMAGE_ID, number_of
from distilpose.service.rest.multipart import Form
from distilpose.service.rest.request import Parsed, parse_query, read_json

IMAGE_MEDIA_TYPES: Final = (*MEDIA_TYPES, "application/octet-stream", "*/*")
"""Types of a body that is an image. Any other type says so too, as does none: the bytes decide."""

_JSON_PIECE_BYTES: Final = 8 * 1024
_FORM_PIECE_BYTES: Final = 64 * 1024
"""Sizes of pieces whose reading takes a few milliseconds at most, whatever they hold."""
_LONGEST_TURN_SECONDS: Final = 0.002
"""After so long on a chunk of a body, the event loop serves others first."""
_WATCHED_SECONDS: Final = 1.0
"""The time for which an arriving body may still be refused for want of room. Of many bodies that
arrive together few fit, and most of their bytes need not be kept. One that takes longer has paid
enough to be looked at."""
_SHOWN_NAMES: Final = 5
_NO_IMAGES: Final = {
    b"{": "application/json",
    b"[": "application/json",
    b"--": "multipart/form-data with a boundary",
}
"""Beginnings of bodies that are no image, and the content types that they probably have."""


async def read_body(
    request: Request,
    *,
    deadline: float,
    max_bytes: int,
    limits: OptionsLimits,
    holding: Holding,
    check_room: Callable[[], None],
) -> Parsed:
    """Read the images and options of a request, according to its content type.

    Anything but JSON and a form is one image: many tools send a photo under a wrong type, or none.

    A fault is told as soon as it has arrived. The bytes are held as they arrive, those of a large
    body when its first part has; in the first second `check_room` may still refuse them.

    Raises:
        UnsupportedEncoding: the body, or a part of it, is compressed or encoded as a whole.
        TooLarge: more bytes, images or text in the options than allowed.
        InvalidRequest: malformed, or without an image.
        InvalidOptions: an option unknown or out of range.
        UndecodableImage: JSON or a form was sent under another content type.
        NotSent: the caller did not send all of it in time.
        Overloaded: there was no memory for the body, or no room for its images.
    """
    _refuse_encoded(request)
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            async with aclosing(_limited_stream(request, max_bytes, holding, check_room)) as chunks:
                images, options = await _read(request, chunks, limits)
    except TimeoutError as err:
        raise NotSent("the deadline passed before the whole body arrived") from err
    check_images(images, max_images=limits.max_images)
    return images, options


async def _read(request: Request, chunks: AsyncIterator[bytes], limits: OptionsLimits) -> Parsed:
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        _refuse_query(request)
        return await _read_multipart(chunks, content_type, limits)
    if media_type == "application/json":
        _refuse_query(request)
        async with aclosing(_pieces(chunks, _JSON_PIECE_BYTES)) as pieces:
            return await read_json(pieces, limits)
    of_one = replace(limits, max_images=1)
    identity, options = parse_query(request.query_params.multi_items(), of_one)
    _check_query_id(identity, options)
    content = await _read_image(chunks)
    _refuse_misnamed(content, media_type)
    return [EncodedImage(content, identity)], options


def _refuse_encoded(request: Request) -> None:
    given = ",".join(request.headers.getlist("content-encoding")).lower()
    for coding in map(str.strip, given.split(",")):
        if coding not in ("", "identity"):
            raise UnsupportedEncoding(
                f"content-encoding '{excerpt(coding)}': send the body as it is (identity)"
            )


def _check_query_id(identity: str | None, options: OptionsBody) -> None:
    if options.format == "coco" and identity is not None and number_of(identity) is None:
        raise InvalidOptions(
            f"id '{excerpt(identity)}': with format coco it becomes the image_id, a whole number "
            f"from 0 to {MOST_IMAGE_ID}, or a file name of digits such as 000000000139.jpg"
        )


def _refuse_misnamed(content: bytes, media_type: str) -> None:
    """Refuse what begins as no image does, but as JSON or a form."""
    start = content[:64].lstrip()
    for beginning, right_type in _NO_IMAGES.items():
        if start.startswith(beginning):
            given = f"content type '{excerpt(media_type)}'" if media_type else "no content type"
            raise UndecodableImage(
                f"the body has {given} and is taken for an image, which it is not; "
                f"is it {right_type}?"
            )


async def _limited_stream(
    request: Request, max_bytes: int, holding: Holding, check_room: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """The body's chunks; refuses by the declared length before reading, then by the bytes read."""
    began_at = time.monotonic()
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooLarge(f"the body has {declared} bytes, the limit is {max_bytes}")
    at_most_bytes = int(declared) if declared.isdigit() else max_bytes
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"the body exceeds the limit of {max_bytes} bytes")
        if time.monotonic() < began_at + _WATCHED_SECONDS:
            check_room()
        await holding.receive(len(chunk), at_most_bytes=at_most_bytes, accepted_at=began_at)
        yield chunk
    holding.shrink_to(received)


async def _pieces(chunks: AsyncIterator[bytes], size_bytes: int) -> AsyncGenerator[bytes, None]:
    """The chunks in pieces; between those that took long to read, the event loop serves others."""
    async for chunk in chunks:
        turn_ends = time.perf_counter() + _LONGEST_TURN_SECONDS
        for start in range(0, len(chunk), size_bytes):
            yield chunk[start : start + size_bytes]
            if time.perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.perf_counter() + _LONGEST_TURN_SECONDS


async def _read_image(chunks: AsyncIterator[bytes]) -> bytes:
    # BytesIO grows in place and gives its bytes away: nothing is copied twice.
    content = io.BytesIO()
    async for chunk in chunks:
        content.write(chunk)
    return content.getvalue()


def _refuse_query(request: Request) -> None:
    if request.query_params:
        names = sorted(request.query_params)
        listed = ", ".join(map(excerpt, names[:_SHOWN_NAMES]))
        raise InvalidRequest(f"{listed}: with this content type, options belong in the body")


async def _read_multipart(
    chunks: AsyncIterator[bytes], content_type: str, limits: OptionsLimits
) -> Parsed:
    form = Form(content_type, limits)
    async with aclosing(_pieces(chunks, _FORM_PIECE_BYTES)) as pieces:
        async for piece in pieces:
            form.write(piece)
    images: list[EncodedImage] = []
    options: OptionsBody | None = None
    for part in form.parts():
        if part.name == "images" and part.filename is not None:
            images.append(EncodedImage(part.content, part.filename or None))
        elif part.name == "options" and options is None:
            options = options_from_json(part.content, limits)
        elif part.name == "images":
            raise InvalidRequest("part `images` must be a file (give it a file name)")
        else:
            raise InvalidRequest(
                f"part '{excerpt(part.name)}': expected `images` (files) and at most one `options`"
            )
    return images, options or OptionsBody()
