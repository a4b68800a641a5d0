"""Servers whose event loop reports on itself, in a file."""

from pathlib import Path

import pytest

from servers import Server, StartServer
from soaking import FAST, PATIENT

FIRST = Path(__file__).parents[1] / "e2e" / "first"


def start_watched(start_server: StartServer, script: str, **reports: Path) -> Server:
    """A server that runs this script first; `reports` are the script's variables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_RUN_FIRST", str(FIRST / script))
        for name, path in reports.items():
            patch.setenv(name, str(path))
        return start_server(**FAST, **PATIENT)
