"""`distilpose doctor`: what this machine offers, and what would go wrong."""

import sys
from pathlib import Path

import click

from distilpose.cli.options import config_option, reported_errors


@click.command()
@config_option
def command(config: Path | None) -> None:
    """Check device, driver, precision, threads, weights and decoders; exit 1 on a problem."""
    from distilpose.service.doctor import findings
    from distilpose.service.settings import load_settings

    with reported_errors():
        settings = load_settings(config)
    problems = 0
    for name, text, is_fine in findings(settings):
        problems += not is_fine
        mark = click.style("ok", fg="green") if is_fine else click.style("PROBLEM", fg="red")
        click.echo(f"{name:<12} {mark}  {text}")
    sys.exit(1 if problems else 0)
