"""What REST callers send: JSON bodies, multipart options and query strings, to domain objects."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from distilpose.service.domain import EncodedImage, Options
from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.settings import Settings

ImageId = str | int | None


def _ordered_corners(box: Sequence[float]) -> Sequence[float]:
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"expected x1 < x2 and y1 < y2, got {list(box)}")
    return box


BoxXyxy = Annotated[
    list[FiniteFloat], Field(min_length=4, max_length=4), AfterValidator(_ordered_corners)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OptionsBody(_Strict):
    """How to answer; the same for all images of the request."""

    min_box_score: float | None = Field(
        None, ge=0, le=1, description="Boxes below are dropped. Default: the server's, 0.25."
    )
    min_keypoint_score: float = Field(
        0, ge=0, le=1, description="Keypoints below are flagged `visible: false`."
    )
    max_people: int | None = Field(
        None, ge=1, description="The best-scored boxes are kept. Default and limit: the server's."
    )
    boxes: list[list[BoxXyxy]] | None = Field(
        None, description="For each image a list of [x1, y1, x2, y2]: skips the detector."
    )
    whole_image: bool = Field(False, description="One box, the image: skips the detector.")
    flip_test: bool = Field(False, description="Average with the mirrored crop: slower, better.")
    format: Literal["poses", "coco"] = Field("poses", description="`coco`: COCO results entries.")

    def resolve(self, settings: Settings, *, images: int) -> Options:
        """The options with the server's defaults filled in.

        Raises:
            InvalidOptions: an option above the server's limit, or boxes that do not fit the images.
            TooLarge: more boxes for an image than people are answered.
        """
        limit = settings.limits.max_people
        if self.max_people is not None and self.max_people > limit:
            raise InvalidOptions(f"max_people: at most {limit}, got {self.max_people}")
        if self.boxes is not None and self.whole_image:
            raise InvalidOptions("boxes and whole_image: give one or the other")
        return Options(
            min_box_score=settings.detector.min_box_score
            if self.min_box_score is None
            else self.min_box_score,
            max_people=self.max_people or limit,
            min_keypoint_score=self.min_keypoint_score,
            boxes=_box_arrays(self.boxes, images=images, limit=limit),
            whole_image=self.whole_image,
            flip_test=self.flip_test,
            format=self.format,
        )


def _box_arrays(
    boxes: list[list[BoxXyxy]] | None, *, images: int, limit: int
) -> list[np.ndarray[Any, np.dtype[np.float32]]] | None:
    if boxes is None:
        return None
    if len(boxes) != images:
        raise InvalidOptions(f"boxes: expected {images} lists, one an image, got {len(boxes)}")
    for index, of_image in enumerate(boxes):
        if len(of_image) > limit:
            raise TooLarge(f"boxes[{index}]: {len(of_image)} boxes, the limit is {limit}")
    return [np.array(of_image, np.float32).reshape(-1, 4) for of_image in boxes]


class ImageBody(_Strict):
    """One image of a JSON body."""

    content: str = Field(description="The image file, base64.")
    id: ImageId = Field(None, description="Your own name for it; it comes back in the answer.")


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
            raise InvalidOptions(f"{name}: given twice")
        values[name] = text
    try:
        if "boxes" in values:
            only_boxes = f'{{"boxes": {values.pop("boxes")}}}'
            values["boxes"] = OptionsBody.model_validate_json(only_boxes).boxes
        return OptionsBody.model_validate(values)
    except ValidationError as err:
        raise InvalidOptions(explain(err)) from err


def explain(err: ValidationError) -> str:
    """What is wrong, one line: where, and what was expected. Never repeats the input."""
    lines = []
    for error in err.errors(include_url=False, include_input=False)[:5]:
        place = ".".join(map(str, error["loc"]))
        lines.append(f"{place}: {error['msg']}" if place else error["msg"])
    return "; ".join(lines)
