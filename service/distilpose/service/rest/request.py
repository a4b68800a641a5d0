"""Convert REST input (JSON bodies, query strings) to domain objects."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from distilpose.model.pictures.source import EncodedImage
from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.intake import (
    MOST_ID_CHARACTERS,
    OptionsBody,
    OptionsLimits,
    checked_options,
    explain,
    options_from_json,
)
from distilpose.service.printable import excerpt
from distilpose.service.rest.base64_text import NotBase64
from distilpose.service.rest.json_text import JsonText, TooMuchText

ImageId = str | int | None
Parsed: TypeAlias = tuple[list[EncodedImage], OptionsBody]

_IMAGE_ID: Final[TypeAdapter[ImageId]] = TypeAdapter(ImageId)
_MOST_ID_BYTES: Final = 16 + 6 * MOST_ID_CHARACTERS
"""Of an id as JSON, each of its characters escaped."""
_MOST_ID_TOKENS: Final = 16


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageBody(_Strict):
    """One image of a JSON body."""

    content: str = Field(
        description="The image file, encoded as base64: in either alphabet, with or without "
        "padding, line breaks, and `data:<type>;base64,` in front."
    )
    id: ImageId = Field(
        None,
        description=f"Your own id for the image, of at most {MOST_ID_CHARACTERS} characters; "
        "returned in the answer. With format coco its number, or that of a file name of digits, "
        "is the image_id.",
    )


class PoseBody(_Strict):
    """The JSON body of `POST /v1/pose`."""

    # Only describes the body: `read_json` reads it, in pieces.
    images: list[ImageBody] = Field(min_length=1)
    options: OptionsBody = Field(default_factory=OptionsBody)


async def read_json(pieces: AsyncIterator[bytes], limits: OptionsLimits) -> Parsed:
    """The images and options of a JSON body, refused at the first fault, while it arrives.

    Raises:
        InvalidRequest: not JSON, a field missing, unknown or given twice, or content that is not
            base64.
        TooLarge: more images, or more text in the options or an id, than the limits.
        InvalidOptions: an option unknown or out of range.
    """
    text = JsonText(pieces)
    if not await text.open("{"):
        raise InvalidRequest("the body: expected an object")
    images: list[EncodedImage] | None = None
    options: OptionsBody | None = None
    async for name in _Names(text, PoseBody.model_fields):
        if name == "images":
            images = await _read_images(text, limits.max_images)
        else:
            options = await _read_options(text, limits)
    await text.end()
    if images is None:
        raise InvalidRequest("images: Field required")
    return images, options or OptionsBody()


class _Names:
    """The names of an open object, in order. The value of each must be read before the next."""

    def __init__(self, text: JsonText, known: Collection[str], place: str = "") -> None:
        self._text = text
        self._place = place
        self._known = known
        self._given: set[str] = set()

    def __aiter__(self) -> "_Names":
        return self

    async def __anext__(self) -> str:
        if not await self._text.more():
            raise StopAsyncIteration
        name = await self._text.name()
        if name not in self._known:
            raise InvalidRequest(f"{self._place}{excerpt(name)}: Extra inputs are not permitted")
        if name in self._given:
            raise InvalidRequest(f"{self._place}{name}: given twice")
        self._given.add(name)
        return name


async def _read_images(text: JsonText, max_images: int) -> list[EncodedImage]:
    if not await text.open("["):
        raise InvalidRequest("images: expected an array")
    images: list[EncodedImage] = []
    while await text.more():
        if len(images) == max_images:
            raise TooLarge(f"more than {max_images} images, which is the limit")
        images.append(await _read_image(text, f"images.{len(images)}"))
    if not images:
        raise InvalidRequest("images: expected at least one image")
    return images


async def _read_image(text: JsonText, place: str) -> EncodedImage:
    if not await text.open("{"):
        raise InvalidRequest(f"{place}: expected an object")
    content: bytes | None = None
    identity: ImageId = None
    async for name in _Names(text, ImageBody.model_fields, f"{place}."):
        if name == "content":
            content = await _read_content(text, f"{place}.content")
        else:
            identity = await _read_id(text, f"{place}.id")
    if content is None:
        raise InvalidRequest(f"{place}.content: Field required")
    return EncodedImage(content, identity)


async def _read_content(text: JsonText, place: str) -> bytes:
    try:
        content = await text.base64()
    except NotBase64 as err:
        raise InvalidRequest(f"{place}: not base64: {err}") from err
    if content is None:
        raise InvalidRequest(f"{place}: expected a string")
    return content


async def _read_id(text: JsonText, place: str) -> ImageId:
    try:
        identity = await text.value(most_bytes=_MOST_ID_BYTES, most_tokens=_MOST_ID_TOKENS)
        return _IMAGE_ID.validate_json(identity)
    except ValidationError as err:
        raise InvalidRequest(explain(err, place)) from err
    except TooMuchText as err:
        raise TooLarge(
            f"{place}: expected an integer, or a string of at most {MOST_ID_CHARACTERS} characters"
        ) from err


async def _read_options(text: JsonText, limits: OptionsLimits) -> OptionsBody:
    try:
        options = await text.value(most_bytes=limits.json_bytes, most_tokens=limits.json_tokens)
    except TooMuchText as err:
        raise limits.exceeded() from err
    return options_from_json(options, limits, place="options", malformed=InvalidRequest)


def parse_query(
    items: Sequence[tuple[str, str]], limits: OptionsLimits
) -> tuple[str | None, OptionsBody]:
    """The image's id and the options from a query string; `boxes` is JSON.

    Raises:
        TooLarge: the boxes have more text than the limits.
        InvalidOptions: an option unknown, given twice, or out of range.
    """
    values: dict[str, Any] = {}
    for name, text in items:
        if name != "id" and name not in OptionsBody.model_fields:
            raise InvalidOptions(f"{excerpt(name)}: Extra inputs are not permitted")
        if name in values:
            raise InvalidOptions(f"{excerpt(name)}: given twice")
        values[name] = text
    if "boxes" in values:
        only_boxes = f'{{"boxes": {values["boxes"]}}}'.encode(errors="replace")
        values["boxes"] = options_from_json(only_boxes, limits).boxes
    identity = values.pop("id", None)
    return identity, checked_options(values)
