"""Failures as gRPC statuses: the one table from kinds to codes, and the error details."""

import asyncio
import logging
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # no py.typed there
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no py.typed there
from grpc_status import rpc_status

from distilpose.service import errors

logger = logging.getLogger(__name__)

DOMAIN: Final = "distilpose"

CODES: Final[dict[type[errors.ServiceError], grpc.StatusCode]] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidOptions: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UndecodableImage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedMediaType: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedEncoding: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.NotReady: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NotSent: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}


def status(error: errors.ServiceError) -> Status:
    """The status of a call that fails with this error: code, detail, ErrorInfo and retry delay."""
    reason = error.type.upper().replace("-", "_")
    details = [ErrorInfo(reason=reason, domain=DOMAIN)]
    if error.retry_after_seconds is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
        details.append(retry)
    packed = [AnyMessage() for _ in details]
    for message, detail in zip(packed, details, strict=True):
        message.Pack(detail)
    return Status(code=CODES[type(error)].value[0], message=error.detail, details=packed)


async def abort(
    context: "grpc.aio.ServicerContext[Any, Any]", error: errors.ServiceError
) -> NoReturn:
    """End the call with the error and keep the trailing metadata that is set. Logs it once.

    Raises:
        grpc.aio.AbortError: always; it ends the call.
    """
    ending = rpc_status.to_status(status(error))
    logger.log(
        logging.ERROR if isinstance(error, errors.Internal) else logging.INFO,
        "request failed: %s",
        error.detail,
        extra={"error_type": error.type, "status": ending.code.name},
    )
    trailing = (*(context.trailing_metadata() or ()), *ending.trailing_metadata)
    await context.abort(ending.code, ending.details, trailing)


def cancel(context: "grpc.aio.ServicerContext[Any, Any]", detail: str) -> None:
    """End a call whose caller takes nothing, without waiting until this reaches the caller.

    The library cannot reset a call. It sends the status after the messages before it, or drops all
    of them with the connection.
    """
    ending = asyncio.ensure_future(context.abort(grpc.StatusCode.CANCELLED, detail))
    _endings.add(ending)
    ending.add_done_callback(_ended)


_endings: "Final[set[asyncio.Future[Any]]]" = set()
"""The event loop itself would forget them."""


def _ended(ending: "asyncio.Future[Any]") -> None:
    _endings.discard(ending)
    if not ending.cancelled():
        ending.exception()
