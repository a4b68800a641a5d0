"""Options that say which run to do, of all commands that do one."""

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import click

from distilpose.cli.options import IN_FILE, seconds, together
from distilpose.cli.outputs import OUT_FOLDER, overwrite_option, writing_planned
from distilpose.model.files.outputs import Output, Outputs

_LENGTHS: Final = ("run.steps", "run.epochs", "run.crops", "run.budget_seconds")

run_options = together(
    click.option("--config", required=True, type=IN_FILE, help="The run's settings (YAML)."),
    click.option("--out", required=True, type=OUT_FOLDER),
    click.option("--budget", help="Wall time such as 25m or 2h, in place of CONFIG's length."),
    click.option(
        "--crops", type=click.IntRange(1), help="Crops to see, in place of CONFIG's length."
    ),
    click.option(
        "--set", "overrides", multiple=True, metavar="GROUP.FIELD=VALUE", help="Override."
    ),
    overwrite_option,
)
teacher_option = click.option(
    "--teacher",
    type=IN_FILE,
    help="Weights file of a student's frozen teacher, in place of CONFIG's.",
)


_RECORDS: Final = ("log.jsonl", "curves.png", "predictions.png")
"""Files of a run beside its weights and its checkpoint."""


@contextmanager
def writing_runs(
    networks: Mapping[Path, str],
    reads: Iterable[Path | None],
    *,
    command: str,
    overwrite: bool,
    page: Path | None = None,
) -> Iterator[Outputs]:
    """The files of runs by their folders, whose `networks` they train, and of a page about them.

    A folder with a run's checkpoint or figures is that run's, and looked at by whoever goes on.

    Raises:
        click.UsageError: a file is read, or somebody else's.
    """
    names = [
        folder / name
        for folder, network in networks.items()
        if not any((folder / begun).exists() for begun in ("checkpoint.pt", "figures.json"))
        for name in (f"{network}.safetensors", *_RECORDS)
    ]
    paths = [*names, page] if page else names
    planned = [Output(path, "--out", f"train {command}") for path in paths]
    with writing_planned(planned, reads, overwrite=overwrite) as outputs:
        try:
            yield outputs
        finally:
            outputs.note()


class Stoppable(Protocol):
    """A run that saves and ends soon after `stopping` is set."""

    stopping: bool


@contextmanager
def stopped_by_signals(run: Stoppable) -> Iterator[None]:
    """Within it, SIGTERM and Ctrl-C stop the run."""

    def stop(_: int, __: object) -> None:
        run.stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def overrides_of(
    overrides: Sequence[str],
    *,
    budget: str | None = None,
    crops: int | None = None,
    teacher: Path | None = None,
    runs: int = 1,
) -> dict[str, Any]:
    """The settings that `--set`, `--budget` (shared by `runs`), `--crops` and `--teacher` change.

    Raises:
        ConfigError: one of them cannot be read, or both lengths are given.
    """
    import yaml

    from distilpose.model.errors import ConfigError

    values: dict[str, Any] = {}
    for text in overrides:
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: expected GROUP.FIELD=VALUE")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError as err:
            raise ConfigError(f"--set {text}: the value is no YAML") from err
    if budget and crops:
        raise ConfigError("--budget and --crops: give one of them")
    if budget or crops:
        values |= dict.fromkeys(_LENGTHS)
        values["run.crops"] = crops
        values["run.budget_seconds"] = seconds(budget) / runs if budget else None
    return values | ({"teacher": str(teacher)} if teacher else {})
