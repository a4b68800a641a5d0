"""What surrounds every HTTP request: its id, its count and duration, and the last safety net.

Pure ASGI: Starlette's `BaseHTTPMiddleware` would hide a caller's disconnect from the handlers.
"""

import logging
import re
import time
import uuid
from collections.abc import Iterable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distilpose.service import logs
from distilpose.service.errors import Internal
from distilpose.service.metrics import Metrics
from distilpose.service.rest_errors import problem

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER: Final = b"x-request-id"
METHODS: Final = {"/v1/pose": "estimate_pose", "/v1/models": "get_model"}
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestMiddleware:
    """Gives each request an id, counts and times it, and answers what nobody else caught."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; everything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _request_id(scope["headers"])
        with (
            logs.request_context(identity),
            self._metrics.requests_in_flight.labels("rest").track_inprogress(),
        ):
            await self._timed(scope, receive, send, identity)

    async def _timed(self, scope: Scope, receive: Receive, send: Send, identity: str) -> None:
        began = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (REQUEST_ID_HEADER, identity.encode("ascii"))
                message = {**message, "headers": [*message["headers"], header]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            logger.info("the caller left")
        except Exception:
            if status:
                raise
            logger.exception("unexpected error")
            failure = problem(Internal("an unexpected error; the log has it by this request id"))
            await failure(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - began
            method = METHODS.get(scope["path"], "other")
            # 499, as proxies say it: the caller left before there was an answer.
            self._metrics.request_done(method=method, code=status or 499, seconds=seconds)
            logger.debug(
                "%s %s",
                scope["method"],
                scope["path"],
                extra={"status": status, "seconds": seconds},
            )


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == REQUEST_ID_HEADER and _ACCEPTABLE_ID.fullmatch(value):
            return value.decode("ascii")
    return uuid.uuid4().hex
