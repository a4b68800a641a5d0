"""Answers to preflights."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from distilpose.service.rest.cors import ALLOW_HEADERS, BoundedCors

ORIGIN = "https://pages.example"
HEADERS = st.binary(min_size=1).filter(lambda value: not set(value) & set(b"\r\n\0"))


async def allowed(wanted: bytes) -> str:
    """The header names that a page may send which wants to send these."""
    app = BoundedCors(Starlette(), allow_origins=[ORIGIN], allow_headers=["*"])
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
    }
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.options("/v1/pose", headers=httpx.Headers(list(asked.items())))  # type: ignore[arg-type]  # mixed
    listed: str = answer.headers.get(ALLOW_HEADERS, "")
    return listed


async def test_the_names_of_headers_are_allowed() -> None:
    assert await allowed(b"x-api-key,content-type , x-b") == "x-api-key, content-type, x-b"


@pytest.mark.parametrize("wanted", [b"x\x1b[31m, x-b", b"\xe2\x80\xae, x-b", b"two words,x-b"])
async def test_what_is_no_name_is_left_out(wanted: bytes) -> None:
    assert await allowed(wanted) == "x-b"


@pytest.mark.parametrize("length", [1, 7, 8, 99, 198, 199, 200, 201, 60_000])
async def test_whole_names_of_at_most_200_characters_are_allowed(length: int) -> None:
    name = "x" * length
    listed = await allowed(b",".join([name.encode()] * 300))
    assert len(listed) <= 200
    assert set(listed.split(", ")) <= {name, ""}
    assert bool(listed) == (length <= 200)


@given(wanted=HEADERS)
async def test_whatever_is_wanted_the_answer_is_short_and_printable(wanted: bytes) -> None:
    listed = await allowed(wanted)
    assert listed.isascii()
    assert listed.isprintable()
    assert len(listed) <= 200
