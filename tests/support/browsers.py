"""The demo page in a real Chromium, as a person has it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from photos import photo

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser with a camera in front of bus.jpg."""
    expect.set_options(timeout=60_000)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        film = Path(folder) / "bus.mjpeg"
        film.write_bytes(2 * photo("bus.jpg"))
        flags = [*_FLAGS, f"--use-file-for-fake-video-capture={film}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


class Pages:
    """Opens pages, each in a profile of its own, and holds what they complained of."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.complaints: list[str] = []
        self._browser = browser
        self._url = url

    def open(self, url: str = "", **options: Any) -> Page:
        """The page, with options of a browser's context such as `color_scheme`."""
        page = self._browser.new_context(**options).new_page()
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url or self._url)
        return page

    def close(self) -> None:
        """Close them; no script has failed and the page's policy forbade nothing."""
        for context in self._browser.contexts:
            context.close()
        assert self.complaints == []

    def _listen(self, message: ConsoleMessage) -> None:
        # The browser calls an answer that says no an error, too.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


def choose(page: Page, *paths: Path) -> None:
    """Choose photos, as the button's dialog would."""
    page.set_input_files("#files", list(paths))


def expect_status(page: Page, text: str) -> None:
    """Wait until the page says so."""
    expect(page.locator("#status")).to_have_text(text)


def asked(page: Page) -> list[str]:
    """The addresses of the requests for poses from now on, as they come."""
    urls: list[str] = []
    page.on(
        "request", lambda request: urls.append(request.url) if "/pose?" in request.url else None
    )
    return urls
