"""Memory that the process has freed, given back to the system while nothing else is to do.

glibc keeps freed memory for later. Frames and answers of many sizes, allocated by several threads,
leave holes all over its heaps, so that the process would seem to grow with the streams it has had.

Giving back takes about half a millisecond for each mebibyte, and while it goes through the heap of
the event loop, the loop stands still as soon as it needs memory. So it is done between requests.
"""

import asyncio
import ctypes
from typing import Final

from distilpose.model.container import resident_bytes
from distilpose.service.life import Life

_EVERY_SECONDS: Final = 2.0
_TIMES: Final = 3
"""The gRPC library frees what calls held a little after they have ended."""
_MOVED_BYTES: Final = 1024 * 1024


async def give_back_when_idle(life: Life) -> None:
    """Give freed memory back in each pause between requests, until cancelled.

    The memory of the process tells of work as well as the requests accepted, since callers that are
    refused cost some too. It alone would not do: it stays as it was when it is freed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:  # not glibc
        return
    times_left, held_bytes, admissions = 0, resident_bytes(), life.admissions
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        if not life.is_idle:
            continue
        moved_bytes = abs(resident_bytes() - held_bytes)
        if life.admissions != admissions or moved_bytes > _MOVED_BYTES:
            times_left, admissions = _TIMES, life.admissions
        if times_left:
            times_left -= 1
            await asyncio.to_thread(trim, 0)
            held_bytes = resident_bytes()
