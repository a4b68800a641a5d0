"""The life cycle from loading to stopped: one state machine that health and admission read."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from distilpose.service.errors import Draining, NotReady


class State(StrEnum):
    """The stages of the process's life."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    """No longer ready, but still accepting new work until the drain delay is over."""
    REFUSING = "refusing"
    """New work is refused; accepted work continues."""


_ORDER = list(State)


class Life:
    """The current state, and the number of requests in progress."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.admissions = 0
        """Requests accepted so far."""
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Return True if new callers should be routed here."""
        return self.state is State.READY

    @property
    def is_idle(self) -> bool:
        """Return True while no accepted request is in progress."""
        return self._idle.is_set()

    def advance(self, state: State) -> None:
        """Move on to a later state; a move backwards is ignored."""
        if _ORDER.index(state) > _ORDER.index(self.state):
            self.state = state
            self._changed.set()
            self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Return at the next change of state."""
        await self._changed.wait()

    async def reached(self, state: State) -> None:
        """Return as soon as this state or a later one is reached."""
        while _ORDER.index(self.state) < _ORDER.index(state):
            await self.changed()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request as accepted work while the context is open.

        Raises:
            NotReady: models are loading or warming up.
            Draining: the service is shutting down.
        """
        if self.state in (State.LOADING, State.WARMING):
            raise NotReady(f"the service is {self.state}", retry_after_seconds=5)
        if self.state is State.REFUSING:
            raise Draining("the service is shutting down", retry_after_seconds=1)
        self.admissions += 1
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self, *, delay_seconds: float, limit_seconds: float) -> bool:
        """Stop being ready at once, refuse work after the delay, wait for the accepted work.

        Returns whether all of it finished within the limit.
        """
        self.advance(State.DRAINING)
        await asyncio.sleep(delay_seconds)
        self.advance(State.REFUSING)
        try:
            async with asyncio.timeout(limit_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
