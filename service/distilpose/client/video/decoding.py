"""The frames of an opened container, whatever is damaged in it; what is lost is counted."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream

_MOST_FAILURES: Final = 16
"""A container that fails as often in a row, without a packet between, has ended."""
_SOME_HIDDEN: Final = frozenset({"vp8", "mpeg4"})
"""Codecs in which whole packets give no picture: alternate references, and fillers."""


class Decoder:
    """Decodes one stream of a container, and goes on behind what cannot be decoded.

    `on_other` gets the packets of the `others`, such as sound, between the frames.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        others: tuple[Any, ...] = (),
        on_other: Callable[[Any], None] = lambda packet: None,
    ) -> None:
        self._container = container
        self._stream = stream
        self._others = others
        self._on_other = on_other
        self._owed = _Owed(may_hide=stream.codec_context.name in _SOME_HIDDEN)
        self.damaged = 0
        """Frames with parts that the decoder had to make up."""
        self.is_cut = False
        """True if the last packet was cut off by the end of the file."""
        self.failure: str | None = None
        """The container's last error."""

    @property
    def lost(self) -> int:
        """Number of pictures that could not be decoded."""
        return self._owed.lost

    def frames(self) -> Iterator[av.VideoFrame]:
        """The frames in the order in which they are shown."""
        failures = 0
        while failures < _MOST_FAILURES:
            try:
                for packet in self._container.demux(self._stream, *self._others):
                    failures = 0
                    yield from self._taken(packet)
                break
            except av.error.InvalidDataError as err:
                failures += 1
                self.failure = err.strerror
            except (av.FFmpegError, OSError) as err:
                failures = _MOST_FAILURES
                self.failure = err.strerror or str(err)
        else:
            yield from self._decoded(None)
        self._owed.settle()

    def _taken(self, packet: Any) -> Iterator[av.VideoFrame]:
        is_last = packet.dts is None and packet.pts is None and not packet.size
        if packet.stream.index != self._stream.index:
            if not is_last:
                self._on_other(packet)
        elif packet.size or is_last:  # an AVI's empty packets repeat the frame before
            self.is_cut = packet.is_corrupt if packet.size else self.is_cut
            yield from self._decoded(packet)

    def _decoded(self, packet: Any) -> Iterator[av.VideoFrame]:
        """The frames that the decoder has now; without a packet, those that it still holds."""
        is_picture = packet is not None and packet.size > 0
        if is_picture and not packet.is_discard:
            self._owed.sent(packet.pts)
        try:
            frames = self._stream.decode(packet)
        except (av.FFmpegError, OSError):
            if is_picture:
                self._owed.failed(packet.pts)
            return
        for frame in frames:
            self._owed.received(frame)
            self.damaged += frame.is_corrupt
            yield frame


class _Owed:
    """The pictures that packets promised, by presentation time, until they come."""

    def __init__(self, *, may_hide: bool) -> None:
        self._may_hide = may_hide
        self._failed: dict[int, bool] = {}
        """True for those whose packet was an error."""
        self._first: int | None = None
        self._timeless = 0

    @property
    def lost(self) -> int:
        return self._timeless + sum(self._failed.values())

    def sent(self, time: int | None) -> None:
        if time is not None:
            self._failed.setdefault(time, False)

    def failed(self, time: int | None) -> None:
        if time is None:
            self._timeless += 1
        else:
            self._failed[time] = True

    def received(self, frame: av.VideoFrame) -> None:
        # The two fields of an interlaced picture may come in two packets.
        self._may_hide = self._may_hide or frame.interlaced_frame
        if frame.pts is not None:
            self._first = frame.pts if self._first is None else min(self._first, frame.pts)
            self._failed.pop(frame.pts, None)

    def settle(self) -> None:
        """Count as lost what has not come by the end.

        Pictures before the first one count only if they failed: a recording that starts between
        two key frames has some that nobody could decode.
        """
        if self._may_hide or self._first is None:
            return
        for time in self._failed:
            self._failed[time] |= time > self._first
