"""Whatever a caller sent as a picture, an encoded image or a raw frame, to one RGB image."""

from distilpose.model.arrays import ImageHWC
from distilpose.service import images, raw_frames
from distilpose.service.domain import RawFrame, Source
from distilpose.service.image_header import ImageHeader


def read_header(source: Source, *, max_pixels: int) -> ImageHeader:
    """What the source says of itself, within the limit; nothing is decoded.

    Raises:
        InvalidRequest: a raw frame's numbers do not add up.
        UndecodableImage: the bytes are no image, or their header is broken.
        UnsupportedMediaType: the format is known and not accepted.
        TooLarge: more pixels than the limit.

    """
    if isinstance(source, RawFrame):
        return raw_frames.read_header(source, max_pixels=max_pixels)
    return images.read_header(source.content, max_pixels=max_pixels)


def decode(source: Source, header: ImageHeader, *, factor: int = 1) -> ImageHWC:
    """The picture upright in RGB, C-contiguous, perhaps read-only; a JPEG `factor` times smaller.

    Raises:
        UndecodableImage: truncated, corrupt, or not as `header` says.

    """
    if isinstance(source, RawFrame):
        return raw_frames.to_rgb(source)
    return images.decode(source.content, header, factor=factor)
