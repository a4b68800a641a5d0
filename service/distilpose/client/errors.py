"""The errors between a caller and the service, under the service's own names.

PoseError
├── InvalidRequest        malformed, unknown option, no image
├── UndecodableImage      truncated, corrupt, not an image
├── UnsupportedMediaType  the format is known but not accepted
├── TooLarge              bytes, pixels or images over a limit
├── Unauthenticated       keys are configured and none matches
├── Overloaded            a queue is full
├── NotReady              the service is loading or warming up
├── Draining              the service is shutting down, or ends an old stream
├── DeadlineExceeded      no answer in time
├── Internal              a bug or a device fault
└── Unavailable           no server answers at that address
"""

from typing import Final


class PoseError(Exception):
    """Base of all failures; `type` is the service's name for the failure.

    `retry_after_seconds` is None if a retry would not help or is not safe.
    """

    type: str = "unknown"

    def __init__(
        self,
        detail: str,
        *,
        type: str | None = None,  # noqa: A002 - named as in the service's answers
        retry_after_seconds: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.type = type or self.type
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id


class InvalidRequest(PoseError):
    """The request cannot be understood, or an option is unknown or out of range."""

    type = "invalid-request"


class UndecodableImage(PoseError):
    """The bytes are truncated, corrupt, or not an image."""

    type = "undecodable-image"


class UnsupportedMediaType(PoseError):
    """The format is known but not accepted."""

    type = "unsupported-media-type"


class TooLarge(PoseError):
    """Too many bytes, pixels, images or people; the detail names the limit."""

    type = "too-large"


class Unauthenticated(PoseError):
    """Keys are configured and none matches."""

    type = "unauthenticated"


class Overloaded(PoseError):
    """A queue is full; after `retry_after_seconds` it should have room."""

    type = "overloaded"


class NotReady(PoseError):
    """The service is loading or warming up."""

    type = "not-ready"


class Draining(PoseError):
    """The service is shutting down, or a stream is too old."""

    type = "draining"


class DeadlineExceeded(PoseError):
    """There was no answer in time."""

    type = "deadline-exceeded"


class Internal(PoseError):
    """A bug or a device fault in the service."""

    type = "internal"


class Unavailable(PoseError):
    """No server answers: the connection is refused or lost."""

    type = "unavailable"


_KINDS: Final[dict[str, type[PoseError]]] = {
    kind.type: kind
    for kind in (
        InvalidRequest,
        UndecodableImage,
        UnsupportedMediaType,
        TooLarge,
        Unauthenticated,
        Overloaded,
        NotReady,
        Draining,
        DeadlineExceeded,
        Internal,
        Unavailable,
    )
}

OF_ONE_PICTURE: Final = (
    UndecodableImage,
    UnsupportedMediaType,
    TooLarge,
    DeadlineExceeded,
    Internal,
)
"""The errors that affect one picture only, not the next one."""


def named(
    name: str,
    detail: str,
    *,
    retry_after_seconds: float | None = None,
    request_id: str | None = None,
) -> PoseError:
    """The error of that name, or a plain PoseError if the service has no such error."""
    return _KINDS.get(name, PoseError)(
        detail, type=name, retry_after_seconds=retry_after_seconds, request_id=request_id
    )
