"""`distilpose weights`: cards of weights files, and import of what others published."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilpose.cli.options import reported_errors
from distilpose.cli.outputs import OUT_FILE, refuse_replacing

if TYPE_CHECKING:
    from distilpose.model.card import Card

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Show a weights file's card, or import published weights."""


@command.command()
@click.argument("file", type=_FILE, required=False)
def show(file: Path | None) -> None:
    """Print the card of FILE (default: the packaged student) as Markdown."""
    with reported_errors():
        from distilpose.model.card import card_markdown
        from distilpose.model.load import packaged_student
        from distilpose.model.weights import read_card

        click.echo(card_markdown(read_card(file or packaged_student())), nl=False)


@command.command("import")
@click.argument("checkpoint", type=_FILE)
@click.argument("out", type=OUT_FILE)
@click.option(
    "--architecture",
    required=True,
    help="distilpose-s, distilpose-l, tokenpose-s, tokenpose-l or yolo26n-pose-trunk.",
)
@click.option("--weights-version", default="1", show_default=True, help="Version for the card.")
@click.option("--licence", multiple=True, help="Licence of the weights, for the card.")
def import_(
    checkpoint: Path, out: Path, architecture: str, weights_version: str, licence: tuple[str, ...]
) -> None:
    """Convert CHECKPOINT to OUT (safetensors).

    CHECKPOINT is in the layout of the paper's authors (mmcv). For yolo26n-pose-trunk, the bare
    trunk that training of distilpose-n and tokenpose-n starts from, it is an ultralytics checkpoint
    of YOLO26n-pose (.pt), or its tensors (.safetensors).
    """
    refuse_replacing({"OUT": out}, [checkpoint])
    with reported_errors():
        from distilpose.model.configs import TRUNK
        from distilpose.model.imports import import_published, import_trunk
        from distilpose.model.weights import save, write_halved

        if architecture == TRUNK:
            state, sha256 = import_trunk(checkpoint)
            card = _trunk_card(f"{checkpoint.name}, sha256 {sha256}", weights_version, licence)
            write_halved(out, state, card)
        else:
            state = import_published(checkpoint, architecture)
            card = _published_card(architecture, checkpoint.name, weights_version, licence)
            save(out, state, card)
        click.echo(f"wrote {out}: {architecture}, {len(state)} tensors")


def _published_card(
    architecture: str, checkpoint: str, version: str, licences: tuple[str, ...]
) -> "Card":
    from distilpose.model.card import Card

    return Card(
        architecture=architecture,
        version=version,
        created=datetime.now(UTC).date(),
        source=f"Imported from the checkpoint {checkpoint}.",
        training_data="Not stated by the checkpoint.",
        licences=licences or ("Not stated by the checkpoint: ask its authors.",),
        calibrated=False,
        limitations=("Not measured here yet: run `distilpose evaluate`.",),
    )


def _trunk_card(file: str, version: str, licences: tuple[str, ...]) -> "Card":
    from distilpose.model.card import Card
    from distilpose.model.configs import TRUNK

    return Card(
        architecture=TRUNK,
        version=version,
        created=datetime.now(UTC).date(),
        source=f"The trunk of YOLO26n-pose by Ultralytics, imported from {file}.",
        training_data="Not stated by the file. Ultralytics trains YOLO26n-pose on COCO.",
        licences=licences or ("AGPL-3.0: weights of Ultralytics' YOLO26n-pose.",),
        intended_use="Training of `distilpose-n` and `tokenpose-n` starts from it.",
        limitations=("It has features and no keypoints: nothing serves or measures it.",),
        crops_seen=0,
        calibrated=False,
    )
