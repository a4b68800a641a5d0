"""Small clips in every container, made by PyAV, and ways to damage them."""

import random
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from distilpose.model.arrays import ImageHWC

KINDS: Final = {
    "mp4": ("mp4", "libx264"),
    "mov": ("mov", "mpeg4"),
    "mkv": ("matroska", "libx264"),
    "webm": ("webm", "libvpx"),
    "avi": ("avi", "mpeg4"),
    "ts": ("mpegts", "mpeg2video"),
    "mpg": ("mpeg", "mpeg1video"),
    "flv": ("flv", "flv"),
    "ogv": ("ogg", "libvpx"),
    "3gp": ("3gp", "mpeg4"),
}
"""Each file suffix's container, and a codec for it."""
FRAMES: Final = 12
INTERVAL_MS: Final = 40.0


def picture(number: int, *, height: int = 48, width: int = 64) -> ImageHWC:
    """A dark picture, with a bright square that moves to the right."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[8:24, 4 * number % 48 : 4 * number % 48 + 16] = (200, 60, 60)
    return image


def make_clip(
    path: Path,
    *,
    container: str | None = None,
    codec: str | None = None,
    frames: Iterable[ImageHWC] = tuple(map(picture, range(FRAMES))),
    ticks: Iterable[int] | None = None,
    b_frames: int = 0,
    options: Mapping[str, str] = {},
    codec_options: Mapping[str, str] = {},
    metadata: Mapping[str, str] = {},
    sound: str | None = None,
    sound_seconds: float = 0.5,
    **settings: Any,
) -> Path:
    """Write a clip of 25 frames a second; its suffix decides what is not given.

    `ticks` are the frames' times in 25ths of a second; `settings` are the codec context's.
    """
    usual = KINDS.get(path.suffix[1:], ("", ""))
    with av.open(str(path), "w", format=container or usual[0], options=dict(options)) as target:
        target.metadata.update(metadata)
        stream: Any = target.add_stream(codec or usual[1], rate=25)
        stream.pix_fmt = settings.pop("pix_fmt", "yuv420p")
        stream.codec_context.max_b_frames = b_frames
        fast = {"preset": "ultrafast"} if stream.name == "libx264" and not b_frames else {}
        stream.codec_context.options = fast | dict(codec_options)
        track: Any = target.add_stream(sound, rate=48_000) if sound else None
        images = list(frames)
        stream.height, stream.width = images[0].shape[:2]
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        times = range(len(images)) if ticks is None else ticks
        for image, tick in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
        if track:
            _hum(target, track, sound_seconds)
    return path


def _hum(target: Any, track: Any, seconds: float) -> None:
    """A tone of 440 Hz."""
    samples = np.sin(np.arange(round(48_000 * seconds)) * 2 * np.pi * 440 / 48_000) * 8000
    for at in range(0, len(samples), 1024):
        part = samples[at : at + 1024].astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, at
        frame.time_base = Fraction(1, 48_000)
        target.mux(track.encode(frame))
    target.mux(track.encode(None))


def packets(path: Path) -> list[tuple[int, int]]:
    """Position and length, in bytes, of each packet with pictures."""
    with av.open(str(path)) as source:
        found = [(packet.pos, packet.size) for packet in source.demux(video=0) if packet.size]
    return [(pos, size) for pos, size in found if pos is not None]


def overwrite(path: Path, at: int, content: bytes) -> None:
    """Put the bytes there in place of those in the file."""
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = content
    path.write_bytes(whole)


def damaged(content: bytes, seed: int) -> bytes:
    """The content with one to four faults: cut off, bytes changed, a range dropped, or zeroed."""
    chance, changed = random.Random(seed), bytearray(content)  # noqa: S311 - no secret
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        start = chance.randrange(len(changed)) if changed else 0
        length = chance.choice((1, 8, 64, 512))
        match chance.randrange(4):
            case 0:
                del changed[start:]
            case 1:
                for at in range(start, min(start + length, len(changed)), chance.randint(1, 9)):
                    changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[start : start + length]
            case _:
                changed[start : start + length] = bytes(len(changed[start : start + length]))
    return bytes(changed)
