"""Admit a request to all the resources it needs at once, or to none, with regard to shares.

While requests are refused, callers who have had more than their share are refused first, and those
who have had little may wait a moment for room. Whoever waits here holds nothing, and whoever has
been admitted never comes back here, so no two requests can wait for each other.
"""

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn, Protocol

from distilpose.service.batching.fairness import Shares, Standing
from distilpose.service.batching.room import Places, Room
from distilpose.service.errors import Overloaded
from distilpose.service.words import RefusalReason

_SHARE_LEFT_BY_WHO_WAITS: Final = 4
"""The divisor of a queue's capacity that stays free of requests that wait for room (a quarter):
otherwise video streams would fill the queue permanently and single requests would always be
refused."""
_PATIENCE_WITH_LITTLE_SECONDS: Final = 1.0
"""The time for which whoever has had little may wait for a full queue."""


class Gate(Protocol):
    """A resource that requests are admitted to."""

    room: Room
    reason: RefusalReason
    """The reason of its refusals."""

    @property
    def patience_seconds(self) -> float:
        """The time for which a request may wait for this resource; 0 for a queue."""
        ...

    @property
    def clearing_seconds(self) -> float:
        """The time in which everything that holds places will be done."""
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
    rank: float
    """The use of its caller, if that is little; else infinity."""

    @property
    def turn(self) -> tuple[bool, float, float]:
        """The sort key: who may wait for ever goes after who may not, who has had little first."""
        return self.is_patient, self.rank, self.accepted_at

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

    def __init__(
        self,
        gates: Sequence[Gate],
        *,
        shares: Shares,
        on_refusal: Callable[[RefusalReason], None] = lambda _: None,
    ) -> None:
        self._on_refusal = on_refusal
        self._shares = shares
        self._waiters: list[_Waiter] = []
        self._releases: Counter[int] = Counter()
        for gate in gates:
            gate.room.on_release = partial(self._on_release, gate.room)

    @property
    def waiting(self) -> int:
        """The number of requests that wait to be admitted."""
        return len(self._waiters)

    def refuse_at_once(self, wants: Sequence[tuple[Gate, int]], *, caller: str) -> None:
        """Refuse a request that would be refused at these gates now, whatever else it wants.

        Raises:
            Overloaded: a gate has no room, or the caller has had more than its share.
        """
        self._check(wants, caller, self._shares.standing(caller))

    async def enter(
        self,
        wants: Sequence[tuple[Gate, int]],
        *,
        accepted_at: float,
        caller: str = "",
        is_patient: bool = False,
    ) -> Admitted:
        """Take places at all gates, in the order in which requests were accepted.

        A patient request waits as long as it takes, and leaves a quarter of each queue to others.

        Raises:
            Overloaded: a gate has no room, within its patience, or the caller has had more than its
                share.
        """
        standing = self._shares.standing(caller)
        granted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(wants, accepted_at, is_patient, granted, standing.rank)
        if is_patient:
            admitted = await self._wait(waiter, None)
            self._shares.charge(caller, _use(wants))
            return admitted
        self._check(wants, caller, standing)
        charge = self._shares.charge(caller, _use(wants))
        try:
            return await self._wait(waiter, _patience_seconds(wants, standing))
        except TimeoutError:
            self._shares.give_back(charge)
            lacking = waiter.lacks() or [gate for gate, _ in wants if gate.patience_seconds]
            self._refuse((lacking or [wants[0][0]])[0], wants, caller)
        except asyncio.CancelledError:
            self._shares.give_back(charge)
            raise

    def _check(self, wants: Sequence[tuple[Gate, int]], caller: str, standing: Standing) -> None:
        for gate, items in wants:
            if gate.room.used > standing.limit * gate.room.capacity:
                self._refuse_for_share(gate, items, caller, standing.limit)
        if standing.has_had_little:
            return
        for gate, items in wants:
            if not gate.patience_seconds and not gate.room.fits(items):
                self._refuse(gate, wants, caller)

    def _refuse(self, lacking: Gate, wants: Sequence[tuple[Gate, int]], caller: str) -> NoReturn:
        self._shares.refused(caller)
        self._on_refusal(lacking.reason)
        raise next(gate.refusal(items) for gate, items in wants if gate is lacking)

    def _refuse_for_share(self, gate: Gate, items: int, caller: str, limit: float) -> NoReturn:
        self._shares.refused(caller)
        self._on_refusal(RefusalReason.SHARE)
        gate.refusal(items)  # counts it
        over = 1 - limit * gate.room.capacity / gate.room.used
        raise Overloaded(
            "others are refused, and this caller has lately had more than its share, so it may not "
            f"use the last {1 - limit:.0%} of the service",
            retry_after_seconds=gate.clearing_seconds * over,
        )

    async def _wait(self, waiter: _Waiter, patience_seconds: float | None) -> Admitted:
        insort(self._waiters, waiter, key=lambda each: each.turn)
        self._let_in()
        async with asyncio.timeout(patience_seconds):
            return await self._granted(waiter)

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


def _use(wants: Sequence[tuple[Gate, int]]) -> float:
    """The largest part of a room that a request takes."""
    return max(min(1.0, items / max(1, gate.room.capacity)) for gate, items in wants)


def _patience_seconds(wants: Sequence[tuple[Gate, int]], standing: Standing) -> float:
    own = _PATIENCE_WITH_LITTLE_SECONDS if standing.has_had_little else 0.0
    return max(own, *(gate.patience_seconds for gate, _ in wants))
