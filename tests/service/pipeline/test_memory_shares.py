"""While memory is short, callers with small bodies get theirs beside greedy ones. Virtual time."""

import asyncio
from collections import Counter
from typing import Final

import pytest

from distilpose.service.errors import Overloaded
from distilpose.service.pipeline.memory import Memory
from distilpose.service.settings import MEBIBYTE
from distilpose.service.words import MemoryPart
from virtual_time import run_virtually

GREEDY: Final = 60
POLITE: Final = 2
SECONDS: Final = 30
GREEDY_BYTES: Final = 30 * 10**6
LIMIT_BYTES: Final = 512 * MEBIBYTE
HELD_BYTES: Final = LIMIT_BYTES * 3 // 4
"""For images, so that there is room for four large bodies."""
PIECE_BYTES: Final = MEBIBYTE
LINK_BYTES_PER_SECOND: Final = 100 * 10**6
WORK_SECONDS: Final = 0.1
AGAIN_AFTER_SECONDS: Final = 0.2


class Reader:
    """Reads bodies within a budget, and works on one at a time."""

    def __init__(self, *, is_fair: bool) -> None:
        self.memory = Memory(LIMIT_BYTES, clock=asyncio.get_running_loop().time)
        self.answers: Counter[str] = Counter()
        self._is_fair = is_fair
        self._working = asyncio.Lock()

    async def read(self, caller: str, size_bytes: int) -> None:
        """Answer a request. Raises Overloaded."""
        accepted_at = asyncio.get_running_loop().time()
        name = caller if self._is_fair else ""
        with self.memory.hold(MemoryPart.BODIES, caller=name) as holding:
            for start in range(0, size_bytes, PIECE_BYTES):
                piece = min(PIECE_BYTES, size_bytes - start)
                await asyncio.sleep(piece / LINK_BYTES_PER_SECOND)
                await holding.receive(piece, at_most_bytes=size_bytes, accepted_at=accepted_at)
            async with self._working:
                await asyncio.sleep(WORK_SECONDS)
        self.answers[caller] += 1

    async def call(self, caller: str, size_bytes: int, again_after_seconds: float | None) -> None:
        """Ask again and again; without a wait of its own, as the refusal says."""
        while True:
            try:
                await self.read(caller, size_bytes)
            except Overloaded as err:
                await asyncio.sleep(again_after_seconds or err.retry_after_seconds or 1)


def run(polite_bytes: int, *, held_bytes: int = 0, is_fair: bool = True) -> Reader:
    """Let sixty greedy and two polite callers send bodies for half a minute."""

    async def scenario() -> Reader:
        reader = Reader(is_fair=is_fair)
        reader.memory.room.take(held_bytes)
        tasks = [
            asyncio.create_task(reader.call(f"greedy {i}", GREEDY_BYTES, AGAIN_AFTER_SECONDS))
            for i in range(GREEDY)
        ]
        tasks += [
            asyncio.create_task(reader.call(f"polite {i}", polite_bytes, None))
            for i in range(POLITE)
        ]
        await asyncio.sleep(SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return reader

    return run_virtually(scenario())


@pytest.mark.parametrize(
    ("polite_bytes", "held_bytes"),
    [(GREEDY_BYTES, 0), (3 * 10**6, HELD_BYTES), (GREEDY_BYTES, HELD_BYTES)],
)
def test_who_honours_the_delay_gets_half_of_an_equal_share_beside_sixty_large_bodies(
    polite_bytes: int, held_bytes: int
) -> None:
    reader = run(polite_bytes, held_bytes=held_bytes)
    equal = sum(reader.answers.values()) / (GREEDY + POLITE)
    for number in range(POLITE):
        assert reader.answers[f"polite {number}"] >= int(equal / 2)
    assert sum(reader.answers.values()) >= 0.75 * SECONDS / WORK_SECONDS


def test_without_shares_who_honours_the_delay_gets_next_to_nothing() -> None:
    reader = run(3 * 10**6, held_bytes=HELD_BYTES, is_fair=False)
    equal = sum(reader.answers.values()) / (GREEDY + POLITE)
    assert min(reader.answers[f"polite {number}"] for number in range(POLITE)) < equal / 4
