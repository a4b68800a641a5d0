"""`distilpose train detector`: the person detector on any folder of labelled people."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from distilpose.cli.options import (
    IN_FOLDER,
    device_option,
    layout_option,
    picture_progress,
    reported_errors,
    seconds,
)
from distilpose.cli.outputs import OUT_FOLDER, overwrite_option
from distilpose.cli.train.options import stopped_by_signals, writing_runs

if TYPE_CHECKING:
    from distilpose.model.train.detector.comparison import SourceFigures
    from distilpose.model.train.detector.run import DetectorRun
    from distilpose.model.train.detector.trainer import DetectorSettings

_SCRATCH: Final = "scratch"


@click.command()
@click.argument("people", type=IN_FOLDER)
@click.option("--out", required=True, type=OUT_FOLDER)
@overwrite_option
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
@layout_option
@device_option
@click.option("--resume", is_flag=True, help="Go on from OUT's checkpoint.")
@click.option("--eval", "evaluate_on", type=IN_FOLDER, help="People to measure on.")
def command(
    people: Path,
    out: Path,
    overwrite: bool,
    resume: bool,
    evaluate_on: Path | None,
    layout: Any,
    **settings: Any,
) -> None:
    """Train the person detector on PEOPLE (COCO); weights, checkpoint and log come into OUT.

    Crowds and doubtful people are painted grey. Pictures in which not everyone has a box are left
    out, and so are those whose id is divisible by 20. SIGTERM and Ctrl-C save and end.
    """
    start = settings["start_from"]
    reads = [people, evaluate_on, Path(start) if start not in (None, _SCRATCH) else None]
    networks = {out: "yolov8n-person"}
    with (
        reported_errors(),
        writing_runs(networks, reads, command="detector", overwrite=overwrite),
    ):
        from distilpose.model.data.labels.layouts import layout_for
        from distilpose.model.runtime.pytorch.devices import use_threads
        from distilpose.model.train import checkpoint
        from distilpose.model.train.detector.comparison import Comparison
        from distilpose.model.train.detector.run import add_figures, prepare

        if not resume:
            checkpoint.refuse_any(out)
        use_threads()
        chosen = _settings(**settings)
        comparison = None
        if evaluate_on:
            comparison = Comparison(evaluate_on, chosen, layout_for(evaluate_on, layout))
        with picture_progress() as on_progress:
            run = prepare(people, out, chosen, layout=layout, on_progress=on_progress)
            for note in run.data.label_notes:
                click.echo(f"{people}: {note}", err=True)
            # Before the training, so that people who cannot be measured are reported at once.
            before = comparison.before(on_progress) if comparison else []
        with _progress(run), stopped_by_signals(run):
            run.fit(resume=resume)
        click.echo(f"wrote {run.weights_path}")
        if comparison and not run.stopping:
            with picture_progress() as on_progress:
                after = comparison.after(run.weights_path, on_progress)
            _print([*before, *after])
            add_figures(run.weights_path, [f for row in after for f in row.for_card()])


def _settings(
    *,
    budget: str | None,
    epochs: float | None,
    start_from: str | None,
    size: int,
    batch: int,
    device: str,
) -> "DetectorSettings":
    from distilpose.model.runtime.detector import PACKAGED
    from distilpose.model.runtime.devices import choose_device
    from distilpose.model.train.detector.trainer import DetectorSettings

    file = Path(start_from) if start_from else PACKAGED
    return DetectorSettings(
        epochs=epochs,
        budget_seconds=seconds(budget) if budget else None,
        start_from=None if start_from == _SCRATCH else file,
        image_size_px=size,
        batch_size=batch,
        device=str(choose_device(device)),
    )


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


def _print(rows: "Sequence[SourceFigures]") -> None:
    from rich.console import Console
    from rich.table import Table

    from distilpose.model.card import figure_text

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
