"""The page at `/` for everyone: by keyboard, in the dark, on a phone, below a path, with a key."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from browsers import Pages, asked, choose, expect_status, needs_chromium
from photos import photo_path
from servers import API_KEY, ROOT_PATH, Server

pytestmark = needs_chromium

BUS = photo_path("bus.jpg")

LEAST_CONTRAST = """() => {
    const luminance = (colour) => {
        const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = colour.match(/[\\d.]+/g).map((value) => linear(value / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return /, 0\\)$/.test(colour) ? ground(element.parentElement) : colour;
    };
    const contrasts = [];
    for (const element of document.querySelectorAll("body *")) {
        const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!hasText || !element.checkVisibility()) continue;
        const pair = [getComputedStyle(element).color, ground(element)].map(luminance);
        const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        contrasts.push([contrast, element.textContent]);
    }
    return contrasts.sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.fixture
def proxied(guarded: Server) -> Iterator[str]:
    """A server with a key, below `ROOT_PATH` of a proxy that strips that, whatever follows."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix(ROOT_PATH)
            if path == self.path:
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kept = ("content-type", "x-api-key")
            headers = {name: self.headers[name] for name in kept if name in self.headers}
            url = f"{guarded.url}/{path.removeprefix('/')}"
            answer = httpx.request(self.command, url, content=body, headers=headers, timeout=60)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}{ROOT_PATH}"
        proxy.shutdown()


def test_behind_a_proxy_it_asks_for_a_key_and_keeps_it_to_itself(
    pages: Pages, proxied: str
) -> None:
    page = pages.open(proxied)  # without the slash at the end
    urls = asked(page)
    field, alert = page.get_by_label("API key"), page.get_by_role("alert")
    expect(field).to_be_visible()
    choose(page, BUS)
    expect(alert).to_contain_text("This service requires an API key")
    expect(field).to_be_focused()
    page.keyboard.type("another-key")
    page.keyboard.press("Enter")
    expect(alert).to_contain_text("This key is not accepted.")
    field.fill("ключ")
    page.keyboard.press("Enter")
    expect(alert).to_contain_text("Not a valid key")
    field.fill(API_KEY)
    page.get_by_role("button", name="Apply").click()
    expect_status(page, "4 people found.")
    expect(alert).to_be_empty()
    expect(page.locator("#model")).to_contain_text("distilpose-n")
    assert urls
    assert all(url.startswith(f"{proxied}/v1/pose?") for url in urls)
    curl = page.locator("#curl").text_content() or ""
    assert f"{proxied}/v1/pose?" in curl
    assert '-H "x-api-key: $API_KEY"' in curl
    kept = page.evaluate(
        "[document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)].join()"
    )
    assert API_KEY not in f"{kept}{curl}{urls}{page.url}{page.content()}"
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("")


def test_a_keyboard_is_enough(pages: Pages) -> None:
    page = pages.open()
    page.on("filechooser", lambda chooser: chooser.set_files(BUS))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="API reference")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose photos")).to_be_focused()
    page.keyboard.press("Enter")
    expect_status(page, "4 people found.")
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, has_ring = page.evaluate(
            """() => {
                const element = document.activeElement;
                const name = element.labels?.[0]?.textContent ?? element.textContent;
                return [name.trim(), getComputedStyle(element).outlineStyle !== "none"];
            }"""
        )
        if name in seen or element_is_outside(page):
            break
        seen.append(name)
        assert has_ring, name
        if name.startswith("Person 1"):
            page.keyboard.press("Enter")
            expect(page.get_by_role("rowheader", name="left wrist").first).to_be_visible()
        if name.startswith("Minimum box score"):
            for _ in range(36):
                page.keyboard.press("ArrowRight")
            expect_status(page, "3 people found.")
        if name == "Boxes and scores":
            page.keyboard.press("Space")
            expect(page.get_by_label("Boxes and scores")).not_to_be_checked()
    words = " / ".join(seen)
    for wanted in (
        "camera",
        "Save",
        "Clear",
        "Person 1",
        "Person 4",
        "Minimum key",
        "Copy",
        "API key",
    ):
        assert wanted in words
    places = [words.index(each) for each in ("camera", "Person 1", "Minimum", "Copy")]
    assert places == sorted(places)


def element_is_outside(page: Page) -> bool:
    return bool(page.evaluate("document.activeElement === document.body"))


def test_everything_that_acts_has_a_name_and_news_is_announced(pages: Pages) -> None:
    page = pages.open()
    choose(page, BUS)
    expect(page.get_by_role("img", name="bus.jpg: 4 people found.")).to_be_visible()
    tree = page.locator("body").aria_snapshot()
    for line in ("status: 4 people found.", 'heading "distilpose" [level=1]', 'heading "People"'):
        assert f"- {line}" in tree
    acting = re.findall(r"- (?:button|link|slider|checkbox)\b.*", tree)
    assert len(acting) >= 11
    for line in acting:
        assert '"' in line  # its name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_light_and_in_dark(pages: Pages, scheme: Any) -> None:
    page = pages.open(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")
    assert (int(ground[0]) < 60) == (scheme == "dark")
    page.route("**/v1/pose*", lambda route: route.abort())
    choose(page, BUS)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/v1/pose*")
    contrast, where = page.evaluate(LEAST_CONTRAST)
    assert contrast >= 4.5, where
    page.get_by_role("button", name="Try again").click()
    expect_status(page, "4 people found.")
    page.get_by_text("Person 1").click()
    contrast, where = page.evaluate(LEAST_CONTRAST)
    assert contrast >= 4.5, where


def test_a_phone_shows_all_of_it_without_scrolling_sideways(pages: Pages) -> None:
    page = pages.open(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    choose(page, BUS, photo_path("zidane.jpg"))
    expect(page.get_by_role("button", name="zidane.jpg, 2 found")).to_be_visible()
    page.get_by_text("Person 1").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 32


def test_nothing_moves_where_that_is_not_wanted(pages: Pages) -> None:
    page = pages.open(reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(busy, '::after').animationName") == "none"


def test_the_camera_is_watched_and_let_go(pages: Pages) -> None:
    page = pages.open(permissions=["camera"])
    page.evaluate(
        """() => {
            const { mediaDevices } = navigator;
            const open = mediaDevices.getUserMedia.bind(mediaDevices);
            mediaDevices.getUserMedia = async (wish) => (window.streamOfTest = await open(wish));
        }"""
    )
    urls = asked(page)
    page.get_by_role("button", name="Use the camera").click()
    # The camera's frames are coded anew, and the fourth person's box score is near the threshold.
    expect(page.locator("#status")).to_have_text(re.compile("[34] people found."))
    while len(urls) < 3:
        page.wait_for_timeout(50)
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.get_by_role("button", name="Use the camera")).to_be_visible()
    assert page.evaluate("streamOfTest.getTracks().map((track) => track.readyState)") == ["ended"]
    sent = len(urls)
    page.wait_for_timeout(1000)
    assert len(urls) == sent
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.get_by_role("img", name=re.compile("frame.jpg: [34] people"))).to_be_visible()


def test_without_a_camera_it_says_why(pages: Pages) -> None:
    page = pages.open()
    page.evaluate(
        """() => {
            navigator.mediaDevices.getUserMedia = () =>
                Promise.reject(new DOMException("no", "NotFoundError"));
        }"""
    )
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("alert")).to_contain_text("No camera was found.")
    expect(page.get_by_role("button", name="Use the camera")).to_be_focused()
