"""What can go wrong between a caller and the service, by the service's own names.

PoseError
├── InvalidRequest        malformed, unknown option, no image
├── UndecodableImage      truncated, corrupt, not an image
├── UnsupportedMediaType  the format is known and not accepted
├── TooLarge              bytes, pixels or images over a limit
├── Unauthenticated       keys are configured and none fits
├── Overloaded            a queue is full
├── NotReady              the service is loading or warming
├── Draining              the service is shutting down, or ends an old stream
├── DeadlineExceeded      no answer in time
├── Internal              a bug or a device fault
└── Unavailable           nobody answers at that address
"""

from typing import Final


class PoseError(Exception):
    """Base of all failures; `type` is the service's name for what happened.

    `retry_after_seconds` is None where asking again would not help or is not safe.
    """

    type: str = "unknown"

    def __init__(
        self,
        detail: str,
        *,
        type: str | None = None,  # noqa: A002 - as the service calls it
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
    """The format is known and not accepted."""

    type = "unsupported-media-type"


class TooLarge(PoseError):
    """Bytes, pixels, images or people over a limit that the detail names."""

    type = "too-large"


class Unauthenticated(PoseError):
    """Keys are configured and none fits."""

    type = "unauthenticated"


class Overloaded(PoseError):
    """A queue is full; `retry_after_seconds` says when it should have room."""

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
    """Nobody answers: the connection is refused or lost."""

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
"""What says nothing about the next picture."""


def named(
    name: str,
    detail: str,
    *,
    retry_after_seconds: float | None = None,
    request_id: str | None = None,
) -> PoseError:
    """The error of that name; a plain PoseError where the name is not one of the service's."""
    return _KINDS.get(name, PoseError)(
        detail, type=name, retry_after_seconds=retry_after_seconds, request_id=request_id
    )
