"""uvicorn's HTTP protocol within limits: of heads, silence, pipelining and answers not taken."""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from distilpose.service.rest.connection.places import PROBES, Place
from distilpose.service.rest.errors import problem_of_connection
from distilpose.service.settings import HttpSettings
from distilpose.service.telemetry import logs
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import ClosingReason

DELIVERY: Final = "distilpose.delivery"
"""The key of a `Delivery` in the state of an ASGI scope."""

_MOST_FIELDS: Final = 256
"""Fields of a head. Of the shortest ones, 64 KiB would be 16,000."""
_MOST_PIPELINED: Final = 16
"""Requests that wait for the answer to an earlier one; browsers and libraries send none."""
_RESERVED_HEAD_SECONDS: Final = 1.0
_LINGER_SECONDS: Final = 1.0
"""The time for a caller to read the last answer: with bytes left unread, closing would reset the
connection, and the answer could be lost."""
_CHECKS: Final = 8
"""Looks at an answer that is not taken, within its time."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of each connection."""

    head_seconds: float
    head_bytes: int
    idle_seconds: float
    send_seconds: float

    @classmethod
    def of(cls, settings: HttpSettings) -> "HttpLimits":
        """The configured limits."""
        return cls(
            head_seconds=settings.head_timeout_seconds,
            head_bytes=settings.max_head_bytes,
            idle_seconds=settings.idle_timeout_seconds,
            send_seconds=settings.send_timeout_seconds,
        )


@dataclass(slots=True)
class Delivery:
    """The fate of a connection's answers, and of a body that nobody wants."""

    was_cut: bool = False
    """True if the connection ended before an answer was handed over to its end."""
    forgets_body: bool = False
    """Set it to drop the rest of a request's body as it arrives; `receive` then waits for its end.

    Handing on each piece would cost several times as much as reading it.
    """

    @classmethod
    def of(cls, scope: Scope) -> "Delivery":
        """The delivery of a request; one that nothing happens to if no connection is behind it."""
        delivery: Delivery = scope.get("state", {}).get(DELIVERY) or cls()
        return delivery


