"""Read videos and cameras as frames, and write drawn frames to an mp4. The only user of PyAV."""

import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import av
import numpy as np

from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import DataError

_CAMERAS: Final = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}:none", "avfoundation")}
_CODECS: Final = ("libx264", "mpeg4")
_TICKS_A_SECOND: Final = 90_000
_USUAL_RATE: Final = Fraction(25)
_LEAST_MS: Final = 0.001


class Shot(NamedTuple):
    """One upright picture of a video, and its presentation time."""

    image: ImageHWC
    timestamp_ms: float


class VideoReader:
    """Reads a video file, a URL that FFmpeg supports, or a camera by its number.

    Raises:
        DataError: the source cannot be opened, or has no pictures.
    """

    def __init__(self, source: str) -> None:
        place, kind = camera(source, sys.platform) if source.isdigit() else (source, None)
        self.live = kind is not None
        try:
            self._container = av.open(place, format=kind)
        except (av.FFmpegError, OSError) as err:
            raise DataError(f"{source}: cannot be opened: {err.strerror or err}") from err
        if not self._container.streams.video:
            self._container.close()
            raise DataError(f"{source}: has no video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.frames_a_second = self._stream.average_rate or _USUAL_RATE
        self.frame_count: int | None = self._stream.frames or None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def shots(self, *, in_real_time: bool = False) -> Iterator[Shot]:
        """The pictures, with strictly increasing times; `in_real_time` delays each until its time.

        Raises:
            DataError: the file is damaged.
        """
        began, last_ms = time.monotonic(), -_LEAST_MS
        try:
            for index, frame in enumerate(self._container.decode(self._stream)):
                seconds = frame.time
                if seconds is None:
                    seconds = float(index / self.frames_a_second)
                last_ms = max(seconds * 1000, last_ms + _LEAST_MS)
                if in_real_time:
                    time.sleep(max(0.0, began + last_ms / 1000 - time.monotonic()))
                yield Shot(_upright(frame), last_ms)
        except av.FFmpegError as err:
            raise DataError(f"{self._container.name}: {err.strerror}") from err


def camera(number: str, platform: str) -> tuple[str, str]:
    """FFmpeg's source and input format for a camera on this platform.

    Raises:
        DataError: the platform does not number its cameras.
    """
    if platform not in _CAMERAS:
        raise DataError(f"camera {number}: numbered cameras are supported on Linux and macOS only")
    place, kind = _CAMERAS[platform]
    return place.format(number), kind


def _upright(frame: Any) -> ImageHWC:
    """Convert to upright RGB pixels; phones record the rotation in the frame's metadata."""
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))


class VideoWriter:
    """Writes an mp4 whose pictures keep their times; the file is created with the first one."""

    def __init__(self, path: Path, frames_a_second: Fraction) -> None:
        self._path = path
        self._rate = frames_a_second
        self._container: Any = None
        self._stream: Any = None
        self._first_ms = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, image: ImageHWC, timestamp_ms: float) -> None:
        """Add a picture.

        Raises:
            DataError: the file cannot be written.
        """
        if self._container is None:
            self._open(image)
            self._first_ms = timestamp_ms
        frame = av.VideoFrame.from_ndarray(self._fitting(image), format="rgb24")
        frame.pts = round((timestamp_ms - self._first_ms) * _TICKS_A_SECOND / 1000)
        frame.time_base = Fraction(1, _TICKS_A_SECOND)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def _open(self, image: ImageHWC) -> None:
        codec = next(name for name in _CODECS if name in av.codecs_available)
        try:
            container = av.open(str(self._path), "w", format="mp4")
            stream: Any = container.add_stream(codec, rate=self._rate)
            stream.codec_context.time_base = Fraction(1, _TICKS_A_SECOND)
            stream.height, stream.width = (side + side % 2 for side in image.shape[:2])
            stream.pix_fmt = "yuv420p"
            container.start_encoding()
        except (av.FFmpegError, OSError) as err:
            raise DataError(f"{self._path}: cannot be written: {err.strerror}") from err
        self._container, self._stream = container, stream

    def _fitting(self, image: ImageHWC) -> ImageHWC:
        """The picture with sides that fit the file: even, and the same for all."""
        height, width = image.shape[:2]
        if (height, width) == (self._stream.height, self._stream.width):
            return image
        canvas = np.zeros((self._stream.height, self._stream.width, 3), np.uint8)
        kept = image[: self._stream.height, : self._stream.width]
        canvas[: kept.shape[0], : kept.shape[1]] = kept
        return canvas
