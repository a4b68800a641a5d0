"""Failures as RFC 9457 problem documents: the one table from kinds to HTTP statuses."""

import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from distilpose.service import errors
from distilpose.service.rest.answer import ImageOut, ProblemOut
from distilpose.service.telemetry import logs
from distilpose.service.words import Blame

logger = logging.getLogger(__name__)

STATUSES: Final[dict[type[errors.ServiceError], int]] = {
    errors.InvalidRequest: 400,
    errors.InvalidOptions: 422,
    errors.UndecodableImage: 422,
    errors.UnsupportedMediaType: 415,
    errors.UnsupportedEncoding: 415,
    errors.TooLarge: 413,
    errors.Unauthenticated: 401,
    errors.Overloaded: 429,
    errors.NotReady: 503,
    errors.Draining: 503,
    errors.DeadlineExceeded: 504,
    errors.NotSent: 504,
    errors.Internal: 500,
}

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
BLAME: Final = "distilpose.blame"
"""The scope's entry for the blame of the error that was answered."""


class Problem(Response):
    """An error's document; on its way it leaves the error's blame in the scope, for the counts."""

    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, body: str, status: int, headers: dict[str, str], blame: Blame) -> None:
        super().__init__(body, status, headers)
        self._blame = blame

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the document."""
        scope[BLAME] = self._blame
        await super().__call__(scope, receive, send)


def problem(error: errors.ServiceError, images: Sequence[ImageOut] | None = None) -> Response:
    """The answer to a request that failed as a whole. Logs the failure once."""
    status = STATUSES[type(error)]
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.UnsupportedEncoding):
        headers["accept-encoding"] = "identity"
    level = logging.ERROR if status >= 500 and isinstance(error, errors.Internal) else logging.INFO
    logger.log(
        level,
        "request failed: %s",
        error.detail,
        extra={"error_type": error.type, "status": status},
    )
    document = _document(error.type, error.title, status, error.detail)
    if images is not None:
        document = document.model_copy(update={"images": list(images)})
    return Problem(document.model_dump_json(exclude_unset=True), status, headers, error.blame)


def _document(kind: str, title: str, status: int, detail: str) -> ProblemOut:
    request_id = logs.request_id.get() or ""
    return ProblemOut(type=kind, title=title, status=status, detail=detail, request_id=request_id)


def problem_of_connection(status: HTTPStatus, detail: str) -> Response:
    """The last answer on a connection whose request was not read to its end."""
    headers = {"connection": "close"}
    return _plain(_kind(status.phrase), status.phrase, status, detail, headers=headers)


def _plain(kind: str, title: str, status: int, detail: str, *, headers: dict[str, str]) -> Response:
    body = _document(kind, title, status, detail).model_dump_json(exclude_unset=True)
    return Response(body, status, headers, PROBLEM_MEDIA_TYPE)


def _kind(title: str) -> str:
    return title.lower().replace(" ", "-")


def add_handlers(app: FastAPI) -> None:
    """Answer every failure with a problem document."""

    async def on_service_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, errors.ServiceError)  # noqa: S101 - registered for this class
        return problem(error)

    async def on_http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
        return _plain(
            _kind(error.detail),
            error.detail,
            error.status_code,
            error.detail,
            headers=dict(error.headers or {}),
        )

    app.add_exception_handler(errors.ServiceError, on_service_error)
    app.add_exception_handler(HTTPException, on_http_error)
