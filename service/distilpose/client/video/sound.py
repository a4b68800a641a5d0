"""A clip's sound, carried over into the drawn clip packet by packet, without decoding it."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import av


class Sound:
    """The sound packets that were read and not yet written, on the clock of the pictures.

    One thread reads, another one writes.
    """

    def __init__(self, streams: tuple[Any, ...]) -> None:
        self.streams = streams
        self._waiting: deque[tuple[Any, float]] = deque()

    def read(self, packet: Any, shift_ms: float) -> None:
        """Add a packet; `shift_ms` is the pictures' clock minus the file's."""
        self._waiting.append((packet, shift_ms))

    def taken(self) -> Iterator[tuple[Any, float]]:
        """The packets and their shifts, each once."""
        while self._waiting:
            yield self._waiting.popleft()


class SoundTrack:
    """Writes sound into an opened container, as far as its format can hold it."""

    def __init__(self, sound: Sound, container: Any) -> None:
        self._sound = sound
        self._container = container
        self._targets: dict[int, Any] = {}
        self._last: dict[int, int] = {}
        """Each target's last decoding time, in its source's ticks."""
        self.refused: list[str] = []
        """The codecs that the format cannot hold."""
        self.damaged = 0
        """Packets that are damaged, and were left out."""
        for stream in sound.streams:
            try:
                self._targets[stream.index] = container.add_stream_from_template(stream)
            except (av.FFmpegError, ValueError):
                self.refused.append(stream.name if stream.codec_context else "an unknown codec")

    def write(self, starts_at_ms: float) -> None:
        """Write what was read, at its time after the first picture; earlier sound is left out."""
        for packet, shift_ms in self._sound.taken():
            target = self._targets.get(packet.stream.index)
            if target is not None and self._timed(packet, shift_ms - starts_at_ms):
                packet.stream = target
                try:
                    self._container.mux(packet)
                except av.FFmpegError as err:
                    if isinstance(err, OSError):  # such as a full disk
                        raise
                    self.damaged += 1

    def _timed(self, packet: Any, shift_ms: float) -> bool:
        """Set the packet's times; return False if it has none that fits."""
        times = [time for time in (packet.dts, packet.pts) if time is not None]
        if not times or not packet.time_base:
            return False
        shift = round(shift_ms / 1000 / packet.time_base)
        index = packet.stream.index
        decoded_at = times[0] + shift
        if decoded_at < 0 or decoded_at <= self._last.get(index, -1):
            return False
        self._last[index] = packet.dts = decoded_at
        packet.pts = max(decoded_at, times[-1] + shift)
        return True
