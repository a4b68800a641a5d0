"""The choice between traces and none."""

import logging
from collections.abc import Mapping

import pytest

from distilpose.service import server
from distilpose.service.server import traces_from
from distilpose.service.telemetry import traces_otel
from distilpose.service.telemetry.traces import NoTraces

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "poses"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_unless_somebody_wants_them(environment: Mapping[str, str]) -> None:
    assert isinstance(traces_from(environment), NoTraces)


@pytest.mark.parametrize(
    "environment",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    ],
)
def test_traces_are_on_where_a_collector_is_named(environment: Mapping[str, str]) -> None:
    made = traces_from(environment)
    made.close()
    assert isinstance(made, traces_otel.OtelTraces)


def test_another_protocol_is_logged_and_traces_are_off(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = traces_from({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert isinstance(made, NoTraces)
    assert "not grpc" in caplog.text


def test_a_missing_extra_is_logged_and_traces_are_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def not_found(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(server, "find_spec", not_found)
    assert isinstance(traces_from(ENDPOINT), NoTraces)
    assert "pip install 'distilpose[otel]'" in caplog.text
