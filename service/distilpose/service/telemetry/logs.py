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
from typing import Any, Literal

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_ACCEPTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


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


def configure(*, level: str, log_format: Literal["auto", "console", "json"]) -> None:
    """Send all logs of the process to standard error, uvicorn's too. Called once, at start."""
    on_terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not on_terminal)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else ConsoleFormatter())
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


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    extra = {k: v for k, v in vars(record).items() if k not in _OWN_FIELDS and k != "color_message"}
    if identity := request_id.get():
        extra.setdefault("request_id", identity)
    return extra


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: time, level, logger and message, then its fields and the stack."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """Formats a record as a line for people: time, level, message, `name=value` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one readable line, with the stack below it."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname.lower():<7} {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
