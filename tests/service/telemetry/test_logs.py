"""One line per event, with the request's id."""

import json
import logging
import re

import pytest

from distilpose.service.telemetry.logs import (
    ConsoleFormatter,
    JsonFormatter,
    request_context,
    request_identity,
)


def record(message: str = "hello", **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": message})
    vars(made).update(extra)
    return made


def test_a_json_line_has_the_message_its_fields_and_the_request() -> None:
    with request_context("abc"):
        line = JsonFormatter().format(record(status=422))
    entry = json.loads(line)
    assert (entry["message"], entry["status"], entry["request_id"]) == ("hello", 422, "abc")
    assert (entry["level"], entry["logger"]) == ("info", "x")


def test_outside_a_request_there_is_no_id() -> None:
    assert "request_id" not in json.loads(JsonFormatter().format(record()))


def test_a_stack_stays_on_the_json_line() -> None:
    try:
        raise ValueError("why")
    except ValueError as err:
        failed = record(exc_info=(ValueError, err, err.__traceback__))
    line = JsonFormatter().format(failed)
    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["exception"]


def test_a_console_line_is_for_people() -> None:
    with request_context("abc"):
        line = ConsoleFormatter().format(record(status=422))
    assert line.endswith("info    hello status=422 request_id=abc")


@pytest.mark.parametrize("given", ["abc-123", "x" * 128])
def test_a_callers_id_is_kept(given: str) -> None:
    assert request_identity(given) == given


@pytest.mark.parametrize("given", [None, "", "has space", "x" * 129, "é", "line\n"])
def test_an_id_unfit_for_a_log_is_replaced(given: str | None) -> None:
    assert re.fullmatch("[0-9a-f]{32}", request_identity(given))
