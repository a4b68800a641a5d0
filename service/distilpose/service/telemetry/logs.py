"""Structured logs on standard error: one line per event, with its request id."""

import json
import logging
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal

from distilpose.service.printable import excerpt
from distilpose.service.telemetry.outlet import Outlet

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_ACCEPTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_MOST_TEXT: Final = 4000
"""The most characters of a message, a field or a line of a stack, whoever they are from."""
_MOST_STACK: Final = 16_000


def request_identity(given: str | None) -> str:
    """The caller's own id if it is fit for a log, else a new one."""
    return given if given and _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex


@contextmanager
def request_context(identity: str) -> Iterator[None]:
    """Add this request id to the log lines written within the context."""
    token = request_id.set(identity)
    try:
        yield
    finally:
        request_id.reset(token)


def configure(
    outlet: Outlet, *, level: str, log_format: Literal["auto", "console", "json"]
) -> None:
    """Send all logs of the process to standard error, uvicorn's too. Called once, at start.

    `outlet` is what stands before standard error.
    """
    on_terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not on_terminal)
    formatter = JsonFormatter() if as_json else ConsoleFormatter()
    outlet.describe_gap = lambda lines: formatter.format(_gap_record(lines))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    logging.getLogger("httptools").setLevel("WARNING")
    # It logs a broken picture as an error; we report it to the caller and log the request.
    logging.getLogger("PIL").setLevel("CRITICAL")


def _gap_record(lines: int) -> logging.LogRecord:
    text = "log lines were dropped: standard error was not read in time"
    made = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
    made.dropped_lines = lines
    return made


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    extra = {
        _shown(name): _value(value)
        for name, value in vars(record).items()
        if name not in _OWN_FIELDS and name != "color_message"
    }
    if identity := request_id.get():
        extra.setdefault("request_id", identity)
    return extra


def _shown(text: str) -> str:
    return excerpt(text, most=_MOST_TEXT)


def _value(value: object) -> Any:
    """A field's value, of the types that JSON knows."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    return _shown(str(value))


class _SafeFormatter(logging.Formatter):
    """The last guard before the log: no text, a library's included, writes controls into it."""

    def shown_message(self, record: logging.LogRecord) -> str:
        """The message, on one line of bounded length."""
        return _shown(record.getMessage())

    def shown_stack(self, record: logging.LogRecord) -> str:
        """The exception and its stack, or an empty text; the middle of a very long one is cut."""
        if not record.exc_info:
            return ""
        lines = self.formatException(record.exc_info).split("\n")
        stack = "\n".join(map(_shown, lines))
        if len(stack) <= _MOST_STACK:
            return stack
        return f"{stack[: _MOST_STACK // 2]}\n…\n{stack[-_MOST_STACK // 2 :]}"


class JsonFormatter(_SafeFormatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: time, level, logger and message, then its fields and the stack."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.shown_message(record),
            **_fields(record),
        }
        if stack := self.shown_stack(record):
            entry["exception"] = stack
        return json.dumps(entry, ensure_ascii=False)


class ConsoleFormatter(_SafeFormatter):
    """Formats a record as a line for people: time, level, message, `name=value` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one readable line, with the stack below it."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname.lower():<7} {self.shown_message(record)}{fields}"
        stack = self.shown_stack(record)
        return f"{line}\n{stack}" if stack else line
