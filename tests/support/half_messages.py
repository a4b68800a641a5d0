"""A gRPC call whose message stops before its last byte, which no library would send."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_HEADERS, ACK = 4, 1
INITIAL_WINDOW: Final = 4
FRAME_BYTES: Final = 16_384
STREAM: Final = 1


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _field(name: str, value: str) -> bytes:
    """A header field as a literal that is not indexed."""
    texts = [text.encode() for text in (name, value)]
    assert all(len(text) < 127 for text in texts)
    return b"\0" + b"".join(bytes([len(text)]) + text for text in texts)


class HalfCall:
    """A call on a connection of its own, over HTTP/2 as far as that needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sent_bytes = 0
        self._reader, self._writer = reader, writer
        self._windows = {0: 65_535, STREAM: 65_535}
        self._widened = asyncio.Event()

    async def send(self, method: str, message: bytes, *, key: str) -> None:
        """Begin the call, and send all of its message but the last byte. Never returns."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": "test",
            "content-type": "application/grpc",
            "te": "trailers",
            "x-api-key": key,
        }
        head = b"".join(_field(*each) for each in fields.items())
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, b""))
        self._writer.write(_frame(HEADERS, END_HEADERS, STREAM, head))
        receiving = asyncio.create_task(self._receive())
        try:
            await self._send_data(b"\0" + struct.pack(">I", len(message)) + message[:-1])
            await receiving
        finally:
            receiving.cancel()

    async def _send_data(self, data: bytes) -> None:
        while self.sent_bytes < len(data):
            size = min(FRAME_BYTES, len(data) - self.sent_bytes, *self._windows.values())
            if size <= 0:
                self._widened.clear()
                await self._widened.wait()
                continue
            piece = data[self.sent_bytes : self.sent_bytes + size]
            self._writer.write(_frame(DATA, 0, STREAM, piece))
            self.sent_bytes += size
            for stream in self._windows:
                self._windows[stream] -= size
            await self._writer.drain()

    async def _receive(self) -> None:
        while True:
            head = await self._reader.readexactly(9)
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            payload = await self._reader.readexactly(int.from_bytes(head[:3]))
            if kind == WINDOW_UPDATE and stream in self._windows:
                self._windows[stream] += int.from_bytes(payload)
            elif kind == SETTINGS and not flags & ACK:
                for name, value in struct.iter_unpack(">HI", payload):
                    if name == INITIAL_WINDOW:
                        self._windows[STREAM] += value - 65_535
                self._writer.write(_frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self._writer.write(_frame(PING, ACK, 0, payload))
            self._widened.set()


@asynccontextmanager
async def half_call(target: str) -> AsyncIterator[HalfCall]:
    """A connection for such a call, which closes at the end."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield HalfCall(reader, writer)
    finally:
        writer.close()
