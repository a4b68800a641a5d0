"""JPEGs of every coding, with restart markers or without, and what cameras and accidents add.

Knows nothing of the reader that it tests.
"""

import base64
import re
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image

import odd_images
from odd_images import Picture, encode

SIZE_WH: Final = (56, 40)
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_RESTARTS: Final = range(0xD0, 0xD8)


def scene() -> Picture:
    """A picture as a camera takes it, small."""
    width, height = SIZE_WH
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([4 * x, 6 * y, 3 * x + 2 * y], -1)
    grain = np.random.default_rng(3).normal(0, 8, (height, width, 3))
    return (smooth + grain).clip(0, 255).astype(np.uint8)


# libjpeg-turbo's cjpeg made these of 40x24 pixels; neither Pillow nor simplejpeg writes such files.
_BY_CJPEG: Final = {
    "scan for each component": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQ"
        "c1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKT/wAARCAAYACgDASIAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAA"
        "AwQFAf/EABcQAAMBAAAAAAAAAAAAAAAAAAACA2H/3QAEAAL/2gAIAQEAAD8Awljgqxw//9DMWOCrHD//0ZljgSxw"
        "/9KZY4KscP/T6scFWOH/1OrHBljh/9WxY4KscP/W1ljh/8QAFgEBAQEAAAAAAAAAAAAAAAAAAgED/8QAFhEBAQEA"
        "AAAAAAAAAAAAAAAAAAER/9oACAECEQA/AJKcr//QesI//9Ewn//EABcBAQADAAAAAAAAAAAAAAAAAAQDBQb/xAAZ"
        "EQADAQEBAAAAAAAAAAAAAAAAAQIDESH/2gAIAQMRAD8AjjYbGx//0LOdvDLRTP/RNFMXNPh//9k="
    ),
    "scan for both colours": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQ"
        "c1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKT/wAARCAAYACgDASIAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAA"
        "AwQFAf/EABcQAAMBAAAAAAAAAAAAAAAAAAACA2H/3QAEAAL/2gAIAQEAAD8Awljgqxw//9DMWOCrHD//0ZljgSxw"
        "/9KZY4KscP/T6scFWOH/1OrHBljh/9WxY4KscP/W1ljh/8QAGQEAAwADAAAAAAAAAAAAAAAAAgMEAQUG/8QAGREA"
        "AwEBAQAAAAAAAAAAAAAAAAECAxEh/9oACgICEQMRAD8AwmLjYNMtjY//0D6bOdvBCOWimf/RFE0UwiuafD//2Q=="
    ),
    "arithmetic": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQ"
        "c1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKT/yQARCAAYACgDASIAAhEBAxEB/8wACgAQEAUBEBEF/90ABAAC/9oA"
        "DAMBAAIRAxEAPwD/ACgP63/vTsKLZirFbPhYNALSJNbbBEc2KPH/APtW3MD/0P1rITf0nCAwJeQqJKP5RtnJvRdI"
        "18HzRW4xWP/R0LLr1v8A3p2F+LDRts69o/NDiAi6A//Z"
    ),
    "arithmetic progressive": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQ"
        "c1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKT/ygARCAAYACgDASIAAhEBAxEB/8wABgAQARD/3QAEAAP/2gAMAwEA"
        "AhADEAAAAf5Pi6qLF40AWQOw4P/QQblHjLDoc3FA/8wABBAF/9oACAEBAAEFApYg/9CWIP/RliD/0pYg/9OWIP/M"
        "AAQRBf/aAAgBAwEBPwEP0hr/0A6LQP/MAAQRBf/aAAgBAgEBPwHA/9DA/8wABBAF/9oACAEBAAY/AsD/0MD/0cD/"
        "0sD/08D/zAAEEAX/2gAIAQEAAT8h9cD/0PXA/9H1wP/S9cD/0/XA/9oADAMBAAIAAwAAABC4ckD/0PYDIP/MAAQR"
        "Bf/aAAgBAwEBPxDGxP/QtM5A/8wABBEF/9oACAECAQE/EAVu/9AUwP/MAAQQBf/aAAgBAQABPxBMY8D/0ExjwP/R"
        "TGPA/9JMY8D/00xjwP/Z"
    ),
}


