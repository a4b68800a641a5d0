"""The kinds of failure a caller can meet, as a small hierarchy that knows no transport.

Data flow: bytes -> decoded image -> queued items -> poses. Each front end holds one table from
these classes to its own codes.

    ServiceError
    ├── InvalidRequest        malformed body, unknown option, no image
    ├── UndecodableImage      truncated, corrupt, not an image
    ├── UnsupportedMediaType  the format is known but not accepted
    │   └── UnsupportedEncoding  the body is compressed, or encoded in another way
    ├── TooLarge              bytes, pixels or items over a limit
    ├── Unauthenticated       keys are configured and none matches
    ├── Overloaded            a queue is full; carries a time to retry
    ├── NotReady              loading or warming up
    ├── Draining              shutting down
    ├── DeadlineExceeded      the answer would come too late
    │   └── NotSent           the caller did not send everything in time
    └── Internal              a bug or a device fault, without details
"""

from typing import ClassVar, Final

from distilpose.service.printable import excerpt
from distilpose.service.words import Blame

_MOST_DETAIL: Final = 1000
"""Characters of a whole detail. What it shows of a caller's text is cut where it is built."""


class ServiceError(Exception):
    """Base of all failures that are reported to a caller; `detail` is written for the caller.

    Answers, logs and both protocols show the detail, so it is printable and of bounded length.
    """

    type: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    blame: ClassVar[Blame] = Blame.SERVICE

    def __init__(self, detail: str, *, retry_after_seconds: float | None = None) -> None:
        self.detail = excerpt(detail, most=_MOST_DETAIL)
        super().__init__(self.detail)
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(ServiceError):
    """The request cannot be understood: malformed body, no image."""

    type = "invalid-request"
    title = "Invalid request"
    blame = Blame.CALLER


class InvalidOptions(InvalidRequest):
    """The body is well formed, but an option is unknown or out of range."""


class UndecodableImage(ServiceError):
    """The bytes are truncated, corrupt, or not an image."""

    type = "undecodable-image"
    title = "The image cannot be decoded"
    blame = Blame.CALLER


class UnsupportedMediaType(ServiceError):
    """The format is known but not accepted."""

    type = "unsupported-media-type"
    title = "Unsupported media type"
    blame = Blame.CALLER


class UnsupportedEncoding(UnsupportedMediaType):
    """The body, or a part of it, is compressed or encoded as a whole."""


class TooLarge(ServiceError):
    """Too many bytes, pixels, images or people; the detail names the limit."""

    type = "too-large"
    title = "Too large"
    blame = Blame.CALLER


class Unauthenticated(ServiceError):
    """Keys are configured and none matches."""

    type = "unauthenticated"
    title = "Unauthenticated"
    blame = Blame.CALLER


class Overloaded(ServiceError):
    """A queue is full; after `retry_after_seconds` it should have room."""

    type = "overloaded"
    title = "Overloaded"
    blame = Blame.REFUSED


class NotReady(ServiceError):
    """The service is loading or warming up."""

    type = "not-ready"
    title = "Not ready"
    blame = Blame.REFUSED


class Draining(ServiceError):
    """The service is shutting down."""

    type = "draining"
    title = "Draining"
    blame = Blame.REFUSED


class DeadlineExceeded(ServiceError):
    """The work was dropped, or finished, after the deadline.

    The front ends know whose deadline it was: one shorter than ours is the caller's choice.
    """

    type = "deadline-exceeded"
    title = "Deadline exceeded"


class NotSent(DeadlineExceeded):
    """The caller did not send the whole body, or a stream's first message, in time."""

    blame = Blame.CALLER


class Internal(ServiceError):
    """A bug or a device fault; the detail never leaks a path or a stack."""

    type = "internal"
    title = "Internal error"
