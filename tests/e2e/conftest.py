"""Servers for end-to-end tests."""

from collections.abc import Callable, Iterator
from typing import IO

import httpx
import pytest
from playwright.sync_api import Browser

from browsers import Pages, running_browser
from servers import Server, start

StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers with settings such as `HTTP__MAX_IMAGES="2"`; all end with the module."""
    folder = tmp_path_factory.mktemp("servers")
    started: list[tuple[Server, IO[bytes]]] = []

    def begin(*, wait: bool = True, **settings: str) -> Server:
        started.append(start(folder, len(started), settings))
        server = started[-1][0]
        if wait:
            server.wait_until_ready()
        return server

    yield begin
    for server, stream in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        stream.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with default settings, for all tests that change nothing."""
    running, stream = start(tmp_path_factory.mktemp("server"), 0, {})
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        stream.close()


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
