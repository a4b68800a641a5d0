"""`distilpose serve`: REST and gRPC in one process over one pipeline."""

import gc
import os
import signal
import sys
from functools import partial
from pathlib import Path

import click

from distilpose.cli.options import config_option, reported_errors


@click.command()
@config_option
def command(config: Path | None) -> None:
    """Start the service; SIGTERM drains and ends it."""
    # As process 1 of a container, a process without a handler ignores the signal, and loading the
    # libraries takes seconds.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    gc.disable()  # imports make little garbage, and looking for it takes a tenth of their time
    from distilpose.service.heap import keep_freed_memory
    from distilpose.service.telemetry.outlet import queue_standard_error

    keep_freed_memory()
    # First, so that nothing, an error of the start included, waits for someone to read it.
    log = queue_standard_error()
    with reported_errors():
        from distilpose.service import server
        from distilpose.service.settings import load_settings
        from distilpose.service.telemetry import logs

        gc.enable()
        settings = load_settings(config)
        telemetry = settings.telemetry
        logs.configure(log, level=telemetry.log_level, log_format=telemetry.log_format)
        sys.exit(server.run(settings, log, on_listening=partial(click.echo, err=True)))
