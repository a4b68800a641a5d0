import ast
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from distilpose.model.skeleton import LIMBS
from distilpose.service.app import Service
from distilpose.service.rest.api import create_app
from distilpose.service.rest.page.routes import demo_routes
from distilpose.service.settings import Settings
from distilpose.service.telemetry.traces import NoTraces

FOLDER = files("distilpose.service.rest.page")
FILES = sorted(
    entry.name for entry in FOLDER.iterdir() if Path(entry.name).suffix in (".css", ".js", ".svg")
)


def client(**settings: Any) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(demo_routes(Settings(**settings)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize("path", ["/", *(f"/demo/{name}" for name in FILES)])
async def test_everything_comes_with_a_strict_policy(path: str) -> None:
    async with client() as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_page_names_only_its_own_files() -> None:
    async with client() as http:
        page = (await http.get("/")).text
        named = re.findall(r'(?:src|href)="(demo/[^"]+)"', page)
        scripts = [f"demo/{name}" for name in FILES if name.endswith(".js")]
        for script in scripts:
            text = (await http.get(script)).text
            named += [f"demo/{name}" for name in re.findall(r'from "\./([^"]+)"', text)]
    assert set(named) == {f"demo/{name}" for name in FILES}
    assert "://" not in page
    assert "style=" not in page
    assert "<script>" not in page


async def test_a_browser_that_has_a_file_is_not_sent_it_again() -> None:
    async with client() as http:
        first = await http.get("/demo/page.js")
        again = await http.get("/demo/page.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["page.html", "nothing.js", "..%2Frest_api.py", "%2e%2e"])
async def test_nothing_else_is_served(name: str) -> None:
    async with client() as http:
        assert (await http.get(f"/demo/{name}")).status_code == 404


async def test_the_page_follows_the_settings() -> None:
    settings = {
        "http": {"root_path": '/a"b/', "max_body_bytes": 4096},
        "detector": {"min_box_score": 0.305},
        "limits": {"min_keypoint_score": 0.125},
    }
    async with client(**settings) as http:
        page = (await http.get("/")).text
    assert '<base href="/a&quot;b/">' in page
    assert 'data-max-bytes="4096"' in page
    assert re.search(r'id="min-box-score"[^>]*step="any"[^>]*value="0.305"', page)
    assert re.search(r'id="min-keypoint-score"[^>]*step="any"[^>]*value="0.125"', page)


async def test_turned_off_the_way_in_is_the_api_reference() -> None:
    settings = Settings.model_validate({"demo": {"enabled": False}})
    app = create_app(Service(settings, CollectorRegistry(), NoTraces()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/")).headers["location"] == "/docs"
        assert (await http.get("/demo/page.js")).status_code == 404


async def test_the_whole_page_is_small() -> None:
    async with client() as http:
        answers = [await http.get(path) for path in ("/", *(f"/demo/{name}" for name in FILES))]
    assert sum(len(answer.content) for answer in answers) < 64 * 1024


def test_the_limbs_are_those_that_the_service_draws() -> None:
    script = FOLDER.joinpath("skeleton.js").read_text("utf-8")
    written = re.search(r"LIMBS = (\[.*?\]);", script, re.DOTALL)
    assert written
    assert sorted(map(tuple, ast.literal_eval(written[1]))) == sorted(LIMBS)
