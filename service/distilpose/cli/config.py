"""`distilpose config`: the effective settings, without secrets."""

from pathlib import Path

import click

from distilpose.cli.options import config_option, reported_errors


@click.command()
@config_option
def command(config: Path | None) -> None:
    """Print the effective settings as YAML; secrets are starred out."""
    import yaml

    from distilpose.service.settings import load_settings

    with reported_errors():
        settings = load_settings(config)
    click.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), nl=False)
