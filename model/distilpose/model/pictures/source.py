"""The two sources of a picture: the bytes of a file, or raw pixels. Knows no decoder."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One image as the caller sent it. `id` is the caller's own id for it."""

    content: bytes
    id: str | int | None = None


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One picture as raw pixels. `format` is a key of `raw.FORMATS`, checked there."""

    data: bytes
    format: str
    width: int
    height: int
    row_stride_bytes: int = 0
    """Bytes from one row of the first plane to the next; 0 means rows without padding."""
    id: str | int | None = None


Source: TypeAlias = EncodedImage | RawFrame
