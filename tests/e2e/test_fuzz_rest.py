"""Requests made from the OpenAPI document, right ones and wrong ones: none finds a bug."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

import odd_images
from servers import Server
from soaking import assert_no_harm, wait_until_idle

EXAMPLES = 25
SOAK_EXAMPLES = 1500
FILES = st.sampled_from(odd_images.corpus())
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]

for media_type in ("jpeg", "png", "webp", "bmp", "tiff", "avif", "heic", "heif"):
    schemathesis.openapi.media_type(f"image/{media_type}", FILES)
schemathesis.openapi.media_type("application/octet-stream", FILES)


@pytest.fixture
def fuzzed(server: Server) -> Iterator[Server]:
    """The server, which no test may harm."""
    begins = server.log.stat().st_size
    yield server
    wait_until_idle(server)
    assert_no_harm(server, since_byte=begins)


def operations(server: Server) -> dict[str, Any]:
    """Every operation of the server's own description, by method and path."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    results = list(schema.get_all_operations())
    found = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(found) == len(results)
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def fuzz(server: Server, name: str, mode: GenerationMode, *, examples: int) -> None:
    """Send as many requests; each is answered as the description says."""
    operation = operations(server)[name]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: Any) -> None:
        response = case.call(timeout=60)
        assert response.status_code != 500, response.text
        if response.status_code >= 400 and name.endswith("/v1/pose"):
            assert response.headers["content-type"] == ["application/problem+json"]
        if response.status_code in (404, 405):
            return  # a path or method that the description does not have
        case.validate_response(
            response,
            checks=[
                schemathesis.checks.CHECKS.get_one("status_code_conformance"),
                schemathesis.checks.CHECKS.get_one("content_type_conformance"),
                schemathesis.checks.CHECKS.get_one("response_schema_conformance"),
            ],
        )

    answered()


NAMES = (
    "POST /v1/pose",
    "GET /v1/models",
    "GET /healthz",
    "GET /readyz",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /metrics",
)


def test_every_operation_is_fuzzed(fuzzed: Server) -> None:
    assert set(operations(fuzzed)) == set(NAMES)


@pytest.mark.parametrize("mode", MODES, ids=["right", "wrong"])
def test_made_up_requests_find_no_bug(fuzzed: Server, mode: GenerationMode) -> None:
    fuzz(fuzzed, "POST /v1/pose", mode, examples=EXAMPLES)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((name, GenerationMode.POSITIVE) for name in NAMES),
        # What takes no parameter cannot be asked wrongly.
        ("POST /v1/pose", GenerationMode.NEGATIVE),
        ("GET /v1/models", GenerationMode.NEGATIVE),
    ],
)
def test_very_many_made_up_requests_find_no_bug(
    fuzzed: Server, name: str, mode: GenerationMode
) -> None:
    examples = SOAK_EXAMPLES if name == "POST /v1/pose" else SOAK_EXAMPLES // 30
    fuzz(fuzzed, name, mode, examples=examples)
