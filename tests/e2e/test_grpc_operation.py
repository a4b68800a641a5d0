"""Health and streams by gRPC at the start and at the end of a service."""

import asyncio
import signal
import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from distilpose.v1 import pose_pb2
from grpc_callers import LAST_FRAME_ID, SOON, frame, opening, refusal, stream_stub
from odd_images import encode
from servers import QUICK_START, Server

TINY = encode(np.zeros((8, 8, 3), np.uint8), "png")


def test_a_port_that_is_taken_ends_the_start_with_1(server: Server, start_server: Any) -> None:
    taken = server.grpc_target.rpartition(":")[2]
    second = start_server(wait=False, GRPC__PORT=taken)
    assert second.process.wait(60) == 1
    assert f"grpc.port: cannot listen on 127.0.0.1:{taken}" in second.log.read_text()


class Watched(threading.Thread):
    """The states of a service's health, as they are reported."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        self.states: list[str] = []
        self._target = target

    def run(self) -> None:
        request = health_pb2.HealthCheckRequest(service="distilpose.v1.PoseService")
        with grpc.insecure_channel(self._target, SOON) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch
            try:
                for status in watch(request, wait_for_ready=True):
                    states = health_pb2.HealthCheckResponse.ServingStatus
                    self.states.append(states.Name(status.status))
            except grpc.RpcError:
                return  # the server has ended

    async def wait_for(self, *states: str) -> None:
        """Return when exactly these were reported."""
        limit = time.monotonic() + 10
        while self.states != list(states):
            assert time.monotonic() < limit, self.states
            await asyncio.sleep(0.02)


async def test_streams_end_with_the_service_and_health_tells_it_before(start_server: Any) -> None:
    server: Server = start_server(
        wait=False, LIFE__DRAIN_DELAY_SECONDS="3", LIFE__DRAIN_SECONDS="20", **QUICK_START
    )
    health = Watched(server.grpc_target)
    health.start()
    async with stream_stub(server.grpc_target) as stub:
        request = pose_pb2.EstimatePoseRequest(images=[pose_pb2.Image(encoded=TINY)])
        with pytest.raises(grpc.RpcError) as early:
            await stub.EstimatePose(request, wait_for_ready=True)
        error = refusal(early.value)
        assert (error.code, error.reason) == ("UNAVAILABLE", "NOT_READY")
        assert error.retry_seconds is not None
        await health.wait_for("NOT_SERVING")
        await asyncio.to_thread(server.wait_until_ready)
        calls = [stub.StreamPose() for _ in range(20)]
        for number, call in enumerate(calls):
            await call.write(opening(boxes=[pose_pb2.Boxes()]))
            await call.write(frame(number, TINY))
        for number, call in enumerate(calls):
            assert (await call.read()).frame_id == number
        await health.wait_for("NOT_SERVING", "SERVING")
        server.process.send_signal(signal.SIGTERM)
        await health.wait_for("NOT_SERVING", "SERVING", "NOT_SERVING")
        await calls[0].write(frame(100, TINY))
        assert (await calls[0].read()).frame_id == 100
        for number, call in enumerate(calls):
            with pytest.raises(grpc.RpcError) as ended:
                await call.read()
            error = refusal(ended.value)
            assert (error.code, error.reason) == ("UNAVAILABLE", "DRAINING")
            assert error.trailing[LAST_FRAME_ID] == str(number or 100)
    assert await asyncio.to_thread(server.process.wait, 10) == 0
    health.join(5)
