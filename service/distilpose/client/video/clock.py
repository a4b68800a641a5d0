"""The times of a video's frames, made to rise whatever the file says. Knows no files."""

import time
from collections.abc import Callable
from typing import Final

_LONGEST_WAIT_SECONDS: Final = 10.0
"""A longer pause between two frames is a break in the recording, which nobody wants to sit out."""


class Clock:
    """One clock for all frames: it starts at the first frame's own time and always rises.

    It rises by the file's own steps. Where the file's times do not rise (equal, starting again,
    falling) or are absent, it rises by the nominal interval.
    """

    def __init__(self, nominal_ms: float) -> None:
        self._nominal_ms = nominal_ms
        self._now_ms: float | None = None
        self.shift_ms: float | None = None
        """This clock minus the file's; None as long as the file has had no time."""

    def tick(self, file_time_ms: float | None) -> float:
        """The time of the next frame, in milliseconds."""
        if self._now_ms is None:
            now_ms = 0.0 if file_time_ms is None else file_time_ms
        else:
            now_ms = self._now_ms + self._nominal_ms
            if file_time_ms is not None and self.shift_ms is not None:
                own_ms = file_time_ms + self.shift_ms
                now_ms = own_ms if own_ms > self._now_ms else now_ms
        if file_time_ms is not None:
            self.shift_ms = now_ms - file_time_ms
        self._now_ms = now_ms
        return now_ms


class Pace:
    """Delays frames until they are due, as a player would, counted from the first one."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._starts_at: float | None = None
        """The instant at which the clip's clock would have been at 0."""

    def wait_until(self, timestamp_ms: float) -> None:
        """Return when the frame is due; a pause of more than ten seconds is skipped."""
        now, seconds = self._now(), timestamp_ms / 1000
        if self._starts_at is None or self._starts_at + seconds - now > _LONGEST_WAIT_SECONDS:
            self._starts_at = now - seconds
        self._sleep(max(0.0, self._starts_at + seconds - now))
