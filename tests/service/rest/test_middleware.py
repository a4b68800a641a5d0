"""The counting of HTTP requests: each ending has its code, and names who is to blame."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from blames import BLAMES
from distilpose.service import errors
from distilpose.service.app import Service
from distilpose.service.life import Life, State
from distilpose.service.rest.api import create_app
from distilpose.service.rest.errors import STATUSES, add_handlers
from distilpose.service.rest.middleware import ENDINGS, RequestMiddleware
from distilpose.service.settings import LimitsSettings, SecuritySettings, Settings
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.traces import NoTraces

JPEG = {"content-type": "image/jpeg"}


class Bench:
    """The middleware around an application that ends each request as it is asked to."""

    def __init__(self, ending: BaseException | None = None) -> None:
        self.registry = CollectorRegistry()
        self.life = Life()
        self.life.advance(State.READY)
        app = FastAPI()
        add_handlers(app)

        @app.post("/v1/pose")
        async def pose(_: Request) -> None:
            if ending:
                raise ending

        app.add_middleware(
            RequestMiddleware,
            metrics=Metrics(self.registry),
            traces=NoTraces(),
            life=self.life,
            request_timeout_seconds=10,
        )
        self.app = app

    async def ask(self, **headers: str) -> int:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.post("/v1/pose", headers=headers)).status_code


def endings(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    """The endings so far, as method, code and blame, with their counts."""
    return {
        (s.labels["method"], s.labels["code"], s.labels["blame"]): s.value
        for family in registry.collect()
        for s in family.samples
        if s.name == "distilpose_requests_total" and s.value
    }


def durations(registry: CollectorRegistry) -> float:
    """The number of requests whose time was observed."""
    return sum(
        s.value
        for family in registry.collect()
        for s in family.samples
        if s.name == "distilpose_request_duration_seconds_count"
    )


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.__name__)
async def test_each_kind_of_failure_names_who_is_to_blame(kind: type[errors.ServiceError]) -> None:
    bench = Bench(kind("because"))
    status = await bench.ask()
    blame = BLAMES[kind]
    assert endings(bench.registry) == {("estimate_pose", str(status), blame): 1}
    assert (str(status), blame) in ENDINGS
    assert durations(bench.registry) == (1 if blame == "service" else 0)


async def test_an_answer_is_nobodys_fault() -> None:
    bench = Bench()
    await bench.ask()
    assert endings(bench.registry) == {("estimate_pose", "200", "none"): 1}
    assert durations(bench.registry) == 1


async def test_an_unexpected_error_is_the_services() -> None:
    bench = Bench(RuntimeError("a bug"))
    await bench.ask()
    assert endings(bench.registry) == {("estimate_pose", "500", "service"): 1}


@pytest.mark.parametrize(
    ("asked_ms", "blame"),
    [(None, "service"), (1, "caller"), (5000, "caller"), (9990, "service"), (60_000, "service")],
)
async def test_a_deadline_shorter_than_ours_is_its_callers_choice(
    asked_ms: int | None, blame: str
) -> None:
    bench = Bench(errors.DeadlineExceeded("late"))
    headers = {} if asked_ms is None else {"x-request-timeout-ms": str(asked_ms)}
    await bench.ask(**headers)
    assert endings(bench.registry) == {("estimate_pose", "504", blame): 1}


async def test_a_caller_with_a_short_deadline_is_not_to_blame_for_our_other_failures() -> None:
    bench = Bench(errors.Internal("broken"))
    await bench.ask(**{"x-request-timeout-ms": "1"})
    assert endings(bench.registry) == {("estimate_pose", "500", "service"): 1}


async def test_a_caller_that_leaves_is_counted_as_that() -> None:
    bench = Bench(ClientDisconnect())
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/pose",
        "headers": [],
        "query_string": b"",
    }
    await bench.app(scope, _never, send)
    assert not sent
    assert endings(bench.registry) == {("estimate_pose", "499", "caller"): 1}
    assert durations(bench.registry) == 0


async def _never() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("state", "blame"),
    [(State.WARMING, "refused"), (State.DRAINING, "refused"), (State.READY, "service")],
)
async def test_a_probes_503_is_a_refusal_only_while_starting_or_draining(
    state: State, blame: str
) -> None:
    async def unready(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    registry, life = CollectorRegistry(), Life()
    life.advance(state)
    app = RequestMiddleware(
        unready, Metrics(registry), NoTraces(), life=life, request_timeout_seconds=10
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        await client.get("/readyz")
    assert endings(registry) == {("other", "503", blame): 1}


class Whole:
    """All routes, of a service without models; its own deadline is a fifth of a second."""

    def __init__(self, state: State = State.READY) -> None:
        settings = Settings(
            security=SecuritySettings(api_keys=["sesame"]),
            limits=LimitsSettings(request_timeout_seconds=0.2),
        )
        self.registry = CollectorRegistry()
        self.service = Service(settings, self.registry)
        self.service.life.advance(state)
        self._transport = httpx.ASGITransport(create_app(self.service))

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"x-api-key": "sesame", **JPEG, **request.pop("headers", {})}
        async with httpx.AsyncClient(transport=self._transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers, **request)

    async def close(self) -> None:
        await self.service.close()


async def half_a_body() -> AsyncIterator[bytes]:
    yield b"\xff\xd8\xff"
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("request_of", "state", "ending"),
    [
        ({"headers": {"x-api-key": "guessed"}}, State.READY, ("estimate_pose", "401", "caller")),
        ({"path": "/nowhere"}, State.READY, ("other", "404", "caller")),
        ({"method": "DELETE"}, State.READY, ("estimate_pose", "405", "caller")),
        ({"content": b""}, State.READY, ("estimate_pose", "400", "caller")),
        (
            {"headers": {"content-encoding": "gzip"}},
            State.READY,
            ("estimate_pose", "415", "caller"),
        ),
        ({"params": {"colour": "red"}}, State.READY, ("estimate_pose", "422", "caller")),
        ({"content": half_a_body}, State.READY, ("estimate_pose", "504", "caller")),
        (
            {"headers": {"x-request-timeout-ms": "soon"}},
            State.READY,
            ("estimate_pose", "400", "caller"),
        ),
        ({}, State.LOADING, ("estimate_pose", "503", "refused")),
        ({}, State.REFUSING, ("estimate_pose", "503", "refused")),
        ({"method": "GET", "path": "/v1/models"}, State.LOADING, ("get_model", "503", "refused")),
        ({"method": "GET", "path": "/readyz"}, State.LOADING, ("other", "503", "refused")),
        ({"method": "GET", "path": "/healthz"}, State.READY, ("other", "200", "none")),
    ],
    ids=str,
)
async def test_each_situation_has_its_blame(
    request_of: dict[str, Any], state: State, ending: tuple[str, str, str]
) -> None:
    whole = Whole(state)
    method = request_of.pop("method", "POST")
    content = request_of.pop("content", b"picture" if method == "POST" else None)
    content = content() if callable(content) else content
    await whole.ask(method, request_of.pop("path", "/v1/pose"), content=content, **request_of)
    assert endings(whole.registry) == {ending: 1}
    await whole.close()


async def test_every_expected_ending_is_counted_from_zero() -> None:
    whole = Whole()
    for code, blame in ENDINGS:
        labels = {"transport": "rest", "method": "estimate_pose", "code": code, "blame": blame}
        assert whole.registry.get_sample_value("distilpose_requests_total", labels) == 0
    await whole.close()
