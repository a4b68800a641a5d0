"""Pictures as callers have them, to what is sent."""

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
"""An encoded picture, the path of one, or RGB pixels (H, W, 3)."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a video, and when it was taken on the caller's own clock."""

    image: Picture
    timestamp_ms: float


@dataclass(frozen=True)
class Encoded:
    """A picture file's content."""

    data: bytes


@dataclass(frozen=True)
class Raw:
    """RGB pixels without padding."""

    width: int
    height: int
    data: bytes

    def to_png(self) -> bytes:
        """The same pixels as a file, packed lightly."""
        file = io.BytesIO()
        image = Image.frombytes("RGB", (self.width, self.height), self.data)
        image.save(file, "png", compress_level=1)
        return file.getvalue()


Source: TypeAlias = Encoded | Raw


def load(picture: Picture) -> Source:
    """What is sent of a picture; reads it, if it is a path.

    Raises:
        OSError: the file cannot be read.
        InvalidRequest: an array that is not uint8 (H, W, 3), or no picture at all.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, str | Path):
        picture = Path(picture).read_bytes()
    if not isinstance(picture, bytes):
        kind = type(picture).__name__
        raise InvalidRequest(f"a picture is bytes, a path or a uint8 array, not {kind}")
    return Encoded(picture)


def _from_array(pixels: npt.NDArray[np.uint8]) -> Raw:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        got = f"{pixels.dtype} {pixels.shape}"
        raise InvalidRequest(f"an array of pixels is RGB, uint8 (H, W, 3), got {got}")
    height, width, _ = pixels.shape
    return Raw(width, height, pixels.tobytes())


def refuse_empty(source: Source) -> None:
    """Return if there is a picture.

    Raises:
        UndecodableImage: there is none.
    """
    if not source.data:
        raise UndecodableImage("the image is empty")


def in_folder(folder: str | Path) -> Iterator[Path]:
    """The picture files in a folder and its folders, in order of their names."""
    yield from sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
