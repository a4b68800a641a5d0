"""Reads a video or a camera: its pictures as they are shown, their times, and what is missing."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any, Final, NamedTuple, Self

import av

from distilpose.client.video.clock import Clock, Pace
from distilpose.client.video.decoding import Decoder
from distilpose.client.video.display import Colours, shown
from distilpose.client.video.sound import Sound
from distilpose.client.video.sources import place_of
from distilpose.client.video.structure import flaw_of
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import DataError

_USUAL_RATE: Final = Fraction(25)
_RATES: Final = (Fraction(1, 10), Fraction(1000))
_MOST_PIXELS: Final = 1 << 27
"""A picture that says it has more is damaged, and is not given the memory."""
_MAKE_UP_TIMES: Final = 1
"""FFmpeg's AVFMT_FLAG_GENPTS."""
_NO_PICTURE: Final = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


class Shot(NamedTuple):
    """One upright picture of a video, with square pixels, and its time."""

    image: ImageHWC
    timestamp_ms: float
    """Time on a clock that starts with the file's first time and always rises."""
    file_time_ms: float | None = None
    """The presentation time in the file; None where it has none."""


class VideoReader:
    """Reads a video file, an address that FFmpeg reads, or a camera by its number or device.

    Raises:
        DataError: the source cannot be opened, or has no pictures.
    """

    def __init__(self, source: str) -> None:
        self._place = place_of(source)
        self._source = source
        self.live = self._place.is_live
        self._container = self._opened()
        self._stream = self._pictures_of(self._container)
        self._stream.codec_context.options = _CODEC_OPTIONS
        self.frames_a_second = self._rate()
        self.frame_count = self._frames_named()
        """About how many frames there are, by headers that may lie; None if they say nothing."""
        self.colours = Colours.of(self._stream.codec_context)
        self._clock = Clock(float(1000 / self.frames_a_second))
        self._sound = Sound(())
        self._decoder = Decoder(self._container, self._stream)
        self._unshown = 0
        """Frames that could not be converted."""
        self._shortness: str | None = None
        """The reason why pictures may be missing at the end, known there."""
        self._first_aspect: Fraction | None = None
        self._is_read = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._is_read:  # another thread may still wait for a frame
            self._is_closed = True
            self._container.close()

    def sound(self) -> Sound:
        """The sound, which is filled as pictures are read; call it before the first one is."""
        self._sound = Sound(tuple(self._container.streams.audio))
        self._decoder = Decoder(
            self._container, self._stream, self._sound.streams, self._take_sound
        )
        return self._sound

    def _take_sound(self, packet: Any) -> None:
        self._sound.read(packet, self._clock.shift_ms or 0.0)

    def shots(self, *, in_real_time: bool = False) -> Iterator[Shot]:
        """The pictures, with strictly increasing times; `in_real_time` delays each until its time.

        What cannot be decoded is left out: `troubles` tells of it afterwards.

        Raises:
            DataError: not one picture can be decoded.
        """
        pace = Pace() if in_real_time else None
        frames = self._decoder.frames()
        first = next(self._each_shot(frames), None)
        if first is None:
            raise DataError(f"{self._source}: none of its pictures can be decoded")
        for shot in chain([first], self._each_shot(frames)):
            if pace:
                pace.wait_until(shot.timestamp_ms)
            yield shot
        with suppress(OSError):  # the file may be gone by now
            self._shortness = self._why_short()

    def troubles(self) -> list[str]:
        """Sentences about pictures that are missing or damaged; empty if none is."""
        lost = self._decoder.lost + self._unshown
        found = [
            _counted(lost, "could not be decoded, and {is_are} missing"),
            _counted(self._decoder.damaged, "{is_are} damaged, and partly made up by the decoder"),
            self._shortness,
        ]
        return [f"{self._source}: {trouble}" for trouble in found if trouble]

    def _why_short(self) -> str | None:
        """The reason why pictures may be missing at the end, if there is any."""
        if self._is_closed:
            return None
        if self._decoder.failure:
            return f"reading it met an error: {self._decoder.failure}"
        file = self._place.file
        flaw = flaw_of(file) if file else None
        if flaw is None and file and self._indexed_bytes() > file.stat().st_size:
            flaw = "its index names bytes beyond its end"
        if flaw is None and self._decoder.is_cut:
            flaw = "it ends within a picture"
        return f"it is cut short or damaged: {flaw}" if flaw else None

    def _indexed_bytes(self) -> int:
        """Position after the last byte that the index names."""
        return max((entry.pos + entry.size for entry in self._stream.index_entries), default=0)

    def _each_shot(self, frames: Iterator[av.VideoFrame]) -> Iterator[Shot]:
        while (frame := self._next_of(frames)) is not None:
            file_time_ms = None if frame.time is None else frame.time * 1000
            timestamp_ms = self._clock.tick(file_time_ms)
            try:
                image = shown(frame, self._pixel_aspect())
            except (av.FFmpegError, ValueError):
                self._unshown += 1
                continue
            yield Shot(image, timestamp_ms, file_time_ms)

    def _next_of(self, frames: Iterator[av.VideoFrame]) -> av.VideoFrame | None:
        with self._is_read:
            return None if self._is_closed else next(frames, None)

    def _pixel_aspect(self) -> Fraction | None:
        """Width by height of a pixel, by the container; broadcasts change it on their way."""
        decoded: Fraction | None = self._stream.codec_context.sample_aspect_ratio
        if self._first_aspect is None:
            self._first_aspect = decoded
        by_container: Fraction | None = self._stream.sample_aspect_ratio
        return by_container if decoded == self._first_aspect else decoded

    def _opened(self) -> Any:
        place = self._place
        try:
            container: Any = av.open(
                place.name,
                format=place.input_format,
                options=_CODEC_OPTIONS,
                timeout=place.patience_seconds,
                metadata_errors="replace",  # titles in other encodings than UTF-8
            )
        except (av.FFmpegError, OSError) as err:
            raise DataError(f"{self._source}: cannot be opened: {err.strerror or err}") from err
        # Made-up times of pictures out of order are worse than none.
        container.flags &= ~_MAKE_UP_TIMES
        return container

    def _pictures_of(self, container: Any) -> Any:
        """The first stream of pictures that is not a cover or thumbnails."""
        found = sorted(container.streams.video, key=lambda s: bool(s.disposition & _NO_PICTURE))
        if not found:
            container.close()
            raise DataError(f"{self._source}: has no video")
        if found[0].codec_context is None:
            container.close()
            raise DataError(f"{self._source}: there is no decoder for its video")
        return found[0]

    def _frames_named(self) -> int | None:
        frames: int = self._stream.frames
        micros: int | None = self._container.duration
        if frames > 0:
            return frames
        if self.live or micros is None or micros <= 0:
            return None
        return round(micros * self.frames_a_second / 1_000_000) or None

    def _rate(self) -> Fraction:
        """Frames a second by the headers, where that is possible."""
        least, most = _RATES
        for rate in (self._stream.average_rate, self._stream.guessed_rate):
            if rate and least <= rate <= most:
                return Fraction(rate)
        return _USUAL_RATE


_CODEC_OPTIONS: Final = {"max_pixels": str(_MOST_PIXELS)}


def _counted(frames: int, predicate: str) -> str | None:
    """A sentence about so many frames; None about none."""
    if not frames:
        return None
    one = frames == 1
    return (
        f"{frames} {'frame' if one else 'frames'} {predicate.format(is_are='is' if one else 'are')}"
    )
