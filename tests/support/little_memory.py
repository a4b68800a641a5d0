"""Run by itself: decode a picture of each kind with ever more memory, and print the outcome.

A line is the kind, the MiB that were free and `decoded` or the exception's name.
"""

import resource
import sys
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

import odd_images
from distilpose.model import pictures
from distilpose.model.pictures.source import EncodedImage

SIZE_WH: Final = (3000, 2000)
KINDS: Final[dict[str, tuple[str, str, dict[str, object]]]] = {
    "JPEG": ("RGB", "JPEG", {}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True}),
    "CMYK JPEG": ("CMYK", "JPEG", {}),
    "PNG": ("RGB", "PNG", {"compress_level": 1}),
    "WebP": ("RGB", "WEBP", {"method": 0}),
    "AVIF": ("RGB", "AVIF", {"speed": 10}),
    "HEIC": ("RGB", "heif", {"samples": "yuv420p", "quality": 20}),
    "TIFF": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "fax": ("1", "TIFF", {"compression": "group4"}),
    "BMP": ("RGB", "BMP", {}),
}
FREE_MIB: Final = (2, 8, 16, 24, 32, 48, 64, 96, 160, 256)


def encoded(kind: str) -> bytes:
    """A picture of this kind."""
    mode, form, options = KINDS[kind]
    small = np.random.default_rng(1).integers(0, 256, (250, 375, 3), np.uint8)
    image = Image.fromarray(small).resize(SIZE_WH).convert(mode)
    return odd_images.encode(image, form, **options)


def outcome(source: EncodedImage) -> str:
    """`decoded`, or the name of what was raised."""
    try:
        header = pictures.read_header(source, max_pixels=50_000_000)
        pictures.decode(source, header)
    except Exception as err:  # noqa: BLE001 - its name is the answer
        return "MemoryError" if isinstance(err, MemoryError) else type(err).__name__
    return "decoded"


def main() -> None:
    """Try all kinds."""
    for kind in KINDS:
        source = EncodedImage(encoded(kind))
        assert outcome(source) == "decoded"
        for free_mib in FREE_MIB:
            pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
            limit_bytes = pages * resource.getpagesize() + free_mib * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, resource.RLIM_INFINITY))
            said = outcome(source)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            sys.stdout.write(f"{kind}\t{free_mib}\t{said}\n")


if __name__ == "__main__":
    main()
