"""The open HTTP connections of one port: their number, its limit, and a reserve for probes."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import ClosingReason

logger = logging.getLogger(__name__)

PROBES_RESERVE: Final = 16
"""Connections beyond the limit, on which only probes and scrapes are answered."""
PROBES: Final = (b"/healthz", b"/readyz", b"/metrics", b"/v2/health/live", b"/v2/health/ready")

_LOG_SECONDS: Final = 1.0


class Place:
    """The place of one open connection, which `leave` gives back."""

    def __init__(self, connections: "Connections", *, is_reserved: bool) -> None:
        self.is_reserved = is_reserved
        """True if only a probe may be answered here."""
        self.evict: Callable[[], object] = lambda: None
        """Closes the connection at once."""
        self._connections: Connections | None = connections

    def has_request(self) -> None:
        """Keep the place for the request whose head has arrived."""
        if self._connections:
            self._connections.silent.pop(self, None)

    def close_for(self, reason: ClosingReason) -> None:
        """Count that the service closes the connection, unless it is closed already."""
        if self._connections:
            self._connections.refused(reason)

    def leave(self) -> None:
        """Give the place back; only the first call counts."""
        if self._connections:
            self._connections.left(self)
            self._connections = None


class Connections:
    """Counts the connections of a port, and refuses those beyond its limit.

    Beyond the limit there is a reserve. When it is full too, a newcomer takes the place of the
    connection in it that has waited longest without sending a request, so that connections which
    say nothing keep no probe out.
    """

    def __init__(self, limit: int, metrics: Metrics, *, reserve: int = PROBES_RESERVE) -> None:
        self.open = 0
        self.on_change: Callable[[int], None] = lambda _: None
        """Called with 1 when a connection begins and with -1 when it has ended."""
        self.silent: dict[Place, None] = {}
        """Places in the reserve that wait for a request, oldest first."""
        self._limit = limit
        self._reserve = reserve
        self._metrics = metrics
        self._unlogged = 0
        self._next_line: asyncio.TimerHandle | None = None

    def enter(self) -> Place | None:
        """The place of a new connection; None if it must be closed."""
        if self.open >= self._limit + self._reserve and not self._evicted():
            self.refused(ClosingReason.LIMIT)
            return None
        place = Place(self, is_reserved=self.open >= self._limit)
        if place.is_reserved:
            self.silent[place] = None
        self._count(1)
        return place

    def left(self, place: Place) -> None:
        """Forget a connection that has ended."""
        self.silent.pop(place, None)
        self._count(-1)

    def refused(self, reason: ClosingReason) -> None:
        """Count a connection that the service closes; lack of room is logged once a second."""
        self._metrics.connections_refused.labels(reason).inc()
        if reason in (ClosingReason.LIMIT, ClosingReason.DESCRIPTORS):
            self._unlogged += 1
            if not self._next_line:
                self._log()

    def _evicted(self) -> bool:
        place = next(iter(self.silent), None)
        if not place:
            return False
        place.close_for(ClosingReason.LIMIT)
        place.leave()
        place.evict()
        return True

    def _count(self, change: int) -> None:
        self.open += change
        self._metrics.connections.inc(change)
        self.on_change(change)

    def _log(self) -> None:
        self._next_line = None
        if self._unlogged:
            logger.warning(
                "connections were refused",
                extra={"refused": self._unlogged, "open": self.open, "limit": self._limit},
            )
            self._unlogged = 0
            self._next_line = asyncio.get_running_loop().call_later(_LOG_SECONDS, self._log)
