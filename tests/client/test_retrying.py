"""The rules for retrying and giving up; the test controls the clock."""

from dataclasses import dataclass, field

import pytest

from distilpose.client import (
    Backoff,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PoseError,
    Unavailable,
)


@dataclass
class Asking:
    """Fails that many times with this error; sleeping only advances the clock."""

    error: PoseError
    failures: int = 99
    now: float = 100.0
    asked_at: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)

    async def ask(self, left_seconds: float) -> str:
        self.asked_at.append(self.now)
        self.left.append(left_seconds)
        if len(self.asked_at) <= self.failures:
            raise self.error
        return "an answer"

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def backoff(self, random: float = 1.0) -> Backoff:
        return Backoff(clock=lambda: self.now, sleep=self.sleep, random=lambda: random)


LOST = Unavailable("lost", retry_after_seconds=0.0)


async def test_an_answer_after_a_failure_is_the_answer() -> None:
    asking = Asking(LOST, failures=2)
    assert await asking.backoff().call(asking.ask, timeout_seconds=10) == "an answer"
    assert asking.asked_at == pytest.approx([100, 100.1, 100.3])
    assert asking.left == pytest.approx([10, 9.9, 9.7])


async def test_two_more_tries_are_made_and_no_third() -> None:
    asking = Asking(LOST)
    with pytest.raises(Unavailable, match="lost"):
        await asking.backoff().call(asking.ask, timeout_seconds=10)
    assert len(asking.asked_at) == 3


async def test_what_no_second_try_would_change_is_asked_once() -> None:
    asking = Asking(InvalidRequest("no"))
    with pytest.raises(InvalidRequest):
        await asking.backoff().call(asking.ask, timeout_seconds=10)
    assert len(asking.asked_at) == 1


async def test_the_time_that_the_server_gives_is_waited_at_least() -> None:
    asking = Asking(Overloaded("full", retry_after_seconds=3), failures=1)
    await asking.backoff(random=0).call(asking.ask, timeout_seconds=10)
    assert asking.asked_at[1] - asking.asked_at[0] == pytest.approx(3.05)


async def test_nothing_is_asked_past_the_deadline() -> None:
    asking = Asking(Overloaded("full", retry_after_seconds=3))
    with pytest.raises(Overloaded):
        await asking.backoff().call(asking.ask, timeout_seconds=3.05)
    assert asking.asked_at == [100]


async def test_no_answer_in_time_is_the_deadline() -> None:
    async def never(_: float) -> None:
        import asyncio

        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.02 s"):
        await Backoff().call(never, timeout_seconds=0.02)


def test_pauses_double_up_to_the_longest_and_are_random() -> None:
    longest = Backoff(random=lambda: 1.0)
    assert [longest.pause_seconds(i, LOST) for i in range(7)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]
    )
    shortest = Backoff(random=lambda: 0.0)
    assert shortest.pause_seconds(1, LOST) == pytest.approx(0.1)
    assert len({Backoff().pause_seconds(3, LOST) for _ in range(20)}) > 10
