"""Traces of a real server, at a little collector."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from photos import photo
from servers import QUICK_START, Server

BUS = photo("bus.jpg")
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    """Takes OTLP over HTTP; what came is in its `requests`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: Any) -> None:
            pass

    requests: list[ExportTraceServiceRequest] = []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.requests = requests  # type: ignore[attr-defined]  # for the test
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_arrives_at_the_collector_by_stage(
    collector: Any, start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    server: Server = start_server(**QUICK_START)
    headers = {"content-type": "image/jpeg", "x-request-id": "find-me"}
    headers["traceparent"] = f"00-{TRACE_ID}-b7ad6b7169203331-01"
    with server.client() as client:
        assert client.post("/v1/pose", content=BUS, headers=headers).status_code == 200
        assert client.get("/healthz").status_code == 200
    assert server.stop() == 0
    resources = [r for request in collector.requests for r in request.resource_spans]
    named = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert named["service.name"] == "distilpose"
    spans = [s for resource in resources for scope in resource.scope_spans for s in scope.spans]
    assert {s.name for s in spans} == {
        "POST /v1/pose", "estimate", "decode", "queue", "detect", "pose",
    }  # fmt: skip
    assert {s.trace_id.hex() for s in spans} == {TRACE_ID}
    [root] = [s for s in spans if s.name == "POST /v1/pose"]
    attributes = {a.key: a.value.string_value for a in root.attributes}
    assert attributes == {"distilpose.request_id": "find-me", "distilpose.code": "200"}
    assert all(s.start_time_unix_nano <= s.end_time_unix_nano for s in spans)


def test_a_collector_that_is_not_there_keeps_nothing_waiting(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    server: Server = start_server(**QUICK_START)
    with server.client() as client:
        headers = {"content-type": "image/jpeg"}
        assert client.post("/v1/pose", content=BUS, headers=headers).status_code == 200
    server.process.terminate()
    assert server.process.wait(30) == 0
