"""The page at `/` in a real browser.

What is drawn is read back from the canvas's pixels: they are what a person sees, and the page needs
nothing that is only there for tests. The list of people says the same in text.
"""

import base64
import io
import re
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from browsers import Pages, asked, choose, expect_status, needs_chromium
from photos import BUS_SIZE_WH, photo, photo_path

pytestmark = needs_chromium

BUS, ZIDANE = photo_path("bus.jpg"), photo_path("zidane.jpg")
COLOURS = {"left": (255, 145, 30), "right": (45, 160, 255), "middle": (245, 245, 245)}
COVERING_PX = 9
"""Nearer than this, a keypoint lies under one that is drawn later."""


def slide(page: Page, name: str, value: float) -> None:
    page.get_by_role("slider", name=name).fill(str(value))


def canvas_pixels(page: Page) -> np.ndarray:
    """(H, W, 3) as drawn."""
    url = page.evaluate("document.querySelector('canvas').toDataURL()")
    png = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def colour_of(name: str) -> tuple[int, int, int]:
    return COLOURS.get(name.partition("_")[0], COLOURS["middle"])


def test_people_are_drawn_and_listed_where_the_api_finds_them(
    pages: Pages, client: httpx.Client
) -> None:
    headers = {"content-type": "image/jpeg"}
    answer = client.post("/v1/pose", content=photo("bus.jpg"), headers=headers).json()
    poses = answer["images"][0]["poses"]
    page = pages.open()
    choose(page, BUS)
    expect_status(page, "4 people found.")
    for number, pose in enumerate(poses, 1):
        row = page.locator("#people > li").nth(number - 1)
        expect(row).to_contain_text(f"Person {number}score {pose['score']:.2f}")
        names = row.locator("tbody th").all_text_contents()
        assert names == [keypoint["name"].replace("_", " ") for keypoint in pose["keypoints"]]
        places = row.locator("td:nth-of-type(2)").all_text_contents()
        xy_px = [tuple(map(float, place.split(", "))) for place in places]
        expected = [(keypoint["x"], keypoint["y"]) for keypoint in pose["keypoints"]]
        np.testing.assert_allclose(xy_px, expected, atol=0.15)

    page.get_by_label("Boxes and scores").uncheck()
    slide(page, "Minimum keypoint score", 0)
    slide(page, "Minimum box score", 0.6)  # hides the fourth, whose keypoints lie on one another
    pixels = canvas_pixels(page)
    height, width, _ = pixels.shape
    assert width / height == pytest.approx(BUS_SIZE_WH[0] / BUS_SIZE_WH[1], rel=0.01)
    seen = 0
    for pose in poses[:3]:
        names = [keypoint["name"] for keypoint in pose["keypoints"]]
        xy = np.array([[keypoint["x"], keypoint["y"]] for keypoint in pose["keypoints"]])
        xy = (xy + 0.5) * width / BUS_SIZE_WH[0]
        for index, (column, row_) in enumerate(xy):
            if not (0 <= column < width and 0 <= row_ < height):
                continue  # a keypoint of somebody whom the picture cuts off may lie beside it
            if np.hypot(*(xy[index + 1 :] - xy[index]).T).min(initial=99) > COVERING_PX:
                found = pixels[int(row_), int(column)].astype(int)
                assert np.abs(found - colour_of(names[index])).max() < 40, names[index]
                seen += 1
    assert seen > 25

    page.get_by_label("Skeletons").uncheck()
    assert np.abs(canvas_pixels(page).astype(int) - pixels).max() > 100


def test_it_starts_with_the_services_threshold_and_without_ellipses(pages: Pages) -> None:
    page = pages.open()
    urls = asked(page)
    choose(page, BUS)
    expect_status(page, "4 people found.")
    slider = page.get_by_role("slider", name="Minimum keypoint score")
    expect(slider).to_have_value("0.3")
    assert "min_keypoint_score=0.3" in urls[0]
    assert "min_keypoint_score=0.3" in (page.locator("#curl").text_content() or "")
    plain = canvas_pixels(page)
    legend = page.get_by_text("one sigma: predicted spread")
    expect(legend).to_be_hidden()
    page.get_by_label("Sigma ellipses").check()
    expect(legend).to_be_visible()
    assert (np.abs(canvas_pixels(page).astype(int) - plain).max(axis=-1) > 15).mean() > 0.02


def test_a_threshold_finer_than_a_hand_is_shown_and_asked_with_as_it_is(pages: Pages) -> None:
    page = pages.open()
    slider = page.get_by_role("slider", name="Minimum box score")
    slider.evaluate("(input) => { input.value = '0.255'; }")  # as a server's page would have it
    urls = asked(page)
    choose(page, BUS)
    expect(page.locator("output[for=min-box-score]")).to_have_text("0.255")
    expect_status(page, "4 people found.")
    assert "min_box_score=0.255" in urls[0]
    slide(page, "Minimum box score", 0.4567)
    expect(page.locator("output[for=min-box-score]")).to_have_text("0.46")
    expect(slider).to_have_value("0.46")


