"""The rules for retrying and for giving up."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from distilpose.client.errors import DeadlineExceeded, PoseError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential backoff with jitter; no pause is shorter than the server's `Retry-After`.

    Only errors with `retry_after_seconds` are retried, and never past the deadline.
    """

    retries: int = 2
    first_seconds: float = 0.1
    most_seconds: float = 2.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def pause_seconds(self, attempt: int, error: PoseError) -> float:
        """The pause after failure number `attempt`, counted from 0."""
        longest: float = min(self.first_seconds * 2**attempt, self.most_seconds)
        return (error.retry_after_seconds or 0) + longest * (0.5 + self.random() / 2)

    async def call(self, ask: Callable[[float], Awaitable[T]], *, timeout_seconds: float) -> T:
        """Call `ask` with the seconds left, retrying as needed, and return its result.

        Raises:
            DeadlineExceeded: there was no answer in time.
            PoseError: the last error that `ask` raised.
        """
        deadline = self.clock() + timeout_seconds
        attempt = 0
        while True:
            left_seconds = deadline - self.clock()
            try:
                async with asyncio.timeout(left_seconds):
                    return await ask(left_seconds)
            except TimeoutError as err:
                raise DeadlineExceeded(f"no answer within {timeout_seconds:g} s") from err
            except PoseError as err:
                pause = self.pause_seconds(attempt, err)
                no_use = err.retry_after_seconds is None or attempt >= self.retries
                if no_use or self.clock() + pause >= deadline:
                    raise
            await self.sleep(pause)
            attempt += 1
