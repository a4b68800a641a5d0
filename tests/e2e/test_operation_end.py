"""Nothing that a caller leaves undone keeps the process after its drain."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import frame, opening
from photos import photo
from servers import QUICK_START, StartServer

BUS = photo("bus.jpg")
POST = "POST /v1/pose HTTP/1.1\r\nhost: test\r\ncontent-type: image/jpeg\r\n"


def connected(port: int, sent: str = "") -> socket.socket:
    """A connection that takes little of what it is sent."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect(("127.0.0.1", port))
    caller.sendall(sent.encode())
    return caller


def test_the_exit_waits_for_no_caller(start_server: StartServer) -> None:
    server = start_server(LIFE__DRAIN_SECONDS="1", **QUICK_START)
    port = int(server.url.rpartition(":")[2])
    ended = False

    def frames() -> Iterator[pose_pb2.StreamPoseRequest]:
        yield opening()
        for number in range(5000):
            yield frame(number, BUS)
            if ended:
                return

    size = f"content-length: {len(BUS)}\r\n\r\n"
    callers = [
        connected(port),
        connected(port, "GET /"),
        connected(port, "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n"),
        connected(port, POST + size + "half"),
        connected(port, POST + "accept: image/png\r\n" + size),
    ]
    callers[-1].sendall(BUS)
    with grpc.insecure_channel(server.grpc_target) as channel:
        unread: Any = PoseServiceStub(channel).StreamPose(frames())
        assert next(unread).frame_id == 0
        time.sleep(1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 1 + 3
        ended = True
    for caller in callers:
        caller.close()
