import pytest

import odd_images
from distilpose.model.errors import NotAccepted, Undecodable
from distilpose.model.pictures.sniffing import sniff

REFUSED = {
    "GIF": odd_images.encode(odd_images.noise(4, 4), "gif"),
    "JPEG 2000": odd_images.encode(odd_images.noise(4, 4), "jpeg2000"),
    "ICO": odd_images.encode(odd_images.noise(16, 16), "ico"),
    "PDF": b"%PDF-1.7\n",
    "PSD": b"8BPS\0\1",
    "BigTIFF": b"II+\0\x08\0\0\0",
    "SVG": b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "JPEG XL": b"\xff\x0a\0\0",
    "MP4": b"\0\0\0\x18ftypisom\0\0\0\0isomavc1",
    "QuickTime": b"\0\0\0\x08wide\0\0\0\0mdat",
    "WebM": b"\x1a\x45\xdf\xa3\0\0\0\0",
    "AVI": b"RIFF\0\0\0\0AVI LIST",
}


@pytest.mark.parametrize("name", odd_images.FORMATS)
def test_the_first_bytes_tell_an_accepted_format(name: str) -> None:
    assert sniff(odd_images.encode(odd_images.noise(4, 4), name)) == name


@pytest.mark.parametrize("name", REFUSED)
def test_a_known_format_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(NotAccepted) as refusal:
        sniff(REFUSED[name])
    assert name in str(refusal.value)
    assert str(refusal.value).endswith("accepted: JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC")


@pytest.mark.parametrize("brand", ["heic", "heix", "heim", "hevc", "mif1", "msf1"])
def test_a_file_of_a_heif_brand_is_heic(brand: str) -> None:
    major = brand.encode()
    assert sniff(b"\0\0\0\x14ftyp" + major + bytes(4) + b"mif1") == "heif"
    assert sniff(b"\0\0\0\x18ftypisom\0\0\0\0mp41" + major) == "heif"


def test_an_avif_of_heif_major_brand_is_avif() -> None:
    assert sniff(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") == "avif"


@pytest.mark.parametrize("data", [b"hello", b"\0" * 64, b"<html></html>", b"RIFF\0\0\0\0WAVE"])
def test_unknown_bytes_are_undecodable(data: bytes) -> None:
    with pytest.raises(Undecodable, match="not of a known format"):
        sniff(data)


def test_no_bytes_are_undecodable() -> None:
    with pytest.raises(Undecodable, match="is empty"):
        sniff(b"")
