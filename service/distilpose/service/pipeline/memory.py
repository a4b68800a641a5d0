"""The memory that requests may hold: one budget for everything that a caller can make us keep."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final

from distilpose.model import container
from distilpose.service.batching.fairness import Shares, Standing
from distilpose.service.batching.room import Places, Room
from distilpose.service.errors import Overloaded, TooLarge
from distilpose.service.settings import MEBIBYTE
from distilpose.service.words import MemoryPart, RefusalReason

CONNECTION_BYTES: Final = 64 * 1024
"""The memory of an HTTP connection for what is read of a request before its body."""
_PATIENCE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_SHARES: Final = 4
"""The divisor of the limit that one request may hold for several images."""
_SHARE_OF_BODIES: Final = 2
"""The divisor of the limit that bodies may fill; the rest is for what is done with them."""
_SHARE_OF_STREAMS: Final = 3
"""The divisor of the limit that open streams may hold. A frame waits for as long as it takes, so
whatever other streams hold may never be what it waits for."""
_SHARE_OF_HOLES: Final = 16
"""The divisor of the limit that freed memory may have while the rest is used."""
_SMALL_BODY_BYTES: Final = MEBIBYTE
"""The first bytes of each body wait behind no larger bodies."""


class Memory:
    """A gate for bytes. A request waits a moment for it, since memory comes back quickly."""

    reason = RefusalReason.MEMORY

    def __init__(
        self,
        limit_bytes: int,
        *,
        on_refusal: Callable[[RefusalReason], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_refusal = on_refusal
        self.room = Room(limit_bytes)
        self.bodies = Room(limit_bytes // _SHARE_OF_BODIES)
        self.streams = Room(limit_bytes // _SHARE_OF_STREAMS)
        self.shares = Shares(clock)
        """Each caller's use of memory for messages, and of all that requests are admitted to: who
        fills the memory with bodies that are never admitted must not make others wait for it."""
        self._held_bytes: Counter[MemoryPart] = Counter()
        self._loaded_bytes: int | None = None

    @property
    def limit_bytes(self) -> int:
        """The most that all requests together may hold."""
        return self.room.capacity

    def most_resident_bytes(self) -> int:
        """The memory of the process beyond which it is freed memory that nobody uses."""
        if self._loaded_bytes is None:
            return sys.maxsize
        requested_bytes = self.room.used - self._held_bytes[MemoryPart.HOLES]
        return self._loaded_bytes + requested_bytes + self.limit_bytes // _SHARE_OF_HOLES

    def count_holes(self, size_bytes: int) -> None:
        """Count freed memory beyond that, as long as it lasts: requests have as much less.

        It is never more than half of the limit, so that something is always answered.
        """
        counted_bytes = min(size_bytes, self.limit_bytes // 2)
        self._change(MemoryPart.HOLES, counted_bytes - self._held_bytes[MemoryPart.HOLES])

    def set_limit(self, limit_bytes: int) -> None:
        """Change the limit, now that all is loaded; what is held already is not touched."""
        self._loaded_bytes = container.resident_bytes()
        self.room.capacity = limit_bytes
        self.bodies.capacity = limit_bytes // _SHARE_OF_BODIES
        self.streams.capacity = limit_bytes // _SHARE_OF_STREAMS

    @property
    def patience_seconds(self) -> float:
        """The time for which a request may wait before it is refused."""
        return _PATIENCE_SECONDS

    def held_bytes(self, part: MemoryPart) -> int:
        """The bytes that are held for one purpose."""
        if part is not MemoryPart.IMAGES:
            return self._held_bytes[part]
        return self.room.used - self._held_bytes.total()

    def count_connections(self, change: int) -> None:
        """Hold the memory of connections that have begun, or return it if `change` is negative."""
        self._change(MemoryPart.CONNECTIONS, change * CONNECTION_BYTES)

    def _change(self, part: MemoryPart, size_bytes: int) -> None:
        """Hold more for a purpose at once, or return it if `size_bytes` is negative."""
        self._held_bytes[part] += size_bytes
        if size_bytes > 0:
            self.room.take(size_bytes)
        elif size_bytes < 0:
            self.room.release(-size_bytes)

    def hold(self, part: MemoryPart, *, caller: str = "") -> "Holding":
        """Begin to hold memory of a size that is not known yet, for a caller."""
        return Holding(self, part, self._held_bytes, caller)

    def check(self, needs_bytes: int, *, of_stream: bool = False) -> None:
        """Check what one image needs.

        Raises:
            TooLarge: it is more than all requests together may hold, or for a frame more than what
                streams leave.
        """
        limit_bytes = self.limit_bytes - (self.streams.capacity if of_stream else 0)
        if needs_bytes > limit_bytes:
            raise TooLarge(
                f"the image needs {needs_bytes // MEBIBYTE} MiB of memory, the limit for all "
                f"{'frames' if of_stream else 'requests'} is {limit_bytes // MEBIBYTE} MiB"
            )

    def share_of(self, needs_bytes: Sequence[int]) -> int:
        """The memory for a request's images: enough for each, and for all if it is not too much.

        Images of a request that do not fit into its share take turns.
        """
        return max(*needs_bytes, min(sum(needs_bytes), self.limit_bytes // _SHARES))

    @property
    def clearing_seconds(self) -> float:
        """The time after which there may be room: memory comes back quickly."""
        return _RETRY_SECONDS

    def refusal(self, items: int) -> Overloaded:
        """Return the error of a request that found no room for that many bytes."""
        return Overloaded(
            f"requests hold {self.room.used // MEBIBYTE} of {self.limit_bytes // MEBIBYTE} MiB of "
            f"memory, no room for {items // MEBIBYTE + 1} MiB more",
            retry_after_seconds=self.clearing_seconds,
        )


class Holding:
    """Memory that grows as bytes arrive, until the `with` ends."""

    def __init__(
        self, memory: Memory, part: MemoryPart, counted: Counter[MemoryPart], caller: str
    ) -> None:
        self.size_bytes = 0
        self._arrived_bytes = 0
        self._memory = memory
        self._part = part
        self._counted = counted
        self._caller = caller
        # One count in each room, not one for each piece: a stream holds and returns every frame.
        self._of_bodies = Places(memory.bodies, 0)
        self._held = Places(memory.room, 0)

    async def receive(self, size_bytes: int, *, at_most_bytes: int, accepted_at: float) -> None:
        """Hold a piece that has arrived of a body that may have `at_most_bytes`.

        The rest of a large body is held at once. If bodies waited for each of their pieces, all of
        them could hold a part and none get the rest.

        Raises:
            Overloaded: there was no room for a second.
        """
        self._arrived_bytes += size_bytes
        lacking_bytes = self._arrived_bytes - self.size_bytes
        if lacking_bytes > 0:
            if self._arrived_bytes > _SMALL_BODY_BYTES:
                lacking_bytes = max(self._arrived_bytes, at_most_bytes) - self.size_bytes
            await self.grow(lacking_bytes, accepted_at=accepted_at)

    async def grow(self, size_bytes: int, *, accepted_at: float) -> None:
        """Hold more, which a large body may have to wait for.

        While others are refused, who has had more than its share leaves room to them, and who has
        had little goes first.

        Raises:
            Overloaded: there was no room for a second.
        """
        memory, shares = self._memory, self._memory.shares
        standing = shares.standing(self._caller)
        charge = shares.charge(self._caller, min(1.0, size_bytes / memory.bodies.capacity))
        try:
            async with asyncio.timeout(memory.patience_seconds):
                await self._wait_for(size_bytes, accepted_at, standing)
        except TimeoutError as err:
            shares.give_back(charge)
            shares.refused(self._caller)
            memory.on_refusal(memory.reason)
            raise memory.refusal(size_bytes) from err
        except asyncio.CancelledError:
            shares.give_back(charge)
            raise
        self._count(size_bytes)

    async def _wait_for(self, size_bytes: int, accepted_at: float, standing: Standing) -> None:
        memory = self._memory
        small_bytes = max(self.size_bytes, _SMALL_BODY_BYTES)
        large_bytes = max(0, self.size_bytes + size_bytes - small_bytes)
        left = 1 - min(1, standing.limit)
        turn = {"accepted_at": accepted_at, "rank": standing.rank}
        if large_bytes and self._part is MemoryPart.BODIES:
            leaving = round(left * memory.bodies.capacity)
            self._of_bodies.add(await memory.bodies.wait_for(large_bytes, leaving=leaving, **turn))
        # Here a small body's room is enough to leave: the rest is not for bodies alone.
        leaving = min(round(left * memory.room.capacity), _SMALL_BODY_BYTES)
        self._held.add(await memory.room.wait_for(size_bytes, leaving=leaving, **turn))

    def take(self, size_bytes: int) -> None:
        """Hold more at once: for what is small, and belongs to work that was accepted."""
        self._held.add(self._memory.room.take(size_bytes))
        self._count(size_bytes)

    def shrink_to(self, size_bytes: int) -> None:
        """Return what turned out not to be needed."""
        self._held.shrink_to(size_bytes)
        self._of_bodies.shrink_to(max(0, size_bytes - _SMALL_BODY_BYTES))
        self._count(min(0, size_bytes - self.size_bytes))

    def close(self) -> None:
        """Return everything."""
        self.shrink_to(0)

    def _count(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self._counted[self._part] += size_bytes

    def __enter__(self) -> "Holding":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()
