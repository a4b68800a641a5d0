"""Freed memory is given back in pauses between requests."""

import asyncio
import ctypes
from collections.abc import AsyncIterator
from typing import Any

import pytest

from distilpose.service import heap
from distilpose.service.life import Life, State
from soaking import MEBIBYTE


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
    monkeypatch.setattr(heap, "resident_bytes", lambda: bytes_held[0])
    return bytes_held


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    """A life during which memory is given back."""
    life = Life()
    life.advance(State.READY)
    giving = asyncio.create_task(heap.give_back_when_idle(life))
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
