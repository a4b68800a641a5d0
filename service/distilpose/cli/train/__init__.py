"""`distilpose train`: teachers, students, the detector, tables of runs, and their mean."""

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal

import click

from distilpose.cli.options import reported_errors, together
from distilpose.cli.train import ablation, detector, mean
from distilpose.cli.train.display import TrainDisplay
from distilpose.cli.train.options import (
    overrides_of,
    run_options,
    stopped_by_signals,
    teacher_option,
    writing_runs,
)

_STOPPED: Final = 128 + signal.SIGTERM
"""Exit code of a run that was stopped before its end: whatever started it should do so again."""


@click.group()
def command() -> None:
    """Train the networks."""


command.add_command(detector.command, "detector")
command.add_command(ablation.command, "ablation")
command.add_command(mean.command, "mean")


_going_on = together(
    click.option("--workers", type=click.IntRange(1), default=2, show_default=True),
    click.option("--resume", is_flag=True, help="Go on from OUT's checkpoint, if any."),
)


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
    role: Literal["teacher", "student"],
    *,
    config: Path,
    out: Path,
    resume: bool,
    workers: int,
    overwrite: bool,
    **changes: Any,
) -> None:
    with reported_errors(), ExitStack() as opened:
        from distilpose.model.train import distributed
        from distilpose.model.train.prepare import prepare
        from distilpose.model.train.settings import load_run

        settings = load_run(config, overrides_of(**changes), role=role)
        data, start = settings.data, settings.start_from
        reads = [config, settings.teacher, data.people, data.evaluate_on]
        reads += [start] if isinstance(start, Path) else []
        with distributed.joined() as (rank, world_size), TrainDisplay(quiet=rank > 0) as display:
            if rank == 0:  # the others may come when it has begun to write
                networks = {out: settings.network}
                opened.enter_context(
                    writing_runs(networks, reads, command=role, overwrite=overwrite)
                )
                out.mkdir(parents=True, exist_ok=True)
            run = prepare(
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
        if run.stopping:
            sys.exit(_STOPPED)