def _jpegs() -> dict[str, bytes]:
    picture = scene()
    image = Image.fromarray(picture)
    flat = Image.new("RGB", SIZE_WH, (128, 128, 128))
    ink = np.ascontiguousarray(np.dstack([picture, picture[..., :1]]))
    rows = {"restart_marker_rows": 1}
    return _BY_CJPEG | {
        "plain": encode(picture, "jpeg"),
        "optimised": encode(picture, "jpeg", optimize=True),
        "rows": encode(picture, "jpeg", **rows),
        "units": encode(picture, "jpeg", restart_marker_blocks=1),
        "4:4:4": encode(picture, "jpeg", subsampling=0, restart_marker_blocks=5),
        "4:2:2": encode(picture, "jpeg", subsampling=1, **rows),
        "4:4:0": simplejpeg.encode_jpeg(picture, colorsubsampling="440"),
        "4:1:1": simplejpeg.encode_jpeg(picture, colorsubsampling="411"),
        "grey": encode(image.convert("L"), "jpeg", **rows),
        "flat": encode(flat, "jpeg", restart_marker_blocks=3),
        "CMYK": encode(image.convert("CMYK"), "jpeg", **rows),
        "YCCK": simplejpeg.encode_jpeg(ink, colorspace="CMYK"),
        "progressive": encode(picture, "jpeg", progressive=True),
        "progressive rows": encode(picture, "jpeg", progressive=True, **rows),
        "progressive flat": encode(flat, "jpeg", progressive=True, restart_marker_blocks=5),
        "progressive CMYK": encode(image.convert("CMYK"), "jpeg", progressive=True, **rows),
        "without tables": _without_huffman_tables(encode(picture, "jpeg")),
    }


def _without_huffman_tables(jpeg: bytes) -> bytes:
    """The JPEG as a frame of a film in Motion JPEG, whose tables everybody knows."""
    while b"\xff\xc4" in jpeg:
        jpeg = odd_images.without_segment(jpeg, 0xC4)
    return jpeg


JPEGS: Final = _jpegs()
"""Sound JPEGs by their coding."""
ARITHMETIC: Final = ("arithmetic", "arithmetic progressive")
SEQUENTIAL: Final = tuple(name for name in JPEGS if "progressive" not in name)


def segment(marker: int, payload: bytes) -> bytes:
    """A segment with its marker and length."""
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def scans(jpeg: bytes) -> list[tuple[int, int]]:
    """The position of the header of each scan, and of its coded pixels."""
    found, position = [], 2
    while (marker := _MARKER.search(jpeg, position)) and marker[0][1] != _END_OF_IMAGE:
        position = marker.end()
        if marker[0][1] in _RESTARTS:
            continue
        position += int.from_bytes(jpeg[position : position + 2], "big")
        if marker[0][1] == _START_OF_SCAN:
            found.append((marker.start(), position))
    return found


def interval_ends(jpeg: bytes) -> list[int]:
    """The end of the coded pixels of each restart interval: a restart marker or another one."""
    ends = []
    for _, position in scans(jpeg):
        for marker in _MARKER.finditer(jpeg, position):
            ends.append(marker.start())
            if marker[0][1] not in _RESTARTS:
                break
    return ends


def with_bytes(jpeg: bytes, places: Iterable[int], added: Callable[[int], bytes]) -> bytes:
    """The JPEG with bytes inserted at some places, counted from 0."""
    parts, last = [], 0
    for number, place in enumerate(sorted(places)):
        parts += [jpeg[last:place], added(number)]
        last = place
    return b"".join(parts) + jpeg[last:]


def with_scan_numbers(jpeg: bytes, numbers: bytes) -> bytes:
    """The JPEG with other numbers at the end of each scan's header: the range and the bits."""
    changed = bytearray(jpeg)
    for _, start in scans(jpeg):
        changed[start - 3 : start] = numbers
    return bytes(changed)
