"""Random numbers for a batch, from a seeded generator. Knows no settings.

Shape letter: B people.
"""

import torch
from torch import Tensor

from distilpose.model.train.feed.batch import StoredBatch


class Draws:
    """Random numbers for a batch; the generator may be on a different device from the batch."""

    def __init__(self, generator: torch.Generator, batch: StoredBatch) -> None:
        self._generator = generator
        self._count = len(batch.weight)
        self._device = batch.weight.device

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in 0..1, (B, *shape)."""
        source = self._generator
        drawn = torch.rand((self._count, *shape), generator=source, device=source.device)
        return drawn.to(self._device, non_blocking=True)

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers with mean 0 and deviation 1, (B, *shape)."""
        source = self._generator
        drawn = torch.randn((self._count, *shape), generator=source, device=source.device)
        return drawn.to(self._device, non_blocking=True)

    def happens(self, probability: float) -> Tensor:
        """Booleans (B,), each true with `probability`."""
        return self.uniform() < probability

    def factor(self, amount: float) -> Tensor:
        """Factors (B, 1, 1), within `amount` of 1."""
        return 1 + amount * (2 * self.uniform(1, 1) - 1)
