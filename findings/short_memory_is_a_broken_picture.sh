#!/usr/bin/env bash
# Versions: Pillow 13.0.0, simplejpeg 1.9.0, numpy 2.2.6
# Guess: a sound picture that is decoded where memory is short raises MemoryError, so that a service
#   can tell "try again" from "your picture is broken".
# Seen: it depends on the codec, and for the last one on how much is missing. Address space is left
#   for 12 MiB (the last: 24 MiB) more than the process has, for pictures of 6 megapixels:
#     PNG: MemoryError
#     TIFF: MemoryError
#     WebP: OSError: could not create decoder object
#     AVIF: RuntimeError: Failed to decode frame 0: Decoding of color planes failed
#     progressive JPEG by simplejpeg: ValueError: Insufficient memory (case 4)
#   Neither type nor text of WebP's and AVIF's errors tells them from those of a broken file.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pillow==13.0.0 simplejpeg==1.9.0 numpy==2.2.6

cd "$work"
# So that freed memory goes back at once, and the next picture cannot use it again.
MALLOC_MMAP_THRESHOLD_=65536 MALLOC_ARENA_MAX=1 venv/bin/python - <<'PYTHON'
import io
import resource

import numpy as np
import simplejpeg
from PIL import Image

FREE_MIB = {"progressive JPEG by simplejpeg": 24}
KINDS = {
    "PNG": ("PNG", {"compress_level": 1}),
    "TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "WebP": ("WEBP", {"method": 0}),
    "AVIF": ("AVIF", {"speed": 10}),
    "progressive JPEG by simplejpeg": ("JPEG", {"progressive": True}),
}
small = np.random.default_rng(1).integers(0, 256, (250, 375, 3), np.uint8)
picture = Image.fromarray(small).resize((3000, 2000))


def decode(kind: str, data: bytes) -> None:
    if "simplejpeg" in kind:
        simplejpeg.decode_jpeg(data)
    else:
        Image.open(io.BytesIO(data)).load()


files = {}
for kind, (form, options) in KINDS.items():
    file = io.BytesIO()
    picture.save(file, form, **options)
    files[kind] = file.getvalue()
    decode(kind, files[kind])

seen = {}
for kind, data in files.items():
    pages = int(open("/proc/self/statm").read().split()[0])
    limit_bytes = pages * resource.getpagesize() + FREE_MIB.get(kind, 12) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, resource.RLIM_INFINITY))
    try:
        decode(kind, data)
        seen[kind] = "decoded"
    except Exception as err:
        seen[kind] = type(err).__name__
        print(f"{kind}: {type(err).__name__}: {err}")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(seen)
assert seen["PNG"] == seen["TIFF"] == "MemoryError"
for kind in ("WebP", "AVIF", "progressive JPEG by simplejpeg"):
    assert seen[kind] in ("OSError", "RuntimeError", "ValueError"), kind
PYTHON
