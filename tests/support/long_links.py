"""A link to a local server on which everything travels for some time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK_BYTES = 2**20


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Deliver what arrives, each part as many seconds later, until there is no more."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - clock())
            if not data:
                writer.close()
                return
            writer.write(data)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deliver())
        data = b"first"
        while data:
            data = await reader.read(_CHUNK_BYTES)
            under_way.put_nowait((clock() + seconds, data))


@asynccontextmanager
async def long_link(target: str, *, round_trip_seconds: float) -> AsyncIterator[str]:
    """The address at which the server is this far away."""
    host, _, port = target.rpartition(":")
    carrying: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writers.extend((writer, far_writer))
        for ends in ((reader, far_writer), (far_reader, writer)):
            carrying.add(asyncio.create_task(_carry(*ends, round_trip_seconds / 2)))

    server = await asyncio.start_server(connect, "127.0.0.1", 0, limit=_CHUNK_BYTES)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # in which the transports close
