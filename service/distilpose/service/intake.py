"""The part of a request's validation that both front ends share: options, defaults, limits."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
)

from distilpose.model.errors import one_line
from distilpose.model.pictures.source import EncodedImage, Source
from distilpose.service.domain import Options
from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.printable import excerpt
from distilpose.service.settings import DetectorSettings, LimitsSettings, Settings

_READ_ON_THE_LOOP_BYTES: Final = 256 * 1024
MOST_ID_CHARACTERS: Final = 1024
"""Length of an image's id, which the answer returns as it is."""

_MOST_NAMES: Final = 64
_BYTES_BESIDE_BOXES: Final = 16 * 1024
_TOKENS_BESIDE_BOXES: Final = 1024
_BYTES_PER_BOX: Final = 256
"""Of JSON: four numbers of full precision, each on an indented line of its own."""
_TOKENS_PER_BOX: Final = 10
"""Of JSON: two brackets and four commas, and four strings in place of numbers."""
_BYTES_PER_BOX_IN_A_MESSAGE: Final = 32
_JSON_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_AS_LONG_AS: Final = 0.9
"""The share of our own time limit from which a caller's deadline counts as equally long: what the
way to us took is gone from it already."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OptionsLimits:
    """Limits of the size of options, so that nothing larger is parsed or validated."""

    max_images: int
    max_people: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that follow from the settings."""
        return cls(settings.http.max_images, settings.limits.max_people)

    @property
    def boxes(self) -> int:
        """The maximum number of boxes for all images together."""
        return self.max_images * self.max_people

    @property
    def json_bytes(self) -> int:
        """The maximum size of options as JSON, in bytes."""
        return _BYTES_BESIDE_BOXES + _BYTES_PER_BOX * (self.boxes + self.max_images)

    @property
    def json_tokens(self) -> int:
        """The maximum number of brackets, commas, colons and strings in options as JSON."""
        return _TOKENS_BESIDE_BOXES + _TOKENS_PER_BOX * (self.boxes + self.max_images)

    @property
    def message_bytes(self) -> int:
        """The maximum size of a PoseOptions message, in bytes."""
        return 1024 + _BYTES_PER_BOX_IN_A_MESSAGE * (self.boxes + self.max_images)

    def exceeded(self, place: str = "options") -> TooLarge:
        """The refusal of options beyond these limits."""
        return TooLarge(
            f"{place}: more text than {self.max_images} images with {self.max_people} boxes each "
            f"need; the limits are {self.json_bytes} bytes and {self.json_tokens} values"
        )

    def check(self, text: bytes, place: str = "options") -> None:
        """Check options as JSON before anything parses them.

        Raises:
            TooLarge: they exceed a limit.
            InvalidOptions: they have more names than there can be options.
        """
        if len(text) > self.json_bytes:
            raise self.exceeded(place)
        bare, strings = _JSON_STRING.subn(b"", text)
        if strings + sum(map(bare.count, (b"[", b"{", b"]", b"}", b",", b":"))) > self.json_tokens:
            raise self.exceeded(place)
        if bare.count(b":") > _MOST_NAMES:
            raise InvalidOptions(f"{place}: more than {_MOST_NAMES} names")


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
    list[FiniteFloat],
    Field(min_length=4, max_length=4, fail_fast=True),
    AfterValidator(_ordered_corners),
]
BoxesOfImage = Annotated[list[BoxXyxy], Field(fail_fast=True)]


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
    boxes: Annotated[list[BoxesOfImage], Field(fail_fast=True)] | None = Field(
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


def options_from_json(
    text: bytes,
    limits: OptionsLimits,
    *,
    place: str = "",
    malformed: type[InvalidRequest] = InvalidOptions,
) -> OptionsBody:
    """Options given as JSON; `place` precedes their names in errors.

    Raises:
        TooLarge: they exceed the limits.
        InvalidOptions: an option is unknown or out of range.
        InvalidRequest: raised as `malformed` if the text is not JSON.
    """
    limits.check(text, place or "options")
    try:
        return OptionsBody.model_validate_json(text)
    except ValidationError as err:
        is_json = err.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid"
        raise (InvalidOptions if is_json else malformed)(explain(err, place)) from err


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


def explain(err: ValidationError, place: str = "") -> str:
    """Describe a request's first validation errors, below that place, in one bounded line."""
    return one_line(err, most=5, shown=excerpt, below=place)
