"""The display of a training run: a bar with losses, crops a second and time left, or lines."""

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from distilpose.model.arrays import ImageHWC
    from distilpose.model.train.validate import EarlyFigures

_NOT_LOSSES = {"step", "share", "crops_per_second"}


class TrainDisplay:
    """On a terminal a bar, elsewhere a line for each log entry."""

    def __init__(self, *, quiet: bool = False, title: str = "") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._title = f"{title}: " if title else ""
        self._pck = ""
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal or quiet,
        )
        self._bar.start()
        self._task = self._bar.add_task(f"{self._title}cutting crops", total=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_cutting(self, done: int, total: int) -> None:
        """Pictures cut into the cache."""
        self._bar.update(self._task, completed=done, total=total)

    def on_note(self, text: str) -> None:
        """Something about the run that is worth a line."""
        self._console.print(f"{self._title}{text}", soft_wrap=True, markup=False)

    def on_log(self, entry: dict[str, float]) -> None:
        """Means since the last entry."""
        losses = " ".join(f"{k} {v:.3g}" for k, v in entry.items() if k not in _NOT_LOSSES)
        speed = f"{entry['crops_per_second']:.0f} crops/s"
        text = f"{self._title}step {entry['step']:.0f} {speed}{self._pck} {losses}"
        self._bar.update(self._task, description=text, completed=entry["share"], total=1.0)
        if not self._console.is_terminal:
            self._console.print(f"{entry['share']:6.1%} {text}", soft_wrap=True, markup=False)

    def on_figures(self, step: int, figures: "EarlyFigures", examples_HWC: "ImageHWC") -> None:
        """Early figures of the averaged weights; the PCK is shown until the next."""
        self._pck = f" PCK {figures.pck:.3f}"
        text = " ".join(f"{name} {value:.3f}" for name, value in figures._asdict().items())
        self._console.print(
            f"{self._title}early figures at step {step}: {text}", soft_wrap=True, markup=False
        )

    def on_saved(self, step: int) -> None:
        """A checkpoint was written."""

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()
