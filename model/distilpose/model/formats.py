"""The picture formats that are accepted, and the signatures of these and of other files.

Data only: all code that depends on a format reads it here.
"""

from dataclasses import dataclass
from typing import Final

MAX_PIXELS: Final = 50_000_000
"""Default maximum of width times height."""


@dataclass(frozen=True, slots=True)
class Format:
    """One accepted format."""

    name: str
    """The format's name for people."""
    media_types: tuple[str, ...]
    """The usual one first."""
    suffixes: tuple[str, ...]
    """Suffixes of file names, in lower case; the first is the usual one."""
    pillow_codec: str | None = None
    """The optional part of Pillow that decodes the format, by its name in `PIL.features`."""
    package: str | None = None
    """The package that decodes the format, by its name for import; not every platform has it."""


ACCEPTED: Final = {
    "jpeg": Format("JPEG", ("image/jpeg",), (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    "png": Format("PNG", ("image/png",), (".png", ".apng"), "zlib"),
    "webp": Format("WebP", ("image/webp",), (".webp",), "webp"),
    "bmp": Format("BMP", ("image/bmp",), (".bmp",)),
    "tiff": Format("TIFF", ("image/tiff",), (".tif", ".tiff"), "libtiff"),
    "avif": Format("AVIF", ("image/avif",), (".avif",), "avif"),
    "heif": Format(
        "HEIC",
        ("image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence"),
        (".heic", ".heif", ".hif"),
        package="pi_heif",
    ),
}
"""The accepted formats, under the keys used in headers."""

MEDIA_TYPES: Final = tuple(kind for each in ACCEPTED.values() for kind in each.media_types)
SUFFIXES: Final = frozenset(suffix for each in ACCEPTED.values() for suffix in each.suffixes)

SIGNATURES: Final = (
    (b"\xff\xd8", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"8BPS", "PSD"),
    (b"%PDF-", "PDF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\x01\0", "ICO"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (b"\0\0\x01\xba", "MPEG video"),
    (b"FLV\x01", "Flash video"),
)
"""The first bytes of files, with a key of `ACCEPTED` or the name of a rejected format."""
RIFF_KINDS: Final = {b"WEBP": "webp", b"AVI ": "AVI video"}
AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
)
