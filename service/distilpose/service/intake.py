"""What both front ends do with a request before the pipeline: options, defaults and limits."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from distilpose.model.errors import one_line
from distilpose.model.pictures.source import EncodedImage, Source
from distilpose.service.domain import Options
from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.settings import DetectorSettings, LimitsSettings, Settings

_READ_ON_THE_LOOP_BYTES: Final = 256 * 1024

T = TypeVar("T")


async def read_in_thread_if_large(size_bytes: int, read: Callable[[], T]) -> T:
    """What `read` makes of so many bytes; where they are many, the event loop goes on meanwhile."""
    return read() if size_bytes <= _READ_ON_THE_LOOP_BYTES else await asyncio.to_thread(read)


def check_images(images: Sequence[Source], *, max_images: int) -> None:
    """Return if so many images may come at once.

    Raises:
        InvalidRequest: there is none.
        TooLarge: more than the limit.
    """
    match images:
        case [] | [EncodedImage(content=b"")]:
            raise InvalidRequest("the request holds no image")
    if len(images) > max_images:
        raise TooLarge(f"{len(images)} images, the limit is {max_images}")


def _ordered_corners(box: Sequence[float]) -> Sequence[float]:
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"expected x1 < x2 and y1 < y2, got {list(box)}")
    return box


BoxXyxy = Annotated[
    list[FiniteFloat], Field(min_length=4, max_length=4), AfterValidator(_ordered_corners)
]


class OptionsBody(BaseModel):
    """How to answer; the same for all images of the request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_box_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Boxes below are dropped. Default: the server's, "
        f"{DetectorSettings().min_box_score} unless it is set otherwise.",
    )
    min_keypoint_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Keypoints below are flagged `visible: false` and not drawn. Default: the "
        f"server's, {LimitsSettings().min_keypoint_score} unless it is set otherwise.",
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
    draw_sigma: bool = Field(
        False,
        description="Draws an ellipse of one sigma around each visible keypoint: how far it may be "
        "off. Accepted only when the answer is a picture.",
    )

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
            min_keypoint_score=settings.limits.min_keypoint_score
            if self.min_keypoint_score is None
            else self.min_keypoint_score,
            boxes=_box_arrays(self.boxes, images=images, limit=limit),
            whole_image=self.whole_image,
            flip_test=self.flip_test,
            format=self.format,
            draw_sigma=self.draw_sigma,
        )


def checked_options(given: Mapping[str, Any]) -> OptionsBody:
    """The options as a body has them.

    Raises:
        InvalidOptions: an option unknown or out of range.
    """
    try:
        return OptionsBody.model_validate(given)
    except ValidationError as err:
        raise InvalidOptions(explain(err)) from err


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


def explain(err: ValidationError) -> str:
    """What is wrong with a request, in one line of a bounded length."""
    return one_line(err, most=5)
