"""Fixtures for the whole suite, none of whose processes may talk to another machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback import forbid_the_rest

TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def forbidden_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that notes forbidden calls of this process and of those it starts."""
    report = tmp_path_factory.mktemp("network") / "forbidden"
    report.touch()
    forbid_the_rest(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def _only_this_machine(forbidden_calls: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_FORBIDDEN_CALLS", str(forbidden_calls))
        given = os.environ.get("PYTHONPATH")
        folders = [str(TESTS / "support" / "children"), *([given] if given else [])]
        patch.setenv("PYTHONPATH", os.pathsep.join(folders))
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of one run share compiled networks, and leave none in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _nobody_called_out(forbidden_calls: Path) -> Iterator[None]:
    yield
    assert forbidden_calls.read_text() == "", "this test wanted to talk to another machine"
