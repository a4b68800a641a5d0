"""Admit a request to all the resources it needs at once, or to none.

Whoever waits here holds nothing, and whoever has been admitted never comes back here, so no two
requests can wait for each other.
"""

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from distilpose.service.batching.room import Places, Room
from distilpose.service.errors import Overloaded

_SHARE_LEFT_BY_WHO_WAITS: Final = 4
"""The divisor of a queue's capacity that stays free of requests that wait for room (a quarter):
otherwise video streams would fill the queue permanently and single requests would always be
refused."""


class Gate(Protocol):
    """A resource that requests are admitted to."""

    room: Room

    @property
    def patience_seconds(self) -> float:
        """The time for which a request may wait for this resource; 0 for a queue."""
        ...

    def refusal(self, items: int) -> Overloaded:
        """Count a refused request for `items` places, and return its error."""
        ...


class Admitted(ExitStack):
    """The places of an admitted request; leaving the `with` returns those not handed over."""

    def __init__(self, places: Mapping[int, Places]) -> None:
        super().__init__()
        self._places = places
        for each in places.values():
            self.enter_context(each)

    def places(self, room: Room) -> Places:
        """The request's places in a room; none if it asked for none."""
        return self._places.get(id(room)) or Places(room, 0)


@dataclass(slots=True, eq=False)
class _Waiter:
    wants: Sequence[tuple[Gate, int]]
    accepted_at: float
    is_patient: bool
    granted: asyncio.Future[Admitted]

    @property
    def turn(self) -> tuple[bool, float]:
        """The sort key: who may wait for ever goes after who may not."""
        return self.is_patient, self.accepted_at

    def lacks(self, blocked: Container[int] = (), generous: Room | None = None) -> list[Gate]:
        """The gates that do not let it in; earlier waiters block some rooms.

        The patient leave places to others, but not in the `generous` room.
        """
        return [
            gate
            for gate, items in self.wants
            if id(gate.room) in blocked
            or not gate.room.fits(items, leaving=0 if gate.room is generous else self._left(gate))
        ]

    def _left(self, gate: Gate) -> int:
        if not self.is_patient or gate.patience_seconds:
            return 0
        return gate.room.capacity // _SHARE_LEFT_BY_WHO_WAITS


class Admission:
    """The one place where requests wait for resources before they are accepted."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._waiters: list[_Waiter] = []
        self._releases: Counter[int] = Counter()
        for gate in gates:
            gate.room.on_release = partial(self._on_release, gate.room)

    @property
    def waiting(self) -> int:
        """The number of requests that wait to be admitted."""
        return len(self._waiters)

    async def enter(
        self, wants: Sequence[tuple[Gate, int]], *, accepted_at: float, is_patient: bool = False
    ) -> Admitted:
        """Take places at all gates, in the order in which requests were accepted.

        A patient request waits as long as it takes, and leaves a quarter of each queue to others.

        Raises:
            Overloaded: a gate has no room, within its patience.
        """
        if not is_patient:
            _refuse_where_nobody_waits(wants)
        granted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(wants, accepted_at, is_patient, granted)
        insort(self._waiters, waiter, key=lambda each: each.turn)
        self._let_in()
        patience = max((gate.patience_seconds for gate, _ in wants), default=0.0)
        try:
            async with asyncio.timeout(None if is_patient else patience):
                return await self._granted(waiter)
        except TimeoutError as err:
            lacking = waiter.lacks() or [gate for gate, _ in wants if gate.patience_seconds]
            raise _refusal(lacking[0], wants) from err

    async def _granted(self, waiter: _Waiter) -> Admitted:
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.cancelled():
                self._waiters.remove(waiter)
                self._let_in()
            else:  # granted in the same moment
                waiter.granted.result().close()
            raise

    def _on_release(self, room: Room) -> None:
        # Every second release, who leaves places to others need not: they could otherwise take each
        # place as soon as it is free.
        self._releases[id(room)] += 1
        self._let_in(room if self._releases[id(room)] % 2 == 0 else None)

    def _let_in(self, generous: Room | None = None) -> None:
        blocked: set[int] = set()
        for waiter in [each for each in self._waiters if not each.granted.done()]:
            lacking = waiter.lacks(blocked, generous)
            if lacking:
                blocked.update(id(gate.room) for gate in lacking)
                continue
            if waiter.is_patient:
                generous = None
            self._waiters.remove(waiter)
            places = {id(gate.room): gate.room.take(items) for gate, items in waiter.wants}
            waiter.granted.set_result(Admitted(places))


def _refuse_where_nobody_waits(wants: Sequence[tuple[Gate, int]]) -> None:
    for gate, items in wants:
        if not gate.patience_seconds and not gate.room.fits(items):
            raise gate.refusal(items)


def _refusal(lacking: Gate, wants: Sequence[tuple[Gate, int]]) -> Overloaded:
    return next(gate.refusal(items) for gate, items in wants if gate is lacking)
