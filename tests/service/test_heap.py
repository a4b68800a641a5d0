"""Freed memory is kept while there is work, and given back in pauses between requests."""

import asyncio
import ctypes
import subprocess
import sys
from typing import Any

import pytest

from distilpose.service import heap
from distilpose.service.life import Life, State


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


async def test_memory_is_given_back_once_after_work_and_never_during_it(trims: list[int]) -> None:
    life = Life()
    life.advance(State.READY)
    giving = asyncio.create_task(heap.give_back_when_idle(life))
    await asyncio.sleep(0.05)
    assert trims == []
    with life.admitted():
        await asyncio.sleep(0.05)
        assert trims == []
    await asyncio.sleep(0.1)
    assert trims == [0]
    giving.cancel()


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


def page_faults(how: str) -> int:
    """The pages that a process was given which needs memory for forty photos, one by one."""
    ran = subprocess.run(
        [sys.executable, "-c", PHOTOS_IN_THREADS, how], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_threads_use_again_what_others_have_freed() -> None:
    once = 40_000_000 // 4096
    assert page_faults("as usual") > 20 * once
    assert page_faults("kept") < 4 * once
