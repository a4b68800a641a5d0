"""Freed memory is given back in pauses between requests."""

import asyncio
import ctypes
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
