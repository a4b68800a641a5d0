"""`distilpose train detector`: the person detector on any folder of labelled people."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from distilpose.cli.figures import figure_text
from distilpose.cli.options import picture_progress, reported_errors, seconds
from distilpose.cli.train.options import stopped_by_signals

if TYPE_CHECKING:
    from distilpose.model.data.people import PeopleFolder
    from distilpose.model.measure.evaluate import BoxesFrom
    from distilpose.model.predict import Predictor
    from distilpose.model.train.detector.figures import BoxFigures
    from distilpose.model.train.detector.run import DetectorRun
    from distilpose.model.train.detector.trainer import DetectorSettings

_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_SCRATCH: Final = "scratch"


class _Row(NamedTuple):
    """What is reached on one source with boxes of one origin."""

    source: str
    boxes: str
    figures: "BoxFigures | None"
    """None for ground truth."""
    keypoint_ap: float | None
    """None where nobody has keypoints."""


@click.command()
@click.argument("people", type=_FOLDER)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--budget", help="How long to train, as wall time such as 25m or 2h.")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), help="Or as passes over PEOPLE.")
@click.option(
    "--start-from",
    metavar=f"FILE|{_SCRATCH}",
    help=f"Detection weights in our form, packaged by default; {_SCRATCH} for random ones.",
)
@click.option("--size", type=int, default=640, show_default=True, help="Longer side in pixels.")
@click.option(
    "--batch", type=click.IntRange(1), default=16, show_default=True, help="Pictures a step."
)
@click.option("--device", default="auto", show_default=True, help="cuda, mps, cpu or auto.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True)
@click.option("--resume", is_flag=True, help="Go on from OUT's checkpoint.")
@click.option("--eval", "evaluate_on", type=_FOLDER, help="People to measure on, before and after.")
@click.option("--student", type=_FILE, help="Finds keypoints in the boxes; packaged by default.")
def command(
    people: Path,
    out: Path,
    resume: bool,
    evaluate_on: Path | None,
    student: Path | None,
    **settings: Any,
) -> None:
    """Train the person detector on PEOPLE (COCO); weights, checkpoint and log come into OUT.

    Crowds and doubtful people are painted grey. Pictures in which not everyone has a box are left
    out, and so are those whose id is divisible by 20. SIGTERM and Ctrl-C save and end.
    """
    with reported_errors():
        from distilpose.model.container import usable_cpus
        from distilpose.model.runtime.devices import use_threads
        from distilpose.model.train import checkpoint

        if not resume:
            checkpoint.refuse_any(out)
        use_threads(usable_cpus())
        run = _run(people, out, _settings(**settings))
        # Before the training, so that what is wrong with these people is told at once.
        before = _measured_before(run, evaluate_on, student) if evaluate_on else []
        with _progress(run), stopped_by_signals(run):
            run.fit(resume=resume)
        click.echo(f"wrote {run.weights_path}")
        if evaluate_on and not run.stopping:
            after = _rows(_predictor(run, run.weights_path, student), evaluate_on, "after")
            _print([*before, *after])
            _add_to_card(run, after)


def _settings(
    *,
    budget: str | None,
    epochs: float | None,
    start_from: str | None,
    size: int,
    batch: int,
    device: str,
    workers: int,
) -> "DetectorSettings":
    from distilpose.model.runtime.devices import choose_device
    from distilpose.model.runtime.yolo import PACKAGED
    from distilpose.model.train.detector.trainer import DetectorSettings

    file = Path(start_from) if start_from else PACKAGED
    return DetectorSettings(
        epochs=epochs,
        budget_seconds=seconds(budget) if budget else None,
        start_from=None if start_from == _SCRATCH else file,
        image_size_px=size,
        batch_size=batch,
        device=str(choose_device(device)),
        workers=workers,
    )


def _run(people: Path, out: Path, settings: "DetectorSettings") -> "DetectorRun":
    from distilpose.model.container import usable_cpus
    from distilpose.model.data.people import PeopleFolder
    from distilpose.model.train.detector.data import write_detector_data
    from distilpose.model.train.detector.run import DetectorRun

    with picture_progress() as on_progress:
        data = write_detector_data(
            PeopleFolder(people), out / "data", workers=usable_cpus(), on_progress=on_progress
        )
    return DetectorRun(settings, data, out)


@contextmanager
def _progress(run: "DetectorRun") -> Iterator[None]:
    """A bar on standard error with the share that is done and the losses."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("training", total=1.0)

        def show(share: float, losses: Mapping[str, float]) -> None:
            losses_text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress.update(bar, completed=share, description=losses_text)

        run.on_step = show
        yield


def _measured_before(run: "DetectorRun", folder: Path, student: Path | None) -> list[_Row]:
    predictor = _predictor(run, run.settings.start_from, student)
    return [*_rows(predictor, folder, None), *_rows(predictor, folder, "before")]


def _predictor(run: "DetectorRun", detector: Path | None, student: Path | None) -> "Predictor":
    from distilpose.model.load import load_models

    settings = run.settings
    return load_models(
        weights=student,
        device=settings.device,
        detector=detector,
        detector_image_size_px=settings.image_size_px,
    ).predictor


def _rows(predictor: "Predictor", folder: Path, detector: str | None) -> list[_Row]:
    """A row for each source of a folder: of ground-truth boxes, or of those of the `detector`."""
    from distilpose.model.data.people import PeopleFolder

    rows = []
    for source in sorted({picture.source for picture in PeopleFolder(folder).pictures}):
        people = PeopleFolder(folder, sources=[source])
        figures = _box_figures(predictor, people) if detector else None
        keypoint_ap = _keypoint_ap(predictor, people, "detector" if detector else "ground-truth")
        rows.append(_Row(source, detector or "ground truth", figures, keypoint_ap))
    return rows


def _box_figures(predictor: "Predictor", people: "PeopleFolder") -> "BoxFigures":
    from distilpose.model.train.detector.figures import box_figures

    assert predictor.detector  # noqa: S101 - `load_models` always brings one
    with picture_progress() as on_progress:
        return box_figures(predictor.detector, people, on_progress=on_progress)


def _keypoint_ap(
    predictor: "Predictor", people: "PeopleFolder", boxes: "BoxesFrom"
) -> float | None:
    from distilpose.model.measure.evaluate import evaluate

    if not any(each.can_be_measured for picture in people.pictures for each in picture.people):
        return None
    with picture_progress() as on_progress:
        return evaluate(predictor, people, boxes=boxes, on_progress=on_progress).published.ap


def _print(rows: Sequence[_Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("people")
    table.add_column("boxes")
    for name in ("AP50", "AP", "keypoint AP"):
        table.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: row.source):
        ap50, ap = (row.figures.ap50, row.figures.ap) if row.figures else (None, None)
        table.add_row(
            row.source, row.boxes, figure_text(ap50), figure_text(ap), figure_text(row.keypoint_ap)
        )
    console = Console()
    console.print(table)
    for protocol in dict.fromkeys(row.figures.protocol for row in rows if row.figures):
        console.print(f"  AP50, AP: {protocol}.", style="dim", soft_wrap=True)
    console.print("  Keypoint AP: published ranking, no flip test.", style="dim", soft_wrap=True)


def _add_to_card(run: "DetectorRun", rows: Sequence[_Row]) -> None:
    from distilpose.model.train.detector.run import add_figures

    figures = [figure for row in rows if row.figures for figure in row.figures.for_card()]
    add_figures(run.weights_path, figures)
