"""Memory that the process has freed, given back to the system while nothing else is to do.

glibc keeps freed memory for later. Frames and answers of many sizes, allocated by several threads,
leave holes all over its heaps, so that the process would seem to grow with the streams it has had.

Giving back takes about half a millisecond for each mebibyte, and while it goes through the heap of
the event loop, the loop stands still as soon as it needs memory. So it is done between requests,
and during work only where the process would hold too much.
"""

import asyncio
import ctypes
from collections.abc import Callable
from typing import Final

from distilpose.model import container
from distilpose.service.life import Life

_MEBIBYTE: Final = 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt. *Source:* malloc.h."""
_OF_ITS_OWN_BYTES: Final = 64 * _MEBIBYTE
"""A block of this size, such as a photo of 22 megapixels, is given back as soon as it is free."""
_MOST_KEPT_BYTES: Final = 256 * _MEBIBYTE
_SHARE_KEPT: Final = 32
"""The divisor of the memory that this process may use: how much of it may be kept free."""
_EVERY_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.1
_REST_SECONDS: Final = 1.0
"""The time between two times that memory is given back while there is work."""
_TIMES: Final = 3
"""The gRPC library frees what calls held a little after they have ended."""
_MOVED_BYTES: Final = _MEBIBYTE


def keep_freed_memory() -> None:
    """Let all threads share one heap, and let it keep what is freed; call it before any starts.

    Otherwise each body, each photo and each answer comes and goes as pages of its own, which the
    system fills with zeros first: with photos of 12 megapixels that was an eighth of all processor
    time. One heap is no bottleneck, since small objects have pools of their own; several would each
    keep their largest use.
    """
    adjust = _of_glibc("mallopt")
    if adjust is None:
        return
    adjust(_M_ARENA_MAX, 1)
    adjust(_M_MMAP_THRESHOLD, _OF_ITS_OWN_BYTES)
    adjust(_M_TRIM_THRESHOLD, _most_kept_bytes())


def make_room(message_bytes: int) -> None:
    """Let the heap have pages for a message of this size, if it may keep as many.

    gRPC keeps the parts of a message as they arrive. The event loop joins them in one block, which
    grows by eighths, and copies that to another: for 30 MB this takes 7 ms where the pages are
    there, and 36 ms where the system has to fill 15,000 of them with zeros first.
    """
    sizes = (message_bytes, message_bytes + message_bytes // 8, message_bytes)
    if _of_glibc("mallopt") is None or sum(sizes) > _most_kept_bytes():
        return
    library = ctypes.CDLL(None)
    malloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(("malloc", library))
    free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(("free", library))
    blocks = [(malloc(size), size) for size in sizes]
    for address, size in blocks:
        if address:
            ctypes.memset(address, 0, size)
        free(address)


def _most_kept_bytes() -> int:
    allowed_bytes = container.memory_limit_bytes() or container.machine_memory_bytes()
    return min(_MOST_KEPT_BYTES, allowed_bytes // _SHARE_KEPT)


async def give_back_when_idle(life: Life, *, message_bytes: int) -> None:
    """Give freed memory back in each pause between requests, until cancelled.

    Room for a message of `message_bytes` is made again each time. The memory of the process tells
    of work as well as the requests accepted, since callers that are refused cost some too. It alone
    would not do: it stays as it was when it is freed.
    """
    trim = _of_glibc("malloc_trim")
    if trim is None:
        return
    times_left, held_bytes, admissions = 0, container.resident_bytes(), life.admissions
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        if not life.is_idle:
            continue
        moved_bytes = abs(container.resident_bytes() - held_bytes)
        if life.admissions != admissions or moved_bytes > _MOVED_BYTES:
            times_left, admissions = _TIMES, life.admissions
        if times_left:
            times_left -= 1
            await asyncio.to_thread(trim, 0)
            await asyncio.to_thread(make_room, message_bytes)
            held_bytes = container.resident_bytes()


async def give_back_above(
    most_bytes: Callable[[], int], count_surplus: Callable[[int], None]
) -> None:
    """Give freed memory back while there is work, if the process holds more than it may.

    What was freed lies as holes between what is used. A large photo gets none of them, but pages of
    its own, and the holes come on top. As long as they last, `count_surplus` knows of them.
    """
    trim = _of_glibc("malloc_trim")
    if trim is None:
        return
    trimming: asyncio.Task[None] | None = None
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        surplus_bytes = max(0, container.resident_bytes() - most_bytes())
        count_surplus(surplus_bytes)
        if surplus_bytes and (trimming is None or trimming.done()):
            trimming = asyncio.create_task(_trim_and_rest(trim), name="trimming")


async def _trim_and_rest(trim: Callable[..., int]) -> None:
    await asyncio.to_thread(trim, 0)
    await asyncio.sleep(_REST_SECONDS)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """The function of that name; None where another library allocates."""
    return getattr(ctypes.CDLL(None), name, None)
