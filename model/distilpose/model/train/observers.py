"""Observers of a run: the loop calls them, and knows no progress bars or files."""

from collections.abc import Sequence
from typing import Protocol

from distilpose.model.arrays import ImageHWC
from distilpose.model.train.validate import EarlyFigures


class Observer(Protocol):
    """Follows a run."""

    def on_note(self, text: str) -> None:
        """Handle a message about the run."""

    def on_log(self, entry: dict[str, float]) -> None:
        """Handle means since the last entry: losses, gradient norm, rate, crops per second."""

    def on_figures(self, step: int, figures: EarlyFigures, examples_HWC: ImageHWC) -> None:
        """Handle early figures of the averaged weights, and drawings of some answers."""

    def on_saved(self, step: int) -> None:
        """Handle a written checkpoint."""

    def close(self) -> None:
        """Handle the end of the run."""


class Observers:
    """Notifies several observers."""

    def __init__(self, each: Sequence[Observer]) -> None:
        self._each = each

    def on_note(self, text: str) -> None:
        """Handle a message about the run."""
        for observer in self._each:
            observer.on_note(text)

    def on_log(self, entry: dict[str, float]) -> None:
        """Handle means since the last entry."""
        for observer in self._each:
            observer.on_log(entry)

    def on_figures(self, step: int, figures: EarlyFigures, examples_HWC: ImageHWC) -> None:
        """Handle early figures of the averaged weights, and drawings of some answers."""
        for observer in self._each:
            observer.on_figures(step, figures, examples_HWC)

    def on_saved(self, step: int) -> None:
        """Handle a written checkpoint."""
        for observer in self._each:
            observer.on_saved(step)

    def close(self) -> None:
        """Handle the end of the run."""
        for observer in self._each:
            observer.close()
