"""`distilpose weights`: cards of weights files, and import of published checkpoints."""

from datetime import UTC, datetime
from pathlib import Path

import click

from distilpose.cli.options import told_errors

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Show a weights file's card, or import a published checkpoint."""


@command.command()
@click.argument("file", type=_FILE, required=False)
def show(file: Path | None) -> None:
    """Print the card of FILE (default: the packaged student) as Markdown."""
    with told_errors():
        from distilpose.model.card import card_markdown
        from distilpose.model.load import packaged_student
        from distilpose.model.weights import read_card

        click.echo(card_markdown(read_card(file or packaged_student())), nl=False)


@command.command("import")
@click.argument("checkpoint", type=_FILE)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--architecture", required=True, help="distilpose-s, distilpose-l, tokenpose-s or tokenpose-l.")
@click.option("--weights-version", default="1", show_default=True, help="Version for the card.")
@click.option("--licence", multiple=True, help="Licence of the weights, for the card.")
def import_(
    checkpoint: Path, out: Path, architecture: str, weights_version: str, licence: tuple[str, ...]
) -> None:
    """Convert CHECKPOINT, in the layout of the paper's authors (mmcv), to OUT (safetensors)."""
    with told_errors():
        from distilpose.model.card import Card
        from distilpose.model.weights import import_published, save

        state = import_published(checkpoint, architecture)
        card = Card(
            architecture=architecture,
            version=weights_version,
            created=datetime.now(UTC).date(),
            source=f"Imported from the checkpoint {checkpoint.name}.",
            training_data="Not stated by the checkpoint.",
            licences=licence or ("Not stated by the checkpoint: ask its authors.",),
            calibrated=False,
            limitations=("Not measured here yet: run `distilpose evaluate`.",),
        )
        save(out, state, card)
        click.echo(f"wrote {out}: {architecture}, {len(state)} tensors")
