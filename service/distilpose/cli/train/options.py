"""Options that say which run to do, of all commands that do one."""

import json
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import click

from distilpose.cli.options import IN_FILE, layout_option, seconds, together
from distilpose.cli.outputs import OUT_FOLDER, overwrite_option, writing_planned
from distilpose.model.files.outputs import Output

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
    layout_option,
)
teacher_option = click.option(
    "--teacher",
    type=IN_FILE,
    help="Weights file of a student's frozen teacher, in place of CONFIG's.",
)


_PICTURES: Final = ("curves.png", "predictions.png")
"""Files of a run that are replaced as it goes, beside its weights; its log is appended to."""


@contextmanager
def writing_runs(
    networks: Mapping[Path, str],
    reads: Iterable[Path | None],
    *,
    command: str,
    overwrite: bool,
    page: Path | None = None,
) -> Iterator[None]:
    """The files of runs by their folders, whose `networks` they train, and of a page about them.

    A folder in which a run has begun is that run's: nothing of it is somebody else's.

    Raises:
        click.UsageError: a file is read, or somebody else's.
    """

    def outputs_in(folders: Iterable[Path]) -> list[Output]:
        names = [
            folder / name
            for folder in folders
            for name in (f"{networks[folder]}.safetensors", *_PICTURES)
        ]
        return [Output(path, "--out", f"train {command}") for path in names]

    given = [path for path in reads if path is not None]
    begun = [folder for folder in networks if _has_begun(folder)]
    others = outputs_in(folder for folder in networks if folder not in begun)
    others += [Output(page, "--out", f"train {command}")] if page else []
    files = [path for path in given if path.is_file()]
    with (
        writing_planned(others, given, overwrite=overwrite) as new,
        writing_planned(outputs_in(begun), files, overwrite=True) as own,
    ):
        try:
            yield
        finally:
            new.note()
            own.note()


def _has_begun(folder: Path) -> bool:
    """Return True if a folder has a run's checkpoint, its figures or its log."""
    if any((folder / name).exists() for name in ("checkpoint.pt", "figures.json")):
        return True
    try:
        with (folder / "log.jsonl").open(encoding="utf-8") as lines:
            first = json.loads(lines.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "kind" in first


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
    layout: str | None = None,
    runs: int = 1,
) -> dict[str, Any]:
    """The settings that `--set` and the other options change; `--budget` is shared by `runs`.

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
    chosen = {"teacher": str(teacher) if teacher else None, "data.layout": layout}
    return values | {name: value for name, value in chosen.items() if value}
