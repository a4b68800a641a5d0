"""Freed memory is kept while there is work, and given back in pauses between requests."""

import asyncio
import ctypes
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from distilpose.model import container
from distilpose.service import heap
from distilpose.service.life import Life, State
from soaking import MEBIBYTE

needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt"
)


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of glibc's malloc_trim so far."""
    calls: list[int] = []

    class Library:
        malloc_trim = staticmethod(calls.append)

    def library(_: Any) -> type[Library]:
        return Library

    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr(heap, "_EVERY_SECONDS", 0.01)
    return calls


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that the process holds, as its one item."""
    bytes_held = [100 * MEBIBYTE]
    monkeypatch.setattr(container, "resident_bytes", lambda: bytes_held[0])
    return bytes_held


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    """A life during which memory is given back."""
    life = Life()
    life.advance(State.READY)
    giving = asyncio.create_task(heap.give_back_when_idle(life, message_bytes=0))
    yield life
    giving.cancel()


async def test_memory_is_given_back_after_work_and_never_during_it(
    trims: list[int], held: list[int], life: Life
) -> None:
    with life.admitted():
        await asyncio.sleep(0.05)
        assert trims == []
    await asyncio.sleep(0.2)
    assert trims == [0, 0, 0]


async def test_memory_of_callers_who_were_never_admitted_is_given_back(
    trims: list[int], held: list[int], life: Life
) -> None:
    await asyncio.sleep(0.05)
    assert trims == []
    held[0] += 2 * MEBIBYTE
    await asyncio.sleep(0.2)
    assert trims == [0, 0, 0]


async def test_what_is_freed_after_a_first_time_is_given_back_as_well(
    trims: list[int], held: list[int], life: Life
) -> None:
    held[0] += 2 * MEBIBYTE
    await asyncio.sleep(0.2)
    held[0] -= 2 * MEBIBYTE
    await asyncio.sleep(0.2)
    assert trims == [0] * 6


async def test_what_is_held_above_the_most_is_given_back_during_work(
    trims: list[int], held: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heap, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(heap, "_REST_SECONDS", 0.05)
    surplus: list[int] = []
    most = 100 * MEBIBYTE
    giving = asyncio.create_task(heap.give_back_above(lambda: most, surplus.append))
    await asyncio.sleep(0.1)
    assert trims == []
    assert set(surplus) == {0}
    held[0] += 7
    await asyncio.sleep(0.03)
    assert trims == [0]
    assert surplus[-1] == 7
    held[0] -= 8
    await asyncio.sleep(0.1)
    assert trims == [0]
    assert surplus[-1] == 0
    giving.cancel()


async def test_memory_is_looked_at_while_it_is_given_back(
    trims: list[int], held: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heap, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(ctypes.CDLL(None), "malloc_trim", lambda _: time.sleep(0.3))
    surplus: list[int] = []
    giving = asyncio.create_task(heap.give_back_above(lambda: 0, surplus.append))
    await asyncio.sleep(0.05)
    held[0] += 5
    await asyncio.sleep(0.05)
    assert surplus[-1] == held[0]
    giving.cancel()


# Memory for forty photos, one by one.
PHOTOS_IN_THREADS = """
import resource, sys, threading
from distilpose.service import heap

if sys.argv[1] == "kept":
    heap.keep_freed_memory()

def decode():
    for _ in range(10):
        bytearray(40_000_000)

for _ in range(4):
    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(script: str, how: str) -> int:
    """The pages that a process was given, as its script counts them."""
    ran = subprocess.run(
        [sys.executable, "-c", script, how], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


@needs_glibc
def test_threads_use_again_what_others_have_freed() -> None:
    once = 40_000_000 // 4096
    assert page_faults(PHOTOS_IN_THREADS, "as usual") > 20 * once
    assert page_faults(PHOTOS_IN_THREADS, "kept") < 4 * once


# The parts of a message of 30 MiB, and two copies of it.
MESSAGES = """
import ctypes, resource, sys
from distilpose.service import heap

BYTES = 30 * 2**20
heap.keep_freed_memory()
if sys.argv[1] == "after a pause":
    heap.make_room(BYTES)
    kept = [bytearray(10_000) for _ in range(10_000)]
    ctypes.CDLL(None).malloc_trim(0)
if sys.argv[1] != "as usual":
    heap.make_room(BYTES)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
parts = [b"." * 16_384 for _ in range(BYTES // 16_384)]
joined = bytearray()
for part in parts:
    joined += part
copied = bytes(joined)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@needs_glibc
@pytest.mark.parametrize("when", ["at the start", "after a pause"])
def test_a_large_message_finds_its_pages(when: str) -> None:
    assert page_faults(MESSAGES, "as usual") > 20_000
    assert page_faults(MESSAGES, when) < 1000
