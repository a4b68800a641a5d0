"""A web server in the test's process that answers like the service, or as a test specifies."""

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Request:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


def answer_with(*keypoints: int) -> bytes:
    """An answer with that many keypoints for each person."""
    poses = [{"keypoints": ["a keypoint"] * count} for count in keypoints]
    return json.dumps({"images": [{"poses": poses}]}).encode()


class StubService:
    """Answers every request at `url` with `body` and `status` within the context."""

    def __init__(
        self,
        body: bytes = answer_with(17),
        *,
        status: int = 200,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Request] = []
        seen = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen.append(Request(self.path, headers, self.rfile.read(length)))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
