"""`distilpose serve`: REST and gRPC in one process over one pipeline."""

import sys
from pathlib import Path

import click

from distilpose.cli.options import config_option, reported_errors


@click.command()
@config_option
def command(config: Path | None) -> None:
    """Start the service; SIGTERM drains and ends it."""
    from distilpose.service.telemetry.outlet import queue_standard_error

    # First, so that nothing, an error of the start included, waits for someone to read it.
    log = queue_standard_error()
    with reported_errors():
        from distilpose.service import server
        from distilpose.service.settings import load_settings
        from distilpose.service.telemetry import logs

        settings = load_settings(config)
        telemetry = settings.telemetry
        logs.configure(log, level=telemetry.log_level, log_format=telemetry.log_format)
        scheme = "https" if settings.security.tls_cert else "http"
        host = "127.0.0.1" if settings.http.host in ("0.0.0.0", "::") else settings.http.host  # noqa: S104 - compared, not bound
        url = f"{scheme}://{host}:{settings.http.port}"
        also = f", gRPC on {host}:{settings.grpc.port}" if settings.grpc.port else ""
        click.echo(f"distilpose on {url} (API: {url}/docs){also}", err=True)
        sys.exit(server.run(settings, log))
