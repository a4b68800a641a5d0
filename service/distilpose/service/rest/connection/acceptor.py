"""Accepts HTTP connections: counted from their first moment, TLS handshakes included."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from distilpose.service.rest.connection.places import Connections, Place
from distilpose.service.words import ClosingReason

_AT_ONCE: Final = 64
"""Connections accepted before the event loop serves others."""
_NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_SECONDS: Final = 0.1


class Acceptor:
    """Gives each connection of a listening socket a place, then its protocol.

    asyncio's own servers tell nobody of connections whose TLS handshake has not ended.
    """

    def __init__(
        self,
        listener: socket.socket,
        connections: Connections,
        make_protocol: Callable[[Place], asyncio.BaseProtocol],
        *,
        context: ssl.SSLContext | None,
        handshake_seconds: float,
    ) -> None:
        self._listener = listener
        self._connections = connections
        self._make_protocol = make_protocol
        self._context = context
        self._handshake_seconds = handshake_seconds if context else None
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._is_open = False

    def start(self) -> None:
        """Accept connections until `close`."""
        self._is_open = True
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept no more, and give up handshakes that have not ended."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener)
            self._listener.close()
        for task in self._beginning:
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when no handshake is left."""
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _peer = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as err:
                if err.errno not in _NO_DESCRIPTOR:
                    continue  # the caller has left again
                self._connections.refused(ClosingReason.DESCRIPTORS)
                self._pause()
                return
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        place = self._connections.enter()
        if place is None:
            connection.close()
            return
        task = self._loop.create_task(self._begin(connection, place))
        place.evict = task.cancel
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket, place: Place) -> None:
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(
                lambda: self._make_protocol(place),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except OSError:  # ssl.SSLError and TimeoutError are too
            place.close_for(ClosingReason.HANDSHAKE)
            place.leave()
            connection.close()
        except asyncio.CancelledError:
            place.leave()
            connection.close()
            raise

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener)
        self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept)
