"""One line per event, with the request's id."""

import json
import logging
import os
import re

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from distilpose.service.telemetry.logs import (
    ConsoleFormatter,
    JsonFormatter,
    configure,
    request_context,
    request_identity,
)
from distilpose.service.telemetry.outlet import Outlet

ANY_TEXT = st.text(st.characters(exclude_categories=()))
FORMATTERS = [JsonFormatter(), ConsoleFormatter()]


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


@pytest.mark.parametrize("formatter", FORMATTERS, ids=["json", "console"])
@any_of(text=ANY_TEXT, name=ANY_TEXT.filter(lambda name: name not in vars(record())))
def test_no_text_breaks_out_of_its_line(formatter: logging.Formatter, text: str, name: str) -> None:
    line = formatter.format(record(text, **{name: text}, several=[text], error=ValueError(text)))
    assert line.isprintable()
    line.encode()


@any_of(text=ANY_TEXT)
def test_whoever_reads_a_json_line_gets_printable_text_too(text: str) -> None:
    entry = json.loads(JsonFormatter().format(record(text, option=text, files=(text,))))
    assert entry["message"].isprintable()
    assert entry["option"].isprintable()
    assert entry["files"][0].isprintable()


@pytest.mark.parametrize("formatter", FORMATTERS, ids=["json", "console"])
@any_of(text=ANY_TEXT)
def test_a_stack_has_no_controls_but_its_lines(formatter: logging.Formatter, text: str) -> None:
    err = ValueError(text)
    lines = formatter.format(record(exc_info=(ValueError, err, None))).split("\n")
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("formatter", FORMATTERS, ids=["json", "console"])
def test_a_line_has_a_bounded_length(formatter: logging.Formatter) -> None:
    err = ValueError("x\n" * 1_000_000 + "the end")
    long = "x" * 1_000_000
    line = formatter.format(record(long, option=long, exc_info=(ValueError, err, None)))
    assert len(line) < 40_000
    assert "the end" in line


def test_a_gap_is_told_in_the_format_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    reading, writing = os.pipe()
    outlet = Outlet(writing, most_lines=1)
    configure(outlet, level="info", log_format="json")
    entry = json.loads(outlet.describe_gap(12))
    assert (entry["level"], entry["dropped_lines"]) == ("warning", 12)
    os.close(reading)
    os.close(writing)
