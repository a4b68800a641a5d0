"""Recognise the format of bytes by their start; also names formats that are rejected."""

from typing import Final

from distilpose.model.errors import NotAccepted, Undecodable
from distilpose.model.formats import ACCEPTED, AVIF_BRANDS, HEIF_BRANDS, RIFF_KINDS, SIGNATURES

_XML_SPACE: Final = b"\xef\xbb\xbf \t\r\n"


def sniff(data: bytes) -> str:
    """The key in `ACCEPTED` for the format of the bytes.

    Raises:
        NotAccepted: naming a format that is known but not accepted.
        Undecodable: the bytes have none of the known formats.

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
    accepted = ", ".join(each.name for each in ACCEPTED.values())
    return NotAccepted(f"{name} is not accepted; accepted: {accepted}")


def _known_name(data: bytes) -> str | None:
    for signature, name in SIGNATURES:
        if data.startswith(signature):
            return name
    if data.startswith(b"RIFF"):
        return RIFF_KINDS.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _iso_media_name(data)
    if data[4:8] in {b"moov", b"mdat", b"wide"}:
        return "QuickTime video"
    start = data[:1024].lstrip(_XML_SPACE)
    return "SVG" if start.startswith(b"<") and b"<svg" in start else None


def _iso_media_name(data: bytes) -> str:
    """The format's name by its brands. *Source:* ISO/IEC 14496-12, section 4.3."""
    end = min(int.from_bytes(data[:4], "big"), 1024)
    brands = {data[8:12]} | {data[i : i + 4] for i in range(16, end, 4)}
    if brands & AVIF_BRANDS:
        return "avif"
    return "heif" if brands & HEIF_BRANDS else "MP4 or QuickTime video"
