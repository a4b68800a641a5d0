"""`distilpose weights`: cards of weights files, and import of what others published."""

from pathlib import Path
from typing import Any

import click

from distilpose.cli.options import IN_FILE, reported_errors
from distilpose.cli.outputs import OUT_FILE, overwrite_option, writing


@click.group()
def command() -> None:
    """Show a weights file's card, or import published weights."""


@command.command()
@click.argument("file", type=IN_FILE, required=False)
def show(file: Path | None) -> None:
    """Print the card of FILE (default: the packaged student) as Markdown."""
    with reported_errors():
        from distilpose.model.card import card_markdown
        from distilpose.model.header import read_card
        from distilpose.model.load import packaged_student

        click.echo(card_markdown(read_card(file or packaged_student())), nl=False)


@command.command("import")
@click.argument("checkpoint", type=IN_FILE)
@click.argument("out", type=OUT_FILE)
@click.option(
    "--architecture",
    required=True,
    help="distilpose-s, distilpose-l, tokenpose-s, tokenpose-l or yolo26n-pose-trunk.",
)
@click.option(
    "--weights-version", "version", default="1", show_default=True, help="Version for the card."
)
@click.option("--licence", "licences", multiple=True, help="Licence of the weights, for the card.")
@overwrite_option
def import_(checkpoint: Path, out: Path, architecture: str, overwrite: bool, **card: Any) -> None:
    """Convert CHECKPOINT to OUT (safetensors).

    CHECKPOINT is in the layout of the paper's authors (mmcv). For yolo26n-pose-trunk, the bare
    trunk that training of distilpose-n and tokenpose-n starts from, it is an ultralytics checkpoint
    of YOLO26n-pose (.pt), or its tensors (.safetensors).
    """
    with reported_errors(), writing({"OUT": out}, [checkpoint], overwrite=overwrite) as outputs:
        from distilpose.model.imports import import_file

        with outputs.writing(out) as unfinished:
            tensors = import_file(checkpoint, unfinished, architecture, **card)
        click.echo(f"wrote {out}: {architecture}, {tensors} tensors")
