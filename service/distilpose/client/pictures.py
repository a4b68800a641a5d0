"""Convert callers' pictures to what is sent."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from distilpose.client.errors import InvalidRequest, UndecodableImage
from distilpose.model.formats import SUFFIXES

Picture: TypeAlias = bytes | str | Path | npt.NDArray[np.uint8]
"""An encoded picture, the path of a file, or RGB pixels (H, W, 3)."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a video, with the time it was taken, on the caller's own clock."""

    image: Picture
    timestamp_ms: float


@dataclass(frozen=True)
class Encoded:
    """The contents of a picture file."""

    data: bytes


@dataclass(frozen=True)
class Raw:
    """RGB pixels without padding."""

    width: int
    height: int
    data: bytes

    def to_png(self) -> bytes:
        """The same pixels as a PNG file, lightly compressed."""
        file = io.BytesIO()
        image = Image.frombytes("RGB", (self.width, self.height), self.data)
        image.save(file, "png", compress_level=1)
        return file.getvalue()


Source: TypeAlias = Encoded | Raw


def load(picture: Picture) -> Source:
    """Convert a picture for sending; reads the file if it is a path.

    Raises:
        OSError: the file cannot be read.
        InvalidRequest: an array is not uint8 (H, W, 3), or the value is not a picture.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, str | Path):
        picture = Path(picture).read_bytes()
    if not isinstance(picture, bytes):
        kind = type(picture).__name__
        raise InvalidRequest(f"expected a picture as bytes, a path or a uint8 array, got {kind}")
    return Encoded(picture)


def _from_array(pixels: npt.NDArray[np.uint8]) -> Raw:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        got = f"{pixels.dtype} {pixels.shape}"
        raise InvalidRequest(f"expected RGB pixels, uint8 (H, W, 3), got {got}")
    height, width, _ = pixels.shape
    return Raw(width, height, pixels.tobytes())


def refuse_empty(source: Source) -> None:
    """Check that the picture is not empty.

    Raises:
        UndecodableImage: it is empty.
    """
    if not source.data:
        raise UndecodableImage("the image is empty")


def in_folder(folder: str | Path) -> Iterator[Path]:
    """The picture files in a folder and its subfolders, sorted by name."""
    yield from sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
