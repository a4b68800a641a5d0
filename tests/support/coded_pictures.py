"""Pictures in every coding that costs differently to decode, and what decoding one costs."""

import contextlib
import ctypes
import functools
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile

import heif_files
import odd_images
import odd_jpegs
from distilpose.model import pictures
from distilpose.model.errors import PictureError
from distilpose.model.formats import MAX_PIXELS

_SELF: Final = Path("/proc/self")
Pixels = npt.NDArray[np.uint8]


@functools.lru_cache(maxsize=1)
def scene(size_wh: tuple[int, int]) -> Pixels:
    """A picture as a camera takes it: smooth shapes under the noise of a sensor."""
    width, height = size_wh
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = (x / 300 + y / 500, y / 200 - x / 700, (x + y) / 400)
    smooth = np.stack([128 + 80 * np.sin(wave) for wave in waves], -1)
    grain = np.random.default_rng(0).normal(0, 6, (height, width, 1))
    return np.asarray((smooth + grain).clip(0, 255), np.uint8)


def with_alpha(pixels: Pixels) -> Image.Image:
    """The picture with its own brightness as alpha."""
    image = Image.fromarray(pixels).convert("RGBA")
    image.putalpha(Image.fromarray(pixels).convert("L"))
    return image


def many_scans(jpeg: bytes, scans: int) -> bytes:
    """The progressive JPEG with its last scan repeated, `scans` scans in all or more."""
    starts = [at for at in range(len(jpeg) - 1) if jpeg[at : at + 2] == b"\xff\xda"]
    return jpeg[:-2] + jpeg[starts[-1] : -2] * max(0, scans - len(starts)) + b"\xff\xd9"


def interlaced_png(size_wh: tuple[int, int]) -> bytes:
    """An interlaced PNG of 16-bit RGBA noise, the most work that a PNG can be."""
    width, height = size_wh
    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 1)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
    passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 8), dtype=np.uint8)
    rows = b"".join(b"\4" + row.tobytes() for x, y, dx, dy in passes for row in noise[y::dy, x::dx])
    chunks = odd_images.png_chunk(b"IHDR", header)
    chunks += odd_images.png_chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunks + odd_images.png_chunk(b"IEND", b"")


