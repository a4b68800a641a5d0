"""The demo page at `/` and its files below `/demo/`. They require no key."""

import hashlib
import html
from importlib.resources import files
from string import Template
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from distilpose.model import formats
from distilpose.service.settings import Settings

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'self'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
HEADERS: Final = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def demo_routes(settings: Settings) -> APIRouter:
    """The page and its files, read once at start-up."""
    router = APIRouter(include_in_schema=False)
    contents = _contents(settings)

    @router.get("/")
    async def page(request: Request) -> Response:
        return _answer(request, contents["page.html"], ".html")

    @router.get("/demo/{name}")
    async def file(request: Request, name: str) -> Response:
        if name not in contents or name == "page.html":
            raise HTTPException(404)
        return _answer(request, contents[name], f".{name.rpartition('.')[2]}")

    return router


def _contents(settings: Settings) -> dict[str, bytes]:
    folder = files("distilpose.service.rest.page")
    contents = {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.name.endswith(tuple(_MEDIA_TYPES))
    }
    # A proxy may forward `/prefix` as `/`: the page's relative URLs need a base to resolve there.
    filled = Template(contents["page.html"].decode()).substitute(
        base=html.escape(f"{settings.http.root_path.rstrip('/') or '.'}/"),
        min_box_score=settings.detector.min_box_score,
        min_keypoint_score=settings.limits.min_keypoint_score,
        max_body_bytes=settings.http.max_body_bytes,
        media_types=",".join(formats.MEDIA_TYPES),
    )
    return contents | {"page.html": filled.encode()}


def _answer(request: Request, content: bytes, suffix: str) -> Response:
    """The content, or 304 if the browser has it: it revalidates each time, so that files match."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "etag": etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match", "").removeprefix("W/") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_MEDIA_TYPES[suffix])
