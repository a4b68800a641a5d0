"""`distilpose train`: a teacher from labels, a student from a frozen teacher."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.options import told_errors

if TYPE_CHECKING:
    from distilpose.model.train.loop import Run
    from distilpose.model.train.validate import EarlyFigures

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.argument("role", type=click.Choice(["teacher", "student"]))
@click.option(
    "--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--budget", help="Wall time such as 25m or 2h, in place of the file's length.")
@click.option("--set", "overrides", multiple=True, metavar="GROUP.FIELD=VALUE", help="Override.")
@click.option("--resume", is_flag=True, help="Go on from OUT's checkpoint.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
def command(
    role: str,
    config: Path,
    out: Path,
    budget: str | None,
    overrides: Sequence[str],
    resume: bool,
    workers: int,
) -> None:
    """Train ROLE as the run in CONFIG says; weights, checkpoint and log come into OUT.

    The same command under `torchrun` trains on several devices. SIGTERM and Ctrl-C save and end.
    """
    with told_errors():
        from distilpose.model.configs import network_config
        from distilpose.model.errors import ConfigError
        from distilpose.model.train import distributed, prepare
        from distilpose.model.train.settings import load_run

        settings = load_run(config, _overrides(overrides, budget))
        if network_config(settings.network).role != role:
            raise ConfigError(f"{config}: {settings.network} is no {role}")
        out.mkdir(parents=True, exist_ok=True)
        rank, world_size = distributed.join()
        display = _Display(quiet=rank > 0)
        try:
            run = prepare.prepare(
                settings,
                out,
                observer=display,
                rank=rank,
                world_size=world_size,
                workers=workers,
                on_progress=display.on_cutting,
            )
            if resume:
                run.resume()
            _stop_on_signals(run)
            run.fit()
        finally:
            display.close()
            distributed.leave()
    sys.exit(0)


def _overrides(given: Sequence[str], budget: str | None) -> dict[str, Any]:
    import yaml

    from distilpose.model.errors import ConfigError

    values: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: expected GROUP.FIELD=VALUE")
        values[name] = yaml.safe_load(value)
    if budget:
        number, unit = budget[:-1], budget[-1]
        if unit not in _UNITS or not number.replace(".", "", 1).isdigit():
            raise ConfigError(f"--budget {budget}: expected a number and one of s, m, h, d")
        length = {"steps": None, "epochs": None, "budget_seconds": float(number) * _UNITS[unit]}
        values |= {f"run.{name}": value for name, value in length.items()}
    return values


def _stop_on_signals(run: "Run") -> None:
    def stop(_: int, __: object) -> None:
        run.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


class _Display:
    """A bar with losses, crops a second and time left on a terminal; plain lines elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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
        self._task = self._bar.add_task("cutting crops", total=None)

    def on_cutting(self, done: int, total: int) -> None:
        """Pictures cut into the cache."""
        self._bar.update(self._task, completed=done, total=total)

    def on_log(self, entry: dict[str, float]) -> None:
        """Means since the last entry."""
        shown = {k: v for k, v in entry.items() if k not in ("step", "share", "crops_per_second")}
        losses = " ".join(f"{name} {value:.3g}" for name, value in shown.items())
        text = f"step {entry['step']:.0f} {entry['crops_per_second']:.0f} crops/s {losses}"
        self._bar.update(self._task, description=text, completed=entry["share"], total=1.0)
        if not self._console.is_terminal:
            self._console.print(f"{entry['share']:6.1%} {text}", soft_wrap=True)

    def on_figures(self, step: int, figures: "EarlyFigures") -> None:
        """Early figures of the averaged weights."""
        text = " ".join(f"{name} {value:.3f}" for name, value in figures._asdict().items())
        self._console.print(f"early figures at step {step}: {text}", soft_wrap=True)

    def on_saved(self, step: int) -> None:
        """A checkpoint was written."""

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()
