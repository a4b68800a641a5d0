"""The memory that requests may hold: one budget for everything that a caller can make us keep."""

from collections.abc import Sequence
from typing import Final

from distilpose.service.batching.room import Room
from distilpose.service.errors import Overloaded, TooLarge
from distilpose.service.settings import MEBIBYTE

_PATIENCE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_SHARES: Final = 4
"""The divisor of the limit that one request may hold for several images."""


class Memory:
    """A gate for bytes. A request waits a moment for it, since memory comes back quickly."""

    def __init__(self, limit_bytes: int) -> None:
        self.room = Room(limit_bytes)

    @property
    def limit_bytes(self) -> int:
        """The most that all requests together may hold."""
        return self.room.capacity

    @property
    def patience_seconds(self) -> float:
        """The time for which a request may wait before it is refused."""
        return _PATIENCE_SECONDS

    def check(self, needs_bytes: int) -> None:
        """Check what one image needs.

        Raises:
            TooLarge: it is more than all requests together may hold.
        """
        if needs_bytes > self.limit_bytes:
            raise TooLarge(
                f"the image needs {needs_bytes // MEBIBYTE} MiB of memory, the limit for all "
                f"requests is {self.limit_bytes // MEBIBYTE} MiB"
            )

    def share_of(self, needs_bytes: Sequence[int]) -> int:
        """The memory for a request's images: enough for each, and for all if it is not too much.

        Images of a request that do not fit into its share take turns.
        """
        return max(*needs_bytes, min(sum(needs_bytes), self.limit_bytes // _SHARES))

    def refusal(self, items: int) -> Overloaded:
        """Return the error of a request that found no room for that many bytes."""
        return Overloaded(
            f"requests hold {self.room.used // MEBIBYTE} of {self.limit_bytes // MEBIBYTE} MiB of "
            f"memory, no room for {items // MEBIBYTE + 1} MiB more",
            retry_after_seconds=_RETRY_SECONDS,
        )
