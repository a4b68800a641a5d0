"""Stand-ins for tests of one part; nothing here pretends to be the model."""

from collections import Counter


class CountingObserver:
    """Counts what a batcher tells."""

    def __init__(self) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.batches: list[int] = []
        self.failures = 0

    def batch_done(self, stage: str, *, items: int, seconds: float) -> None:
        assert seconds >= 0
        self.batches.append(items)

    def item_dropped(self, stage: str, *, reason: str, items: int = 1) -> None:
        self.dropped[stage, reason] += items

    def batch_failed(self) -> None:
        self.failures += 1