def test_it_asks_with_what_the_slider_says_and_draws_nothing_below(pages: Pages) -> None:
    page = pages.open()
    urls = asked(page)
    page.get_by_label("Boxes and scores").uncheck()
    page.get_by_label("Skeletons").uncheck()
    slide(page, "Minimum keypoint score", 1)
    choose(page, BUS)
    expect_status(page, "4 people found.")
    assert "min_keypoint_score=1" in urls[0]
    bare = canvas_pixels(page)
    page.get_by_label("Skeletons").check()
    page.get_by_label("Sigma ellipses").check()
    np.testing.assert_array_equal(canvas_pixels(page), bare)
    slide(page, "Minimum keypoint score", 0)
    assert np.abs(canvas_pixels(page).astype(int) - bare).max() > 100
    assert len(urls) == 1  # the scores are there already


def test_the_sliders_ask_again_only_for_what_is_not_there(pages: Pages) -> None:
    page = pages.open()
    urls = asked(page)
    choose(page, BUS)
    expect_status(page, "4 people found.")
    before = canvas_pixels(page)
    slide(page, "Minimum box score", 0.6)
    expect_status(page, "3 people found.")
    slide(page, "Minimum keypoint score", 0.9)
    assert np.abs(canvas_pixels(page).astype(int) - before).max() > 100
    assert page.locator("tr.unsure").count() > 3
    slide(page, "Minimum box score", 1)
    expect_status(page, "No people above this box score.")
    assert len(urls) == 1
    slide(page, "Minimum box score", 0.01)
    expect(page.locator("#status")).not_to_have_text("No people above this box score.")
    expect(page.locator("#busy")).to_be_hidden()
    assert [re.findall(r"min_box_score=([\d.]+)", url) for url in urls] == [["0.25"], ["0.01"]]
    assert page.locator("#people > li").count() > 4


def test_people_beyond_the_limit_are_counted(pages: Pages) -> None:
    page = pages.open()

    def with_a_limit(route: Route) -> None:
        route.continue_(url=f"{route.request.url}&max_people=2")

    page.route("**/v1/pose*", with_a_limit)
    choose(page, BUS, ZIDANE)
    expect_status(page, "2 of 4 people shown.")
    expect(page.get_by_role("button", name="bus.jpg, 2 of 4 found")).to_be_visible()
    expect(page.get_by_role("button", name="zidane.jpg, 2 found")).to_be_visible()
    slide(page, "Minimum box score", 1)
    expect_status(page, "No people above this box score.")


def test_several_photos_each_get_their_answer(pages: Pages, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo("bus.jpg")[:20_000])
    page = pages.open()
    choose(page, BUS, broken, ZIDANE)
    for name in ("bus.jpg, 4 found", "broken.jpg, failed", "zidane.jpg, 2 found"):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    page.get_by_role("button", name="broken.jpg").click()
    expect(page.get_by_role("alert")).to_contain_text("The image cannot be decoded")
    expect(page.get_by_role("alert").get_by_role("button")).to_have_count(0)
    page.get_by_role("button", name="zidane.jpg").click()
    expect_status(page, "2 people found.")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.get_by_role("img", name="zidane.jpg: 2 people found.")).to_be_visible()


def test_a_format_that_the_browser_cannot_show_is_drawn_on_grey(
    pages: Pages, tmp_path: Path
) -> None:
    tiff = tmp_path / "bus.tiff"
    Image.open(BUS).save(tiff)
    page = pages.open()
    choose(page, tiff)
    expect_status(page, "4 people found. This browser cannot display this image format.")
    height, width, _ = canvas_pixels(page).shape
    assert width / height == pytest.approx(BUS_SIZE_WH[0] / BUS_SIZE_WH[1], rel=0.01)


def test_the_curl_line_gives_what_the_page_shows(pages: Pages, tmp_path: Path) -> None:
    page = pages.open(permissions=["clipboard-read", "clipboard-write"])
    photo_ = tmp_path / "two o'clock.jpg"
    photo_.write_bytes(photo("bus.jpg"))
    choose(page, photo_)
    expect_status(page, "4 people found.")
    slide(page, "Minimum box score", 0.6)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied")
    line = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.count('"box_score"') == 3


def test_a_full_queue_is_waited_for(pages: Pages) -> None:
    page = pages.open()
    refusals = iter(["2"])

    def refuse_once(route: Route) -> None:
        if (wait := next(refusals, None)) is None:
            route.continue_()
            return
        headers = {"retry-after": wait, "content-type": "application/problem+json"}
        problem = '{"detail": "the detect queue is full", "request_id": "4711"}'
        route.fulfill(status=429, headers=headers, body=problem)

    page.route("**/v1/pose*", refuse_once)
    choose(page, BUS)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The service is busy")
    expect(alert).to_contain_text("Trying again in 2 seconds.")
    expect(alert).to_contain_text("4711")
    expect_status(page, "4 people found.")
    expect(alert).to_be_empty()


def test_a_service_that_is_away_can_be_tried_again(pages: Pages) -> None:
    page = pages.open()
    page.route("**/v1/pose*", lambda route: route.abort())
    choose(page, BUS)
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.unroute("**/v1/pose*")
    page.get_by_role("button", name="Try again").click()
    expect_status(page, "4 people found.")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_file_over_the_limit_is_not_sent(pages: Pages, tmp_path: Path) -> None:
    large = tmp_path / "large.tiff"
    with large.open("wb") as file:
        file.truncate(33 * 2**20)
    page = pages.open()
    urls = asked(page)
    choose(page, large)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The file is 33.0 MB; the service accepts up to 32.0 MB.")
    assert urls == []
