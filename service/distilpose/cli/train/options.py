"""Options that say which run to do, of all commands that do one."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import click

from distilpose.cli.options import IN_FILE, layout_option, seconds, together

_LENGTHS: Final = ("run.steps", "run.epochs", "run.crops", "run.budget_seconds")

run_options = together(
    click.option("--config", required=True, type=IN_FILE, help="The run's settings (YAML)."),
    click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path)),
    click.option("--budget", help="Wall time such as 25m or 2h, in place of CONFIG's length."),
    click.option(
        "--crops", type=click.IntRange(1), help="Crops to see, in place of CONFIG's length."
    ),
    click.option(
        "--set", "overrides", multiple=True, metavar="GROUP.FIELD=VALUE", help="Override."
    ),
    layout_option,
)
teacher_option = click.option(
    "--teacher",
    type=IN_FILE,
    help="Weights file of a student's frozen teacher, in place of CONFIG's.",
)


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
