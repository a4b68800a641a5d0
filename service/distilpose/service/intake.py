"""The part of a request's validation that both front ends share: options, defaults, limits."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from distilpose.model.errors import one_line
from distilpose.model.pictures.source import EncodedImage, Source
from distilpose.service.domain import Options
from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.printable import excerpt
from distilpose.service.settings import DetectorSettings, LimitsSettings, Settings

_READ_ON_THE_LOOP_BYTES: Final = 256 * 1024
MOST_ID_CHARACTERS: Final = 1024
"""Length of an image's id, which the answer returns as it is."""

_AS_LONG_AS: Final = 0.9
"""The share of our own time limit from which a caller's deadline counts as equally long: what the
way to us took is gone from it already."""

T = TypeVar("T")


def is_shorter(deadline_seconds: float | None, *, than: float) -> bool:
    """Return True if a caller's deadline is shorter than our limit, so that it is its own choice.

    Both are in seconds from the request's arrival; None stands for no deadline.
    """
    return deadline_seconds is not None and deadline_seconds < _AS_LONG_AS * than


async def read_in_thread_if_large(size_bytes: int, read: Callable[[], T]) -> T:
    """Return `read()`, run in a thread if there are many bytes, to keep the event loop free."""
    return read() if size_bytes <= _READ_ON_THE_LOOP_BYTES else await asyncio.to_thread(read)


def check_images(images: Sequence[Source], *, max_images: int) -> None:
    """Check the number of images in a request, and their ids.

    Raises:
        InvalidRequest: there is no image.
        TooLarge: there are more than the limit, or an id is longer than `MOST_ID_CHARACTERS`.
    """
    match images:
        case [] | [EncodedImage(content=b"")]:
            raise InvalidRequest("the request holds no image")
    if len(images) > max_images:
        raise TooLarge(f"{len(images)} images, the limit is {max_images}")
    for index, image in enumerate(images):
        if isinstance(image.id, str) and len(image.id) > MOST_ID_CHARACTERS:
            raise TooLarge(
                f"images[{index}]: its id has {len(image.id)} characters, "
                f"the limit is {MOST_ID_CHARACTERS}"
            )


def _ordered_corners(box: Sequence[float]) -> Sequence[float]:
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"expected x1 < x2 and y1 < y2, got {list(box)}")
    return box


BoxXyxy = Annotated[
    list[FiniteFloat], Field(min_length=4, max_length=4), AfterValidator(_ordered_corners)
]


class OptionsBody(BaseModel):
    """The options of a request; the same for all its images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_box_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Minimum box score; people below it are dropped. Default: the server's "
        f"setting, {DetectorSettings().min_box_score} unless changed.",
    )
    min_keypoint_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Minimum keypoint score; keypoints below it are answered with `visible: false` "
        f"and not drawn. Default: the server's setting, {LimitsSettings().min_keypoint_score} "
        "unless changed.",
    )
    max_people: int | None = Field(
        None,
        ge=1,
        description="Maximum number of people; those with the best box scores are kept. "
        "Default and limit: the server's setting.",
    )
    boxes: list[list[BoxXyxy]] | None = Field(
        None,
        description="One list of boxes [x1, y1, x2, y2] per image, in pixels; skips the detector.",
    )
    whole_image: bool = Field(
        False, description="Treat each image as one person's box; skips the detector."
    )
    flip_test: bool = Field(
        False,
        description="Average the predictions for each crop and its mirror image; slower, more "
        "accurate.",
    )
    format: Literal["poses", "coco"] = Field(
        "poses",
        description="Format of the answer: `poses`, or `coco` for entries of a COCO results file.",
    )
    draw_sigma: bool = Field(
        False,
        description="Draw an ellipse of one sigma, the predicted spread, around each visible "
        "keypoint. Accepted only for a drawn answer.",
    )

    def resolve(self, settings: Settings, *, images: int) -> Options:
        """The options with the server's defaults filled in.

        Raises:
            InvalidOptions: an option exceeds the server's limit, or boxes do not match the images.
            TooLarge: an image has more boxes than the maximum number of people.
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
    """Validate options given as a mapping.

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
    """Describe a request's first validation error in one line of bounded length."""
    return one_line(err, most=5, shown=excerpt)
