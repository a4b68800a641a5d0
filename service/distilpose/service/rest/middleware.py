"""The wrapper around every HTTP request: id, count, duration, and the last safety net.

Pure ASGI: Starlette's `BaseHTTPMiddleware` would hide a caller's disconnect from the handlers.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distilpose.service.errors import DeadlineExceeded, Internal, InvalidRequest, NotReady
from distilpose.service.intake import is_shorter
from distilpose.service.life import Life
from distilpose.service.printable import excerpt
from distilpose.service.rest.caller import timeout_seconds
from distilpose.service.rest.connection.bounded import Delivery
from distilpose.service.rest.errors import BLAME, STATUSES, problem
from distilpose.service.telemetry import logs
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.traces import NoTraces, RequestTrace, Traces
from distilpose.service.words import Blame

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER: Final = b"x-request-id"
METHODS: Final = {"/v1/pose": "estimate_pose", "/v1/models": "get_model"}
MOST_QUERY_FIELDS: Final = 64
LEFT: Final = 499
"""The status that proxies use for a caller who left before there was an answer."""
_SLICE_BYTES: Final = 256 * 1024
ENDINGS: Final = sorted(
    {
        ("200", Blame.NONE),
        (str(LEFT), Blame.CALLER),
        *((str(status), error.blame) for error, status in STATUSES.items()),
    }
)
"""The status and blame of every ending that is expected."""


class RequestMiddleware:
    """Gives each request an id, counts and times it, and answers errors that nobody else caught."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        traces: Traces,
        *,
        life: Life,
        request_timeout_seconds: float,
        root_path: str = "",
    ) -> None:
        self._app = app
        self._life = life
        self._request_timeout_seconds = request_timeout_seconds
        self._root_path = root_path
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; everything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root_path:
            # A proxy has stripped it; URLs in answers start with it.
            scope["root_path"] = self._root_path
        identity = logs.request_identity(_header(scope["headers"], REQUEST_ID_HEADER))
        with (
            logs.request_context(identity),
            self._metrics.requests_in_flight.labels("rest").track_inprogress(),
            self._trace(scope, identity) as trace,
        ):
            await self._timed(scope, receive, _Sender(send, identity), trace)

    def _trace(self, scope: Scope, identity: str) -> AbstractContextManager[RequestTrace]:
        # Probes and scrapes would bury the other lines.
        traces = self._traces if scope["path"] in METHODS else NoTraces()
        return traces.request(
            f"{scope['method']} {scope['path']}",
            request_id=identity,
            traceparent=_header(scope["headers"], b"traceparent"),
        )

    async def _timed(
        self, scope: Scope, receive: Receive, send: "_Sender", trace: RequestTrace
    ) -> None:
        began = time.perf_counter()
        try:
            if scope["query_string"].count(b"&") >= MOST_QUERY_FIELDS:
                # Before anything splits it.
                refused = InvalidRequest(f"the query has more than {MOST_QUERY_FIELDS} fields")
                await problem(refused)(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except ClientDisconnect:
            logger.info("the caller left")
        except asyncio.CancelledError:
            # By uvicorn alone, at the end of the process; it would log a stack for each request.
            logger.info("the request was cut off")
        except Exception:
            if send.status:
                raise
            logger.exception("unexpected error")
            failure = problem(
                Internal("an unexpected error; the log records it under this request id")
            )
            await failure(scope, receive, send)
        finally:
            seconds = time.perf_counter() - began
            method = METHODS.get(scope["path"], "other")
            status = LEFT if Delivery.of(scope).was_cut else send.status or LEFT
            blame = self._blame(scope, status)
            trace.answered(code=str(status), failed=blame is Blame.SERVICE)
            self._metrics.request_done(
                "rest", method=method, code=str(status), blame=blame, seconds=seconds
            )
            logger.debug(
                "%s %s",
                scope["method"],
                excerpt(scope["path"]),
                extra={"status": status, "seconds": seconds},
            )

    def _blame(self, scope: Scope, status: int) -> Blame:
        blame = scope.get(BLAME) or self._blame_for(status)
        if status == STATUSES[DeadlineExceeded] and self._allowed_less_time(scope):
            return Blame.CALLER
        return Blame(blame)

    def _blame_for(self, status: int) -> Blame:
        """The blame for a status that did not come with an error of ours, such as a probe's."""
        if status < 400:
            return Blame.NONE
        if status < 500:
            return Blame.CALLER
        refused = status == STATUSES[NotReady] and not self._life.ready
        return Blame.REFUSED if refused else Blame.SERVICE

    def _allowed_less_time(self, scope: Scope) -> bool:
        limit_seconds = self._request_timeout_seconds
        asked_seconds = timeout_seconds(Request(scope), limit_seconds=limit_seconds)
        return is_shorter(asked_seconds, than=limit_seconds)


class _Sender:
    """Sends an answer with the request's id, and remembers its status."""

    def __init__(self, send: Send, identity: str) -> None:
        self.status = 0
        self._send = send
        self._header = (REQUEST_ID_HEADER, identity.encode("ascii"))

    async def __call__(self, message: Message) -> None:
        """Pass on a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], self._header]}
        elif len(message.get("body", b"")) > _SLICE_BYTES:
            # Each slice waits until the one before it is taken, and the end until all are: then the
            # request lasts as long as its answer takes memory.
            body = memoryview(message["body"])
            for start in range(0, len(body), _SLICE_BYTES):
                piece = body[start : start + _SLICE_BYTES]
                await self._send({**message, "body": piece, "more_body": True})
            message = {**message, "body": b""}
        await self._send(message)


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    given = next((value for name, value in headers if name == wanted), None)
    return None if given is None else given.decode("latin-1")
