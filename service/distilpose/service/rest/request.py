"""Convert REST input (JSON bodies, multipart options, query strings) to domain objects."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distilpose.model.pictures.source import EncodedImage
from distilpose.service.errors import InvalidOptions, InvalidRequest
from distilpose.service.intake import MOST_ID_CHARACTERS, OptionsBody, explain
from distilpose.service.printable import excerpt

ImageId = str | int | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageBody(_Strict):
    """One image of a JSON body."""

    content: str = Field(description="The image file, encoded as base64.")
    id: ImageId = Field(
        None,
        description=f"Your own id for the image, of at most {MOST_ID_CHARACTERS} characters; "
        "returned in the answer.",
    )


class PoseBody(_Strict):
    """The JSON body of `POST /v1/pose`."""

    images: list[ImageBody] = Field(min_length=1)
    options: OptionsBody = Field(default_factory=OptionsBody)


def parse_body(body: bytes) -> tuple[list[EncodedImage], OptionsBody]:
    """A JSON body's images and options.

    Raises:
        InvalidRequest: not JSON, a field missing or unknown, or content that is not base64.
        InvalidOptions: an option unknown or out of range.
    """
    try:
        parsed = PoseBody.model_validate_json(body)
    except ValidationError as err:
        in_options = err.errors()[0]["loc"][:1] == ("options",)
        raise (InvalidOptions if in_options else InvalidRequest)(explain(err)) from err
    return [_decode_base64(image, i) for i, image in enumerate(parsed.images)], parsed.options


def _decode_base64(image: ImageBody, index: int) -> EncodedImage:
    try:
        return EncodedImage(base64.b64decode(image.content, validate=True), image.id)
    except (binascii.Error, ValueError) as err:
        raise InvalidRequest(f"images.{index}.content: not base64") from err


def parse_options_json(text: str | bytes) -> OptionsBody:
    """The `options` part of a multipart body.

    Raises:
        InvalidOptions: not JSON, or an option unknown or out of range.
    """
    try:
        return OptionsBody.model_validate_json(text)
    except ValidationError as err:
        raise InvalidOptions(explain(err)) from err


def parse_options_query(items: Sequence[tuple[str, str]]) -> OptionsBody:
    """Options from a query string; `boxes` is JSON.

    Raises:
        InvalidOptions: an option unknown, given twice, or out of range.
    """
    values: dict[str, Any] = {}
    for name, text in items:
        if name in values:
            raise InvalidOptions(f"{excerpt(name)}: given twice")
        values[name] = text
    try:
        if "boxes" in values:
            only_boxes = f'{{"boxes": {values.pop("boxes")}}}'
            values["boxes"] = OptionsBody.model_validate_json(only_boxes).boxes
        return OptionsBody.model_validate(values)
    except ValidationError as err:
        raise InvalidOptions(explain(err)) from err
