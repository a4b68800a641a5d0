"""Options and conversions that several commands share."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

EXTRAS: Final = {
    "av": "video",
    "faster_coco_eval": "train",
    "matplotlib": "train",
    "tensorboard": "train",
}
"""Packages that not every installation has, and the extra that brings each."""
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Share(click.FloatRange):
    """A number from 0 to 1. click's own range lets NaN through, which is not below 0."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


SHARE: Final = _Share(0, 1)
"""The type of options that are a score or a share."""
IN_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
"""The type of options and arguments that are a file to read."""
IN_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
"""The type of options and arguments that are a folder to read."""

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*options: Decorator) -> Decorator:
    """One decorator for several options, which help shows in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


sigma_option = click.option(
    "--sigma",
    is_flag=True,
    help="Draw an ellipse of one sigma around each visible keypoint; with --out only.",
)

config_option = click.option(
    "--config",
    type=IN_FILE,
    help="YAML file of settings; DISTILPOSE_* variables outrank it.",
)


class Stopped(click.ClickException):
    """An error of a command whose exit code 1 is a verdict."""

    exit_code = 2


@contextmanager
def reported_errors(
    *others: type[Exception], failure: type[click.ClickException] = click.ClickException
) -> Iterator[None]:
    """Report expected errors, `others` included, as one line on standard error and a `failure`."""
    from distilpose.model.errors import ModelError
    from distilpose.service.errors import ServiceError
    from distilpose.service.settings import SettingsError

    expected: tuple[type[Exception], ...] = (ModelError, ServiceError, SettingsError, *others)
    try:
        yield
    except expected as err:
        raise failure(str(err)) from err
    except BrokenPipeError:
        raise  # click ends quietly where nobody reads on
    except OSError as err:
        where = f"{err.filename}: " if err.filename is not None else ""
        raise failure(f"{where}{err.strerror or err}") from err
    except ModuleNotFoundError as err:
        extra = EXTRAS.get((err.name or "").partition(".")[0])
        if extra is None:
            raise
        text = f"this command needs {err.name}: pip install 'distilpose[{extra}]'"
        raise failure(text) from err


def refuse_sigma_without(out: Path | None, *, sigma: bool) -> None:
    """Return if ellipses are not asked for, or there is a picture to draw them on.

    Raises:
        click.UsageError: they would be drawn on nothing.
    """
    if sigma and out is None:
        raise click.UsageError("--sigma: only with --out, which draws")


def seconds(text: str) -> float:
    """A length of time such as `25m`, `1.5h` or `90s`.

    Raises:
        ConfigError: it is not a number and a unit.
    """
    from distilpose.model.errors import ConfigError

    number, unit = text[:-1], text[-1:]
    if unit not in _SECONDS or not number.replace(".", "", 1).isdigit():
        raise ConfigError(f"--budget {text}: expected a number and one of s, m, h, d")
    return float(number) * _SECONDS[unit]


@contextmanager
def progress(things: str, *, hidden: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on standard error, which gets how many things are done, and how many there are.

    Nothing is written where standard error is no terminal, or the bar is hidden.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    hidden = hidden or not console.is_terminal
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=hidden) as shown:
        bar = shown.add_task(things, total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total)


def said_of_frames(done: int, total: int | None, seconds: float) -> str:
    """The progress of a video, in words; `total` is a guess, and is not believed once it is passed.

    The headers of videos say how many frames there are, and are often wrong.
    """
    if not done or seconds <= 0:
        return f"{done} frames"
    text = f"{done} frames, {done / seconds:.1f} a second"
    if total is None or total <= done:
        return text
    left = max(1, round((total - done) * seconds / done))
    for unit, size in (("h", 3600), ("min", 60)):
        if left >= 2 * size:
            return f"{text}, about {round(left / size)} {unit} left"
    return f"{text}, about {left} s left"


@contextmanager
def frame_progress() -> Iterator[Callable[[int, int | None], None]]:
    """A line on standard error, which gets how many frames are done, and about how many there are.

    Nothing is written where standard error is no terminal.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn

    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        "{task.description}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as shown:
        line = shown.add_task("0 frames", total=None)
        began = time.monotonic()

        def on_progress(done: int, total: int | None) -> None:
            said = said_of_frames(done, total, time.monotonic() - began)
            shown.update(line, description=said)

        yield on_progress


def picture_progress() -> AbstractContextManager[Callable[[int, int], None]]:
    """The bar of what goes through pictures."""
    return progress("pictures")


layout_option = click.option(
    "--layout",
    type=click.Choice(["plain", "coco", "roboflow", "yolo"]),
    help="Labels to read where a folder holds several layouts: JSON files beside the pictures, "
    "annotations/person_keypoints_*.json, _annotations.coco.json, or texts with data.yaml.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cuda, mps, cpu or auto."
)
model_options = together(
    click.option("--weights", type=IN_FILE, help="Student weights; packaged by default."),
    click.option("--detector", type=IN_FILE, help="Detection weights; packaged by default."),
    device_option,
)
"""Options of the commands that load a student and a detector."""
