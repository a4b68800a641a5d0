"""Servers for end-to-end tests."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from browsers import Pages, running_browser
from servers import API_KEY, QUICK_START, ROOT_PATH, Server, StartServer, running_servers
from soaking import PATIENT


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers of a module's own, which end with it."""
    with running_servers(tmp_path_factory.mktemp("servers")) as begin:
        yield begin


@pytest.fixture(scope="session")
def start_shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers for several modules: a test may neither end one nor change how it answers."""
    with running_servers(tmp_path_factory.mktemp("shared")) as begin:
        yield begin


@pytest.fixture(scope="session")
def server(start_shared_server: StartServer) -> Server:
    """A shared server with default settings, for all tests that change nothing."""
    return start_shared_server()


@pytest.fixture(scope="session")
def guarded(start_shared_server: StartServer) -> Server:
    """A shared server that asks for `API_KEY` and lies below `ROOT_PATH` of a proxy."""
    return start_shared_server(
        HTTP__ROOT_PATH=ROOT_PATH, SECURITY__API_KEYS=f'["{API_KEY}"]', **QUICK_START
    )


@pytest.fixture(scope="session")
def strict(start_shared_server: StartServer) -> Server:
    """A shared server that refuses what is only a little large."""
    return start_shared_server(
        HTTP__MAX_BODY_BYTES="200000",
        HTTP__MAX_IMAGES="2",
        LIMITS__MAX_PIXELS="500000",
        STREAMS__MAX_STREAMS="2",
        GRPC__MAX_MESSAGE_BYTES="10000",
        **QUICK_START,
    )


@pytest.fixture(scope="session")
def tuned(start_shared_server: StartServer) -> Server:
    """A shared server of small batches, a low threshold and a deadline too far away to matter."""
    return start_shared_server(
        BATCHING__DECODE_THREADS="1",
        BATCHING__DETECT_MAX_BATCH="1",
        BATCHING__POSE_MAX_BATCH="4",
        LIMITS__MIN_KEYPOINT_SCORE="0.15",
        **PATIENT,
    )


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the default server."""
    with server.client() as open_client:
        yield open_client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, which ends with the module."""
    with running_browser() as running:
        yield running


@pytest.fixture
def pages(browser: Browser, server: Server) -> Iterator[Pages]:
    """Opens pages of the default server; at the end none has complained."""
    opened = Pages(browser, server.url)
    yield opened
    opened.close()