def tiff(pixels: npt.NDArray[Any], tags: dict[int, int], *, planar: bool = False) -> bytes:
    """A TIFF of one strip or tile for each plane, deflated; `tags` adds to the usual ones."""
    height, width, samples = pixels.shape
    bits = pixels.dtype.itemsize * 8
    planes = [pixels[..., plane] for plane in range(samples)] if planar else [pixels]
    pieces = [
        zlib.compress(plane.astype(pixels.dtype.newbyteorder("<")).tobytes(), 1) for plane in planes
    ]
    lists = {258: [bits] * samples}
    starts, at = [], 8
    for piece in pieces:
        starts.append(at)
        at += len(piece)
    where = (324, 325) if 322 in tags else (273, 279)
    lists |= {where[0]: starts, where[1]: [len(piece) for piece in pieces]}
    singles = {256: width, 257: height, 259: 8, 262: 2, 277: samples, 284: 1 + planar} | tags
    if 322 not in tags:
        singles.setdefault(278, height)
    lists |= {tag: [value] for tag, value in singles.items()}
    entries, outside = b"", b""
    after = at + 2 + 12 * len(lists) + 4
    for tag, values in sorted(lists.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        field = packed
        if len(packed) > 4:
            field = struct.pack("<I", after + len(outside))
            outside += packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + field
    directory = struct.pack("<H", len(lists)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", at) + b"".join(pieces) + directory + outside


def _bmp_32(size_wh: tuple[int, int]) -> bytes:
    width, height = size_wh
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, 0, 0, 0, 0, 0) + masks
    body = np.random.default_rng(2).bytes(width * height * 4)
    return struct.pack("<2sIHHI", b"BM", 138 + len(body), 0, 0, 138) + info.ljust(124, b"\0") + body


def _file(
    name: str, image: Callable[[tuple[int, int]], Image.Image | Pixels], **options: Any
) -> Callable[[tuple[int, int]], bytes]:
    return lambda size_wh: odd_images.encode(image(size_wh), name, **options)


def _image(mode: str) -> Callable[[tuple[int, int]], Image.Image]:
    return lambda size_wh: Image.fromarray(scene(size_wh)).convert(mode)


def _noise(size_wh: tuple[int, int]) -> Pixels:
    return odd_images.noise(size_wh[1], size_wh[0])


def _alpha(size_wh: tuple[int, int]) -> Image.Image:
    return with_alpha(scene(size_wh))


def _alpha_noise(size_wh: tuple[int, int]) -> Image.Image:
    return with_alpha(_noise(size_wh))


def _flat(size_wh: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size_wh, (10, 20, 30))


def _flat_cmyk(size_wh: tuple[int, int]) -> Image.Image:
    return Image.new("CMYK", size_wh, (10, 20, 30, 0))


def _grey_16(size_wh: tuple[int, int]) -> npt.NDArray[np.uint16]:
    return scene(size_wh)[..., 0].astype(np.uint16) * 257


def _grey_16_image(size_wh: tuple[int, int]) -> Image.Image:
    return Image.fromarray(_grey_16(size_wh))


def _transparent_grey_16(size_wh: tuple[int, int]) -> bytes:
    png = odd_images.encode(_grey_16_image(size_wh), "png", compress_level=1)
    clear = odd_images.png_chunk(b"tRNS", struct.pack(">H", 257 * 128))
    return png[:33] + clear + png[33:]


def _transparent_palette(size_wh: tuple[int, int]) -> bytes:
    return odd_images.encode(_image("RGB")(size_wh).quantize(64), "png", transparency=3)


def _progressive_noise(size_wh: tuple[int, int]) -> bytes:
    # Pillow's buffer for a progressive JPEG is too small for noise unless it is widened.
    with patch.object(ImageFile, "MAXBLOCK", 16 * size_wh[0] * size_wh[1]):
        return odd_images.encode(
            _noise(size_wh), "jpeg", quality=100, subsampling=0, progressive=True
        )


def _spare(maker: Callable[[tuple[int, int]], bytes]) -> Callable[[tuple[int, int]], bytes]:
    """The JPEG with nine zeros behind each restart interval."""

    def spare(size_wh: tuple[int, int]) -> bytes:
        jpeg = maker(size_wh)
        return odd_jpegs.with_bytes(jpeg, odd_jpegs.interval_ends(jpeg), lambda _: bytes(9))

    return spare


def _raw(format_name: str) -> Callable[[tuple[int, int]], pictures.Source]:
    """Frames of odd sizes, whose chroma needs the most copies."""

    def frame(size_wh: tuple[int, int]) -> pictures.RawFrame:
        width, height = size_wh[0] - 1, size_wh[1] - 1
        pixels = {"RGB8": 3, "BGR8": 3, "GRAY8": 1}.get(format_name)
        half = (width + 1) // 2 * ((height + 1) // 2)
        data = bytes(width * height * pixels if pixels else width * height + 2 * half)
        return pictures.RawFrame(data, format_name, width, height)

    return frame


def source(name: str, size_wh: tuple[int, int]) -> pictures.Source:
    """The picture of that name, width and height; a raw frame is smaller by a row and a column."""
    if name in RAW:
        return RAW[name](size_wh)
    return pictures.EncodedImage(MAKERS[name](size_wh))


def _jpeg_noise(subsampling: str) -> Callable[[tuple[int, int]], bytes]:
    return lambda size_wh: simplejpeg.encode_jpeg(
        _noise(size_wh), quality=100, colorsubsampling=subsampling
    )


def _avif_12(padding_px: int) -> Callable[[tuple[int, int]], bytes]:
    """A picture and its alpha, both of 12 bits in full colour, in larger frames."""

    def make(size_wh: tuple[int, int]) -> bytes:
        eight = heif_files.av1_picture_of(scene(size_wh), quality=90, speed=10, subsampling="4:4:4")
        coded = heif_files.in_12_bits(eight)
        announced_wh = size_wh[0] - padding_px, size_wh[1] - padding_px
        alpha = coded.item(heif_files.auxiliary_property(), size_wh=announced_wh, auxiliary_of=1)
        return heif_files.file_of([coded.item(size_wh=announced_wh), alpha])

    return make


def _heic_tiles(size_wh: tuple[int, int]) -> bytes:
    """A picture of tiles of 512 pixels, turned."""
    rows, columns = (-(-side // 512) for side in reversed(size_wh))
    tile = heif_files.hevc_picture_of(scene((512, 512)), "yuv444p12le", 10)
    whole = heif_files.Item(
        b"grid",
        heif_files.grid(rows, columns, *size_wh),
        [heif_files.size_property(*size_wh), heif_files.box(b"irot", b"\1")],
        range(2, 2 + rows * columns),
    )
    tiles = [tile.item() for _ in range(rows * columns)]
    return heif_files.file_of([whole, *tiles], brand=heif_files.HEIC)


MAKERS: Final[dict[str, Callable[[tuple[int, int]], bytes]]] = {
    "jpeg": _file("jpeg", scene, quality=90),
    "jpeg 4:4:4": _file("jpeg", scene, quality=98, subsampling=0),
    "jpeg turned": _file("jpeg", scene, quality=90, exif=odd_images.exif(6)),
    "jpeg grey": _file("jpeg", _image("L"), quality=90),
    "jpeg flat": _file("jpeg", _flat),
    "jpeg noise": _jpeg_noise("444"),
    "jpeg noise 4:2:0": _jpeg_noise("420"),
    "jpeg 4:1:1 noise": _jpeg_noise("411"),
    "jpeg progressive": _file("jpeg", scene, quality=90, progressive=True),
    "jpeg progressive 4:4:4": _file("jpeg", scene, quality=98, subsampling=0, progressive=True),
    "jpeg progressive flat": _file("jpeg", _flat, progressive=True, subsampling=0),
    "jpeg progressive noise": _progressive_noise,
    "jpeg progressive turned": _file(
        "jpeg", scene, quality=98, subsampling=0, progressive=True, exif=odd_images.exif(7)
    ),
    "jpeg of 60 scans": lambda size_wh: many_scans(MAKERS["jpeg progressive flat"](size_wh), 60),
    "jpeg of 60 noisy scans": lambda size_wh: many_scans(MAKERS["jpeg progressive"](size_wh), 60),
    "jpeg cmyk": _file("jpeg", _image("CMYK"), quality=90),
    "jpeg cmyk noise": lambda size_wh: odd_images.encode(
        Image.fromarray(np.concatenate([_noise(size_wh), _noise(size_wh)[..., :1]], -1), "CMYK"),
        "jpeg",
        quality=100,
        exif=odd_images.exif(6),
    ),
    "jpeg cmyk progressive": _file("jpeg", _image("CMYK"), quality=90, progressive=True),
    "jpeg cmyk flat": _file("jpeg", _flat_cmyk, progressive=True, exif=odd_images.exif(6)),
    "jpeg odd": lambda size_wh: odd_jpegs.with_scan_numbers(
        MAKERS["jpeg noise"](size_wh), b"\0\0\0"
    ),
    "jpeg spare": _spare(_file("jpeg", scene, quality=90)),
    "jpeg spare noise": _spare(_jpeg_noise("444")),
    "jpeg spare rows": _spare(_file("jpeg", scene, quality=90, restart_marker_rows=1)),
    "jpeg spare units": _spare(
        _file("jpeg", scene, quality=30, subsampling=2, restart_marker_blocks=4)
    ),
    "jpeg spare progressive": _spare(_file("jpeg", scene, quality=90, progressive=True)),
    "jpeg spare progressive rows": _spare(
        _file("jpeg", scene, quality=90, progressive=True, restart_marker_rows=1)
    ),
    "jpeg spare progressive noise": _spare(_progressive_noise),
    "jpeg spare cmyk": _spare(_file("jpeg", _image("CMYK"), quality=90)),
    "jpeg spare cmyk progressive": _spare(
        _file("jpeg", _image("CMYK"), quality=90, progressive=True)
    ),
    "png": _file("png", scene, compress_level=1),
    "png noise": _file("png", _noise, compress_level=1),
    "png flat": _file("png", _flat),
    "png alpha": _file("png", _alpha, compress_level=1, exif=odd_images.exif(6)),
    "png alpha noise": _file("png", _alpha_noise, compress_level=6),
    "png grey alpha": _file("png", _image("LA"), compress_level=1),
    "png palette": _transparent_palette,
    "png bilevel": _file("png", _image("1")),
    "png grey 16": _file("png", _grey_16_image, compress_level=1),
    "png grey 16 transparent": _transparent_grey_16,
    "png interlaced 16 bit alpha": interlaced_png,
    "webp": _file("webp", scene, quality=80, method=0),
    "webp flat": _file("webp", _flat),
    "webp noise": _file("webp", _noise, quality=100, method=0),
    "webp alpha": _file("webp", _alpha, quality=80, method=0, exif=odd_images.exif(6)),
    "webp alpha noise": _file("webp", _alpha_noise, quality=100, method=0),
    "webp lossless": _file("webp", scene, lossless=True, method=0, quality=0),
    "webp lossless noise": _file("webp", _noise, lossless=True, method=0, quality=0),
    "webp lossless alpha": _file(
        "webp", _alpha, lossless=True, method=2, quality=20, exif=odd_images.exif(6)
    ),
    "webp lossless flat": _file("webp", _flat, lossless=True),
    "avif": _file("avif", scene, quality=60, speed=10),
    "avif flat": _file("avif", _flat, speed=10),
    "avif 4:4:4": _file("avif", scene, quality=90, speed=10, subsampling="4:4:4"),
    "avif noise": _file("avif", _noise, quality=100, speed=10, subsampling="4:4:4"),
    "avif alpha": _file("avif", _alpha, quality=60, speed=10),
    "avif alpha 4:4:4 turned": _file(
        "avif", _alpha, quality=90, speed=10, subsampling="4:4:4", exif=odd_images.exif(6)
    ),
    "avif grey": _file("avif", _image("L"), quality=60, speed=10),
    "avif 12 bit alpha 4:4:4": _avif_12(0),
    "avif 12 bit alpha 4:4:4 padded": _avif_12(127),
    "heic": _file("heif", scene, samples="yuv420p", quality=20),
    "heic flat": _file("heif", _flat, samples="yuv420p", quality=20),
    "heic 4:4:4 noise": _file("heif", _noise),
    "heic alpha 4:4:4 turned": _file("heif", _alpha, quality=10, exif=odd_images.exif(6)),
    "heic grey": _file("heif", scene, samples="gray", quality=10),
    "heic 10 bit": _file("heif", scene, samples="yuv420p10le", quality=20),
    "heic 10 bit 4:2:2 turned": _file(
        "heif", scene, samples="yuv422p10le", quality=10, exif=odd_images.exif(6)
    ),
    "heic 12 bit 4:4:4 alpha turned": _file(
        "heif", _alpha, samples="yuv444p12le", quality=10, exif=odd_images.exif(6)
    ),
    "heic 12 bit tiles": _heic_tiles,
    "bmp": _file("bmp", scene),
    "bmp palette": _file("bmp", lambda size_wh: _image("RGB")(size_wh).quantize(64)),
    "bmp 32 bit": _bmp_32,
    "tiff": _file("tiff", scene),
    "tiff turned": _file("tiff", scene, compression="tiff_lzw", exif=odd_images.exif(6)),
    "tiff deflate noise": _file("tiff", _noise, compression="tiff_adobe_deflate"),
    "tiff jpeg": _file("tiff", scene, compression="jpeg"),
    "tiff fax": _file("tiff", _image("1"), compression="group4"),
    "tiff fax flat": _file("tiff", lambda size_wh: Image.new("1", size_wh), compression="group4"),
    "tiff lzma alpha": _file("tiff", _alpha, compression="lzma"),
    "tiff cmyk": _file("tiff", _image("CMYK"), compression="tiff_lzw", exif=odd_images.exif(6)),
    "tiff alpha": _file("tiff", _alpha, compression="tiff_lzw", exif=odd_images.exif(6)),
    "tiff one strip": lambda size_wh: tiff(scene(size_wh), {}),
    "tiff 16 bit": lambda size_wh: tiff(scene(size_wh).astype(np.uint16) * 257, {}),
    "tiff 16 bit alpha": lambda size_wh: tiff(
        np.asarray(_alpha(size_wh)).astype(np.uint16) * 257, {338: 2}
    ),
    "tiff 16 bit grey": lambda size_wh: tiff(_grey_16(size_wh)[..., None], {262: 1}),
    "tiff planar": lambda size_wh: tiff(scene(size_wh), {}, planar=True),
    "tiff planar alpha": lambda size_wh: tiff(np.asarray(_alpha(size_wh)), {338: 2}, planar=True),
    "tiff cmyk one strip": lambda size_wh: tiff(np.asarray(_image("CMYK")(size_wh)), {262: 5}),
    "tiff tile": lambda size_wh: tiff(scene(size_wh), {322: size_wh[0], 323: size_wh[1]}),
    "tiff tile alpha": lambda size_wh: tiff(
        np.asarray(_alpha(size_wh)), {338: 2, 322: size_wh[0], 323: size_wh[1]}
    ),
    "tiff tile planar alpha": lambda size_wh: tiff(
        np.asarray(_alpha(size_wh)), {338: 2, 322: size_wh[0], 323: size_wh[1]}, planar=True
    ),
}
"""A maker of a file of a given size (width, height) for each kind; sizes in multiples of 16."""


RAW: Final = {f"raw {name}": _raw(name) for name in ("RGB8", "BGR8", "GRAY8", "NV12", "I420")}
NAMES: Final = (*MAKERS, *RAW)


@dataclass(frozen=True, slots=True)
class Measured:
    """Processor seconds and the rise of the resident memory, in bytes, of one decoding."""

    decode_seconds: float
    peak_bytes: int


def warm_up() -> None:
    """Decode one picture of each format, so that loading its decoder is not measured."""
    for name in odd_images.FORMATS:
        pictures.read(odd_images.encode(odd_images.noise(64, 64), name))


def measured_in_a_child(expression: str) -> list[dict[str, Any]]:
    """Measure the named pictures that an expression yields as `(name, source)`, in a new process.

    Each comes with its coding, and with what was charged and what was measured. Pictures whose
    header is refused are left out.
    """
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}\n"
        "import coded_pictures, odd_images\n"
        "from distilpose.model import pictures\n"
        f"coded_pictures.print_measured({expression})\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


def print_measured(sources: Iterable[tuple[str, pictures.Source]]) -> None:
    """Print a line of JSON for each picture; the child's side of `measured_in_a_child`."""
    warm_up()
    for name, source in sources:
        try:
            header = pictures.read_header(source, max_pixels=MAX_PIXELS)
        except PictureError:
            continue
        cost, measured = pictures.cost_of(source, header), measure(source, header)
        line = {
            "name": name,
            "coding": header.coding,
            "charged_bytes": cost.peak_bytes,
            "peak_bytes": measured.peak_bytes,
            "charged_seconds": cost.decode_seconds,
            "decode_seconds": measured.decode_seconds,
        }
        sys.stdout.write(f"{json.dumps(line)}\n")


def measure(source: pictures.Source, header: pictures.ImageHeader) -> Measured:
    """Decode once in a forked process, so that nothing that was freed before hides the rise."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writer, json.dumps(_decoded(source, header)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return Measured(*json.loads(text))


def _decoded(source: pictures.Source, header: pictures.ImageHeader) -> tuple[float, int]:
    ctypes.CDLL(None).malloc_trim(0)
    (_SELF / "clear_refs").write_text("5")
    before_bytes, began = _status_bytes("VmRSS"), time.process_time()
    with contextlib.suppress(PictureError):
        pictures.decode(source, header)
    seconds = time.process_time() - began
    return seconds, _status_bytes("VmHWM") - before_bytes


def _status_bytes(field: str) -> int:
    lines = (_SELF / "status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(field)]
    return int(line.split()[1]) * 1024
