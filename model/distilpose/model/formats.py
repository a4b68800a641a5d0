"""The format that bytes are of, told by how they start; names also formats that we refuse."""

from typing import Final

from distilpose.model.errors import NotAccepted, Undecodable

ACCEPTED: Final = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
}
"""The formats that are accepted, and how they are written for people."""

_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "jpeg"),
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
_RIFF_KINDS: Final = {b"WEBP": "webp", b"AVI ": "AVI video"}
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
)
_XML_SPACE: Final = b"\xef\xbb\xbf \t\r\n"


def sniff(data: bytes) -> str:
    """The key of `ACCEPTED` that the bytes are of.

    Raises:
        NotAccepted: naming a format that is known and not accepted.
        Undecodable: when the bytes are none of the known formats.

    """
    name = _known_name(data)
    if name is None:
        what = "is empty" if not data else "is not of a known format"
        raise Undecodable(f"the image {what}")
    if name not in ACCEPTED:
        raise not_accepted(name)
    return name


def not_accepted(name: str) -> NotAccepted:
    """The error that names the format found and those accepted."""
    return NotAccepted(f"{name} is not accepted; accepted: {', '.join(ACCEPTED.values())}")


def _known_name(data: bytes) -> str | None:
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data.startswith(b"RIFF"):
        return _RIFF_KINDS.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _iso_media_name(data)
    if data[4:8] in {b"moov", b"mdat", b"wide"}:
        return "QuickTime video"
    start = data[:1024].lstrip(_XML_SPACE)
    return "SVG" if start.startswith(b"<") and b"<svg" in start else None


def _iso_media_name(data: bytes) -> str:
    """*Source:* ISO/IEC 14496-12, section 4.3: one major brand, a version, compatible brands."""
    end = min(int.from_bytes(data[:4], "big"), 1024)
    brands = {data[8:12]} | {data[i : i + 4] for i in range(16, end, 4)}
    if brands & _AVIF_BRANDS:
        return "avif"
    return "HEIC" if brands & _HEIF_BRANDS else "MP4 or QuickTime video"
