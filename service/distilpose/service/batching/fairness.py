"""Each caller's share of what requests are admitted to, by its use in the recent past.

Whoever asks one request after the other holds nothing in the moment of asking, so places held say
little about who has had how much. A request's use is the largest part that it takes of any room;
it is counted when the request asks, and fades. The memory of its body is counted as well.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FADE_SECONDS: Final = 10.0
"""The time constant with which use fades."""
FORGET_SECONDS: Final = 30.0
"""A caller that has not asked for so long is forgotten."""
REFUSED_LATELY_SECONDS: Final = 2.0
MOST_CALLERS: Final = 4096
"""Callers that are remembered; of more, those that asked last."""
_REMEMBERED_REQUESTS: Final = 2
"""Requests for each caller, on average, below which use does not fade. With less to go by, the
chance of who asked first would decide who has had more than others."""
_PACE: Final = 0.05
"""The weight of a new request in the average use of a request."""
_HALF: Final = 0.5
_ALL_BUT_A_QUARTER: Final = 0.75
_LITTLE: Final = 0.5
"""The part of its share up to which a caller has had little."""


@dataclass(slots=True)
class Standing:
    """A caller's use compared to that of others."""

    ratio: float
    """Its use as a part of its share, which is the mean over all callers; 1 if nobody has any."""
    others_refused: bool
    """True if another caller was refused a moment ago: only then shares count."""

    @property
    def has_had_little(self) -> bool:
        """Return True if the caller has had less than half of its share."""
        return self.ratio <= _LITTLE

    @property
    def rank(self) -> float:
        """The sort key among those who wait: of those who have had little, who has had least."""
        return self.ratio if self.has_had_little else math.inf

    @property
    def limit(self) -> float:
        """The part of a room up to which the caller may enter it.

        While others are refused, who has had more than its share may not enter rooms that are over
        half full, and the last quarter is kept for those who have had little.
        """
        if not self.others_refused or self.has_had_little:
            return math.inf
        return _HALF if self.ratio > 1 else _ALL_BUT_A_QUARTER


@dataclass(slots=True)
class _Account:
    use: float = 0.0
    """In units of the clock at which use fades, so that it need not be touched to fade."""
    asked_at: float = 0.0


@dataclass(slots=True)
class Charge:
    """The use of one request."""

    caller: str
    use: float


@dataclass(slots=True)
class _Refusals:
    """The last refusal, and the last one of another caller than that."""

    caller: str = ""
    at: float = -math.inf
    of_another_at: float = -math.inf

    def add(self, caller: str, now: float) -> None:
        if caller != self.caller:
            self.of_another_at = self.at
            self.caller = caller
        self.at = now

    def last_but_of(self, caller: str) -> float:
        return self.of_another_at if caller == self.caller else self.at


class Shares:
    """The recent use of every caller. Each call takes constant time, apart from forgetting."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        """Ordered by when each caller asked last."""
        self._total = 0.0
        self._scale = 1.0
        """The value of one unit of the accounts: all of them fade by fading it."""
        self._faded_at = clock()
        self._use_of_a_request = 0.0
        self._refusals = _Refusals()

    def __len__(self) -> int:
        """Return the number of callers that are remembered."""
        return len(self._accounts)

    def standing(self, caller: str) -> Standing:
        """The use of a caller until now; asking also counts it among those that ask."""
        now = self._clock()
        self._fade(now)
        account = self._accounts.setdefault(caller, _Account())
        account.asked_at = now
        self._accounts.move_to_end(caller)
        self._forget(now)
        share = self._total / len(self._accounts)
        others_refused = now - self._refusals.last_but_of(caller) <= REFUSED_LATELY_SECONDS
        return Standing(account.use / share if share else 1.0, others_refused)

    def charge(self, caller: str, use: float) -> Charge:
        """Count a request's use, the largest part that it takes of any room."""
        if self._use_of_a_request:
            self._use_of_a_request += _PACE * (use - self._use_of_a_request)
        else:
            self._use_of_a_request = use
        charge = Charge(caller, use / self._scale)
        self._add(charge, charge.use)
        return charge

    def give_back(self, charge: Charge) -> None:
        """Take back the charge of a request that was not admitted."""
        self._add(charge, -charge.use)

    def refused(self, caller: str) -> None:
        """Remember that a caller was refused just now."""
        self._refusals.add(caller, self._clock())

    def _add(self, charge: Charge, use: float) -> None:
        account = self._accounts.get(charge.caller)
        if account is None:  # forgotten meanwhile
            return
        before = account.use
        account.use = max(0.0, account.use + use)
        self._total += account.use - before

    def _fade(self, now: float) -> None:
        seconds, self._faded_at = now - self._faded_at, now
        remembered = _REMEMBERED_REQUESTS * self._use_of_a_request * len(self._accounts)
        total = self._total * self._scale
        if total <= remembered:
            return
        kept = max(math.exp(-seconds / FADE_SECONDS), remembered / total)
        self._scale *= kept
        if self._scale < 1e-100:
            self._rescale()

    def _rescale(self) -> None:
        for account in self._accounts.values():
            account.use *= self._scale
        self._total = sum(account.use for account in self._accounts.values())
        self._scale = 1.0

    def _forget(self, now: float) -> None:
        while True:
            caller, account = next(iter(self._accounts.items()))
            if len(self._accounts) <= MOST_CALLERS and now - account.asked_at < FORGET_SECONDS:
                return
            del self._accounts[caller]
            self._total -= account.use
            if len(self._accounts) == 1:  # so that rounding errors do not add up
                self._total = next(iter(self._accounts.values())).use
