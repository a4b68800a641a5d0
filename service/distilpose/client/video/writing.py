"""Writes drawn frames to an mp4 that plays as its source does: times, colours and sound."""

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from distilpose.client.video.display import UNTAGGED, Colours
from distilpose.client.video.reading import VideoReader
from distilpose.client.video.sound import Sound, SoundTrack
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import DataError

_CODECS: Final = ("libx264", "mpeg4")
_TICKS_A_SECOND: Final = 60_000
"""A multiple of the usual rates, 30000/1001 included, that MPEG-4 can write: it allows 65,535."""
_MOST_TICKS: Final = 3600 * _TICKS_A_SECOND
"""An mp4 holds no longer picture than some hours."""
_YUV_MATRICES: Final = {5: 5, 6: 5}
"""Names in H.273 of BT.601, which are one for swscale; the others have the same number there."""


def written_like(reader: VideoReader, path: Path) -> "VideoWriter":
    """A writer of the reader's pictures, with its rate, its colour tags and its sound."""
    return VideoWriter(path, reader.frames_a_second, colours=reader.colours, sound=reader.sound())


class VideoWriter:
    """Writes an mp4 whose pictures keep their times; the file is created with the first one."""

    def __init__(
        self,
        path: Path,
        frames_a_second: Fraction,
        *,
        colours: Colours = UNTAGGED,
        sound: Sound | None = None,
    ) -> None:
        self._path = path
        self._rate = frames_a_second
        self._colours = colours
        self._sound = sound
        self._track: SoundTrack | None = None
        self._container: Any = None
        self._stream: Any = None
        self._first_ms = 0.0
        self._last_tick = -1
        self._silence: str | None = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, image: ImageHWC, timestamp_ms: float) -> None:
        """Add a picture; one that is not later than the last is shown right after it.

        Raises:
            DataError: the file cannot be written.
        """
        try:
            if self._container is None:
                self._open(image)
                self._first_ms = timestamp_ms
            frame = self._frame(image)
            frame.pts = self._last_tick = self._tick(timestamp_ms)
            frame.time_base = Fraction(1, _TICKS_A_SECOND)
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as err:
            raise self._unwritable(err) from err
        self._write_sound()

    @property
    def silence(self) -> str | None:
        """The reason why sound of the source is missing; None if none is."""
        damaged = self._track.damaged if self._track else 0
        if self._silence or not damaged:
            return self._silence
        parts = "part of its sound is" if damaged == 1 else "parts of its sound are"
        return f"{damaged} damaged {parts} left out"

    def close(self) -> None:
        """Finish the file.

        Raises:
            DataError: it cannot be written.
        """
        if self._container is None:
            return
        self._write_sound()
        container, self._container = self._container, None
        try:
            container.mux(self._stream.encode(None))
            container.close()
        except (av.FFmpegError, OSError) as err:
            raise self._unwritable(err) from err

    def _unwritable(self, err: Any) -> DataError:
        return DataError(f"{self._path}: cannot be written: {err.strerror or err}")

    def _tick(self, timestamp_ms: float) -> int:
        """The time in the file: after the last picture's, and not more than an hour after it."""
        tick = round((timestamp_ms - self._first_ms) * _TICKS_A_SECOND / 1000)
        if self._last_tick < 0:
            return 0
        if tick > self._last_tick + _MOST_TICKS:
            self._first_ms += (tick - self._last_tick - _MOST_TICKS) * 1000 / _TICKS_A_SECOND
            tick = self._last_tick + _MOST_TICKS
        return max(tick, self._last_tick + 1)

    def _open(self, image: ImageHWC) -> None:
        try:
            self._start(image, self._sound)
        except (av.FFmpegError, OSError):
            if self._sound is None:
                raise
            self._silence = "its sound cannot be written into an mp4"
            self._start(image, None)

    def _start(self, image: ImageHWC, sound: Sound | None) -> None:
        codec = next(name for name in _CODECS if name in av.codecs_available)
        container = av.open(str(self._path), "w", format="mp4")
        stream: Any = container.add_stream(codec, rate=self._rate)
        stream.codec_context.time_base = Fraction(1, _TICKS_A_SECOND)
        stream.height, stream.width = (side + side % 2 for side in image.shape[:2])
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(1)
        self._colours.tag(stream.codec_context)
        track = SoundTrack(sound, container) if sound else None
        container.start_encoding()
        if track and track.refused:
            self._silence = f"an mp4 cannot hold sound in {' and '.join(track.refused)}"
        self._container, self._stream, self._track = container, stream, track

    def _write_sound(self) -> None:
        if self._track is None:
            return
        try:
            self._track.write(self._first_ms)
        except (av.FFmpegError, OSError) as err:
            self._silence = f"its sound ends early: {err.strerror or err}"
            self._track = None

    def _frame(self, image: ImageHWC) -> av.VideoFrame:
        """The picture in the colours of the source's tags."""
        frame = av.VideoFrame.from_ndarray(self._fitting(image), format="rgb24")
        matrix = self._colours.matrix
        frame = frame.reformat(
            format="yuv420p",
            dst_colorspace=_YUV_MATRICES.get(matrix, matrix),
            dst_color_range=self._colours.colour_range or None,
        )
        self._colours.tag(frame)
        return frame

    def _fitting(self, image: ImageHWC) -> ImageHWC:
        """The picture with sides that fit the file: even, and the same for all."""
        height, width = image.shape[:2]
        if (height, width) == (self._stream.height, self._stream.width):
            return image
        canvas = np.zeros((self._stream.height, self._stream.width, 3), np.uint8)
        kept = image[: self._stream.height, : self._stream.width]
        canvas[: kept.shape[0], : kept.shape[1]] = kept
        return canvas
