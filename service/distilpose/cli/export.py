"""`distilpose export`: the student as a file for another runtime."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilpose.cli.options import IN_FILE, reported_errors
from distilpose.cli.outputs import OUT_FILE, overwrite_option, writing

if TYPE_CHECKING:
    from distilpose.model.runtime.export import Format


@click.command()
@click.argument("out", type=OUT_FILE)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["onnx", "openvino"]),
    required=True,
    help="OUT ends in .onnx, or in .xml and brings a .bin.",
)
@click.option(
    "--weights",
    type=IN_FILE,
    help="Student weights; packaged by default.",
)
@overwrite_option
def command(out: Path, file_format: "Format", weights: Path | None, overwrite: bool) -> None:
    """Write the student to OUT and check its answers against torch's.

    OUT takes crops as they are cut, uint8 RGB (B, 256, 192, 3), and gives xy_crop (0..1 over the
    crop), raw_score and sigma_cell (pixels / 4 of the crop), uncalibrated.
    """
    weights_file = out.with_suffix(".bin") if file_format == "openvino" else None
    parts = {"OUT": out, "OUT's weights": weights_file}
    with reported_errors(), writing(parts, [weights], overwrite=overwrite) as outputs:
        from distilpose.model.load import packaged_student
        from distilpose.model.runtime.export import export
        from distilpose.model.weights import load

        loaded = load(weights or packaged_student())
        with ExitStack() as opened:
            unfinished = opened.enter_context(outputs.writing(out))
            difference = export(loaded, unfinished, file_format)
            if weights_file:  # moved first, since OUT is nothing without it
                own = opened.enter_context(outputs.writing(weights_file))
                unfinished.with_suffix(".bin").replace(own)
        click.echo(
            f"wrote {out}: {loaded.card.architecture} {loaded.card.version}, {file_format}, "
            f"within {difference:.1g} of torch"
        )
