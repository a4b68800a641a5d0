"""Failures as RFC 9457 problem documents: the one table from kinds to HTTP statuses."""

import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from distilpose.service import errors
from distilpose.service.rest.answer import ImageOut, ProblemOut
from distilpose.service.telemetry import logs

logger = logging.getLogger(__name__)

STATUSES: Final[dict[type[errors.ServiceError], int]] = {
    errors.InvalidRequest: 400,
    errors.InvalidOptions: 422,
    errors.UndecodableImage: 422,
    errors.UnsupportedMediaType: 415,
    errors.TooLarge: 413,
    errors.Unauthenticated: 401,
    errors.Overloaded: 429,
    errors.NotReady: 503,
    errors.Draining: 503,
    errors.DeadlineExceeded: 504,
    errors.Internal: 500,
}

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


def problem(error: errors.ServiceError, images: Sequence[ImageOut] | None = None) -> Response:
    """The answer to a request that failed as a whole. Logs the failure once."""
    status = STATUSES[type(error)]
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    level = logging.ERROR if status >= 500 and isinstance(error, errors.Internal) else logging.INFO
    logger.log(
        level,
        "request failed: %s",
        error.detail,
        extra={"error_type": error.type, "status": status},
    )
    return _document(error.type, error.title, status, error.detail, headers=headers, images=images)


def problem_of_connection(status: HTTPStatus, detail: str) -> Response:
    """The last answer on a connection whose request was not read to its end."""
    headers = {"connection": "close"}
    return _document(_kind(status.phrase), status.phrase, status, detail, headers=headers)


def _kind(title: str) -> str:
    return title.lower().replace(" ", "-")


def _document(
    kind: str,
    title: str,
    status: int,
    detail: str,
    *,
    headers: dict[str, str],
    images: Sequence[ImageOut] | None = None,
) -> Response:
    document = ProblemOut(
        type=kind, title=title, status=status, detail=detail, request_id=logs.request_id.get() or ""
    )
    if images is not None:
        document = document.model_copy(update={"images": list(images)})
    body = document.model_dump_json(exclude_unset=True)
    return Response(body, status, headers, PROBLEM_MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Answer every failure with a problem document."""

    async def on_service_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, errors.ServiceError)  # noqa: S101 - registered for this class
        return problem(error)

    async def on_http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
        headers = dict(error.headers or {})
        return _document(
            _kind(error.detail), error.detail, error.status_code, error.detail, headers=headers
        )

    app.add_exception_handler(errors.ServiceError, on_service_error)
    app.add_exception_handler(HTTPException, on_http_error)
