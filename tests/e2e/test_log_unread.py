"""A server whose standard error and output are a pipe that nobody reads."""

import fcntl
import os
import socket
import time
from typing import Any

import httpx

from servers import QUICK_START, Server

REFUSED = 1000
AT_ONCE = 10
"""Requests that are sent before the first is answered; more than 16 close the connection."""
REQUEST = b"""POST /v1/pose?no_option=1 HTTP/1.1\r
host: test\r
content-type: image/jpeg\r
content-length: 1\r
\r
x"""
DRAIN_SECONDS = 10


def refuse(server: Server, requests: int) -> None:
    """Send as many requests with an unknown option over one connection; each is answered."""
    url = httpx.URL(server.url)
    answers = b""
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        for sent in range(AT_ONCE, requests + 1, AT_ONCE):
            connection.sendall(REQUEST * AT_ONCE)
            while answers.count(b"Extra inputs are not permitted") < sent:
                received = connection.recv(1 << 20)
                assert received
                answers += received
    assert answers.count(b"HTTP/1.1 422 ") == requests


def test_a_log_that_nobody_reads_stops_neither_answers_nor_the_drain(start_server: Any) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    server: Server = start_server(output=writing, **QUICK_START)
    refuse(server, REFUSED)
    with server.client() as client:
        assert "distilpose_log_lines_dropped_total 0.0\n" in client.get("/metrics").text
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < DRAIN_SECONDS
    assert b"distilpose on http" in os.read(reading, 4096)
    os.close(reading)
    os.close(writing)
