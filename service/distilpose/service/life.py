"""From loading to stopped, as one state machine that health and admission read."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from distilpose.service.errors import Draining, NotReady


class State(StrEnum):
    """Where the process is in its life."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    """Not ready any more, still taking new work until the drain delay is over."""
    REFUSING = "refusing"
    """New work is refused, accepted work goes on."""


_ORDER = list(State)


class Life:
    """The state, and the requests that are being worked on."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether new callers should be sent here."""
        return self.state is State.READY

    def advance(self, state: State) -> None:
        """Go on to a later state; going back is not possible and ignored."""
        if _ORDER.index(state) > _ORDER.index(self.state):
            self.state = state
            self._changed.set()
            self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Return at the next change of state."""
        await self._changed.wait()

    async def reached(self, state: State) -> None:
        """Return as soon as the state is this one or a later one."""
        while _ORDER.index(self.state) < _ORDER.index(state):
            await self.changed()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Within it, a request counts as accepted work.

        Raises:
            NotReady: models are loading or warming up.
            Draining: the service is shutting down.
        """
        if self.state in (State.LOADING, State.WARMING):
            raise NotReady(f"the service is {self.state}", retry_after_seconds=5)
        if self.state is State.REFUSING:
            raise Draining("the service is shutting down", retry_after_seconds=1)
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
