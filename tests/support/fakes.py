"""Stand-ins for tests of one part; nothing here pretends to be the model."""

from collections import Counter


class CountingObserver:
    """Counts a batcher's events."""

    def __init__(self) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.batches: list[int] = []
        self.padding = 0

    def batch_done(self, stage: str, *, items: int, padding: int, seconds: float) -> None:
        assert seconds >= 0
        self.batches.append(items)
        self.padding += padding

    def items_dropped(self, stage: str, *, reason: str, items: int) -> None:
        self.dropped[stage, reason] += items

    def work_done(self, pool: str, *, seconds: float) -> None:
        assert seconds >= 0

    def work_dropped(self, pool: str, *, reason: str) -> None:
        self.dropped[pool, reason] += 1

    def failed(self, stage: str, *, kind: str) -> None:
        self.failures[stage, kind] += 1
