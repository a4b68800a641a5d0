"""`distilpose train`: teachers, students, the detector, and tables of runs."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from distilpose.cli.options import reported_errors
from distilpose.cli.train import ablation, detector
from distilpose.cli.train.display import TrainDisplay
from distilpose.cli.train.options import (
    overrides_of,
    run_options,
    stopped_by_signals,
    teacher_option,
)

_STOPPED: Final = 128 + signal.SIGTERM
"""Exit code of a run that was stopped before its end: whatever started it should do so again."""

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Train the networks."""


command.add_command(detector.command, "detector")
command.add_command(ablation.command, "ablation")


def _going_on(function: Function) -> Function:
    for option in (
        click.option("--resume", is_flag=True, help="Go on from OUT's checkpoint, if any."),
        click.option("--workers", type=click.IntRange(1), default=2, show_default=True),
    ):
        function = option(function)
    return function


@command.command()
@run_options
@_going_on
def teacher(**options: Any) -> None:
    """Train a heatmap network (TokenPose) from labels.

    Weights, checkpoint and log come into OUT. The same command under `torchrun` trains on several
    devices. SIGTERM and Ctrl-C save and end.
    """
    _train("teacher", **options)


@command.command()
@run_options
@teacher_option
@_going_on
def student(**options: Any) -> None:
    """Train a regression network (DistilPose) from labels, and from a frozen teacher if any.

    Weights, checkpoint and log come into OUT. The same command under `torchrun` trains on several
    devices. SIGTERM and Ctrl-C save and end.
    """
    _train("student", **options)


def _train(
    role: str,
    *,
    config: Path,
    out: Path,
    budget: str | None,
    crops: int | None,
    overrides: Sequence[str],
    resume: bool,
    workers: int,
    teacher: Path | None = None,
) -> None:
    with reported_errors():
        from distilpose.model.configs import network_config
        from distilpose.model.errors import ConfigError
        from distilpose.model.train import distributed, prepare
        from distilpose.model.train.settings import load_run

        changes = overrides_of(overrides, budget=budget, crops=crops)
        settings = load_run(config, changes | ({"teacher": str(teacher)} if teacher else {}))
        if network_config(settings.network).role != role:
            raise ConfigError(f"{config}: {settings.network} is no {role}")
        out.mkdir(parents=True, exist_ok=True)
        rank, world_size = distributed.join()
        display = TrainDisplay(quiet=rank > 0)
        try:
            run = prepare.prepare(
                settings,
                out,
                observer=display,
                rank=rank,
                world_size=world_size,
                workers=workers,
                resumes=resume,
                on_progress=display.on_cutting,
            )
            with stopped_by_signals(run):
                run.fit()
        finally:
            display.close()
            distributed.leave()
        if run.stopping:
            sys.exit(_STOPPED)
