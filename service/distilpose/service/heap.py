"""Memory that the process has freed, given back to the system while nothing else is to do.

glibc keeps freed memory for later. Frames and answers of many sizes, allocated by several threads,
leave holes all over its heaps, so that the process would seem to grow with the streams it has had.
"""

import asyncio
import ctypes
from typing import Final

from distilpose.service.life import Life

_EVERY_SECONDS: Final = 2.0


async def give_back_when_idle(life: Life) -> None:
    """Give freed memory back in each pause between requests, until cancelled."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:  # not glibc
        return
    seen = life.admissions
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        if life.is_idle and life.admissions != seen:
            seen = life.admissions
            await asyncio.to_thread(trim, 0)
