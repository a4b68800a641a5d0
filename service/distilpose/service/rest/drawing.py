"""Answers as a picture: the format asked for, and the drawing itself."""

import asyncio
import time
from typing import Final

from starlette.responses import Response

from distilpose.model.arrays import ImageHWC
from distilpose.model.drawing import skeletons
from distilpose.model.drawing.encode import LARGEST_SIDE_PX, PictureFormat, encode
from distilpose.service.batching.workers import Workers
from distilpose.service.domain import Options, PoseAnswer
from distilpose.service.errors import DeadlineExceeded, Internal, InvalidRequest, TooLarge
from distilpose.service.rest.errors import problem
from distilpose.service.rest.held import HeldResponse

PICTURE_FORMATS: Final[dict[str, PictureFormat]] = {"image/jpeg": "jpeg", "image/png": "png"}
MEDIA_TYPES: Final = " or ".join(PICTURE_FORMATS)
_MOST_ACCEPTED_TYPES: Final = 32


def picture_format(accept: str, *, images: int) -> PictureFormat | None:
    """The picture format requested by `Accept`, or None for JSON. The first known type wins."""
    for entry in accept.lower().split(",", _MOST_ACCEPTED_TYPES)[:_MOST_ACCEPTED_TYPES]:
        media_type = entry.split(";")[0].strip()
        if media_type in ("application/json", "*/*", "application/*"):
            return None
        if media_type in PICTURE_FORMATS:
            if images != 1:
                raise InvalidRequest(f"Accept {media_type}: needs exactly one image, got {images}")
            return PICTURE_FORMATS[media_type]
    return None


async def drawn_answer(
    thread: Workers,
    answer: PoseAnswer,
    options: Options,
    picture_format: PictureFormat,
    deadline: float,
) -> Response:
    """The drawn answer; the request's memory is held until it is written.

    Raises:
        DeadlineExceeded: the drawing was not ready in time.
        TooLarge: the format cannot hold so large a picture.
    """
    [image] = answer.images
    pixels, memory = image.image, answer.memory
    if pixels is None or memory is None:
        if memory:
            memory.let_go()
        return problem(image.error or Internal("no pixels were kept"))

    def render() -> bytes:
        drawn = skeletons.draw_poses(
            pixels,
            image.poses,
            visible=[options.visible(pose) for pose in image.poses],
            draw_sigma=options.draw_sigma,
        )
        return encode(drawn, picture_format)

    try:
        _check_sides(pixels, picture_format)
        memory.hold()
        async with asyncio.timeout(deadline - time.monotonic()):
            drawn = await thread.run(
                render, accepted_at=time.monotonic(), deadline=deadline, on_end=memory.let_go
            )
        body = drawn.unwrap()
    except TimeoutError as err:
        memory.let_go()
        raise DeadlineExceeded("the deadline passed while the answer was drawn") from err
    except BaseException:
        memory.let_go()
        raise
    media_type = f"image/{picture_format}"
    return HeldResponse(body, media_type=media_type, on_written=memory.let_go)


def _check_sides(pixels: ImageHWC, picture_format: PictureFormat) -> None:
    height, width, _ = pixels.shape
    largest_px = LARGEST_SIDE_PX[picture_format]
    if max(width, height) > largest_px:
        instead = "image/png" if picture_format == "jpeg" else "application/json"
        raise TooLarge(
            f"the image is {width} pixels wide and {height} high; a drawn {picture_format.upper()} "
            f"can have {largest_px} each way: set Accept to {instead}"
        )