class _Alarm:
    """One timer, which each `set` replaces."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._timer is not None

    def set(self, seconds: float, action: Callable[[], None]) -> None:
        self.clear()
        self._timer = self._loop.call_later(seconds, self._ring, action)

    def clear(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _ring(self, action: Callable[[], None]) -> None:
        self._timer = None
        action()


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose head is large or slow, that is silent, or that takes no answer."""

    def __init__(self, *, limits: HttpLimits, metrics: Metrics, place: Place, **given: Any) -> None:
        super().__init__(**given)
        self.timeout_keep_alive = limits.idle_seconds  # type: ignore[assignment]  # used as a float
        self._limits = limits
        self._metrics = metrics
        self._place = place
        self._delivery = Delivery()
        self._reading, self._sending = _Alarm(self.loop), _Alarm(self.loop)
        self._is_in_body = False
        self._has_begun = False
        self._head_bytes = 0
        self._has_refused = False
        self._left_bytes = (0, 0)
        self._taken_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._place.evict = transport.abort
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the connection's place back."""
        if self.cycle and not self.cycle.response_complete:
            self._delivery.was_cut = True
        self._reading.clear()
        self._sending.clear()
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)
        self._place.evict = _nothing
        self._place.leave()

    def data_received(self, data: bytes) -> None:
        """Parse what was read, unless the connection is being closed."""
        if self._has_refused:
            return
        if not self._is_in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._has_refused or self._is_in_body:
            return
        if self._head_bytes > self._limits.head_bytes:
            self._refuse_head_size()
        elif (self._has_begun or self._head_bytes) and not self._reading.is_set:
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        if not self._has_refused:
            super().on_message_begin()
            self.scope["state"][DELIVERY] = self._delivery
            self._has_begun = True

    def on_url(self, url: bytes) -> None:
        """Collect the target of a request."""
        if not self._has_refused:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field."""
        if self._has_refused:
            return
        if self.headers is not None and len(self.headers) >= _MOST_FIELDS:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the head has more than {_MOST_FIELDS} fields",
                ClosingReason.HEAD_SIZE,
            )
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a request whose head is within the limits."""
        if self._has_refused:
            return
        size_bytes = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
        if size_bytes > self._limits.head_bytes:
            self._refuse_head_size()
        elif self._place.is_reserved and self.url.partition(b"?")[0] not in PROBES:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "as many connections as allowed are open",
                ClosingReason.LIMIT,
            )
        elif len(self.pipeline) >= _MOST_PIPELINED:
            self._refuse(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"more than {_MOST_PIPELINED} requests wait for an answer on one connection",
                ClosingReason.PIPELINE,
            )
        else:
            self._start()

    def on_body(self, body: bytes) -> None:
        """Collect a piece of a body, if it is wanted."""
        if not self._has_refused and not self._delivery.forgets_body:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the reading of a request."""
        if not self._has_refused:
            super().on_message_complete()
            self._reading.clear()
            self._is_in_body = self._has_begun = self._delivery.forgets_body = False
            self._head_bytes = 0

    def on_response_complete(self) -> None:
        """Bound what follows an answer: bytes not taken, the rest of a body, silence."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_sending()
        elif self._is_in_body and self.cycle.response_complete:
            self._reading.set(self._limits.idle_seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has no request."""
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            self._drop_answer()
            return
        self._place.close_for(ClosingReason.IDLE)
        self.transport.close()

    def pause_writing(self) -> None:
        """Watch an answer that waits for its caller."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        """Stop watching, unless the connection ends when all is taken."""
        if not self.transport.is_closing():
            self._sending.clear()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem document."""
        if not self._has_refused:
            self._refuse(HTTPStatus.BAD_REQUEST, msg, None)

    def _start(self) -> None:
        self._reading.clear()
        self._is_in_body = True
        self._place.has_request()
        super().on_headers_complete()
        if self._place.is_reserved and self.cycle:
            self.cycle.keep_alive = False

    def _await_head(self) -> None:
        seconds = self._limits.head_seconds
        if self._place.is_reserved:
            seconds = min(seconds, _RESERVED_HEAD_SECONDS)
        self._reading.set(seconds, self._end_head)

    def _end_head(self) -> None:
        if self.flow.read_paused:  # by us, since earlier requests are not answered
            self._await_head()
        elif self._has_begun or self._head_bytes:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the head did not arrive within {self._limits.head_seconds:g} s",
                ClosingReason.HEAD_TIMEOUT,
            )
        else:
            # Unasked for, an answer could meet a request that is just being sent.
            self._place.close_for(ClosingReason.HEAD_TIMEOUT)
            self.transport.close()

    def _refuse_head_size(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head has more than {self._limits.head_bytes} bytes, which is the limit",
            ClosingReason.HEAD_SIZE,
        )

    def _refuse(self, status: HTTPStatus, detail: str, reason: ClosingReason | None) -> None:
        """Read no further request; answer, once all earlier ones are answered or there are none."""
        self._has_refused = True
        self._reading.clear()
        if reason:
            self._place.close_for(reason)
        if self.transport.is_closing():
            return
        if self.cycle and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # closes after its answer
            return
        self.transport.write(_as_bytes(problem_of_connection(status, detail)))
        self._reading.set(_LINGER_SECONDS, self.transport.abort)

    def _watch_sending(self) -> None:
        self._left_bytes = self._not_taken_bytes()
        self._taken_at = self.loop.time()
        self._check_again()

    def _check_again(self) -> None:
        self._sending.set(self._limits.send_seconds / _CHECKS, self._check_sending)

    def _check_sending(self) -> None:
        now, left_bytes = self.loop.time(), self._not_taken_bytes()
        if left_bytes != self._left_bytes:
            self._taken_at = now
        self._left_bytes = left_bytes
        if now - self._taken_at >= self._limits.send_seconds:
            self._drop_answer()
        else:
            self._check_again()

    def _not_taken_bytes(self) -> tuple[int, int]:
        """The bytes that wait in this process, and those that wait in the system.

        The system takes more from us only once a megabyte or so has room, so that the first number
        alone would make a slow caller look like one who takes nothing.
        """
        queued = bytearray(struct.calcsize("i"))
        with suppress(OSError):  # not known of this kind of socket
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        return self.transport.get_write_buffer_size(), struct.unpack("i", queued)[0]

    def _drop_answer(self) -> None:
        self._metrics.answers_dropped.labels("rest").inc()
        self.transport.abort()


def _nothing() -> None:
    pass


def _as_bytes(answer: Response) -> bytes:
    identity = logs.request_identity(None).encode("ascii")
    fields = [*answer.raw_headers, (b"x-request-id", identity)]
    head = [name + b": " + value + b"\r\n" for name, value in fields]
    return b"".join([STATUS_LINE[answer.status_code], *head, b"\r\n", bytes(answer.body)])
