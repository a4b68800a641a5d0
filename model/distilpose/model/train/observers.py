"""Observers of a run: the loop calls them, and knows no progress bars and no files."""

from collections.abc import Sequence
from typing import Protocol

from distilpose.model.arrays import ImageHWC
from distilpose.model.train.validate import EarlyFigures


class Observer(Protocol):
    """Follows a run."""

    def on_note(self, text: str) -> None:
        """Something about the run that is worth a line."""

    def on_log(self, entry: dict[str, float]) -> None:
        """Means since the last entry: losses, gradient norm, learning rate, crops a second."""

    def on_figures(self, step: int, figures: EarlyFigures, examples_HWC: ImageHWC) -> None:
        """Early figures of the averaged weights, and some of their answers drawn."""

    def on_saved(self, step: int) -> None:
        """A checkpoint was written."""

    def close(self) -> None:
        """The run is over."""


class Observers:
    """Tells several observers."""

    def __init__(self, each: Sequence[Observer]) -> None:
        self._each = each

    def on_note(self, text: str) -> None:
        """Something about the run that is worth a line."""
        for observer in self._each:
            observer.on_note(text)

    def on_log(self, entry: dict[str, float]) -> None:
        """Means since the last entry."""
        for observer in self._each:
            observer.on_log(entry)

    def on_figures(self, step: int, figures: EarlyFigures, examples_HWC: ImageHWC) -> None:
        """Early figures of the averaged weights, and some of their answers drawn."""
        for observer in self._each:
            observer.on_figures(step, figures, examples_HWC)

    def on_saved(self, step: int) -> None:
        """A checkpoint was written."""
        for observer in self._each:
            observer.on_saved(step)

    def close(self) -> None:
        """The run is over."""
        for observer in self._each:
            observer.close()
