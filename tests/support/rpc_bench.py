"""The gRPC server in the test's own process, with a pipeline that finds one person at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from distilpose.model.poses.pose import Pose
from distilpose.service.app import Service
from distilpose.service.domain import ImageAnswer, PoseAnswer, PoseRequest
from distilpose.service.life import State
from distilpose.service.rpc.server import GrpcServer
from distilpose.service.settings import Settings
from ports import free_port

_ROWS = np.zeros((17, 2), np.float32)
SOMEBODY = Pose(np.zeros(4, np.float32), 1.0, _ROWS, _ROWS[:, 0], _ROWS[:, 0], _ROWS)


class FixedPipeline:
    """Answers each image with the same person after some seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def expect_body(self, _: str) -> None:
        """Has always room."""

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        await asyncio.sleep(self.seconds)
        return PoseAnswer([ImageAnswer(each.id, (8, 8), [SOMEBODY]) for each in request.images])


@dataclass
class RpcBench:
    """A running server."""

    service: Service
    target: str

    def sample(self, name: str, **labels: str) -> float | None:
        """A series of the server's metrics."""
        registry = self.service.metrics.registry
        return registry.get_sample_value(f"distilpose_{name}", labels)


@asynccontextmanager
async def running_rpc(*, seconds: float = 0.0, **groups: dict[str, Any]) -> AsyncIterator[RpcBench]:
    """A server with these groups of settings; each answer takes as many seconds."""
    port = free_port()
    groups["grpc"] = {"port": port} | groups.get("grpc", {})
    groups["http"] = {"host": "127.0.0.1"} | groups.get("http", {})
    settings = Settings(**groups)  # type: ignore[arg-type]  # validated
    service = Service(settings, CollectorRegistry())
    service._pipeline = FixedPipeline(seconds)  # type: ignore[assignment]  # as fast as wanted
    service.life.advance(State.READY)
    server = GrpcServer(service, None)
    serving = asyncio.create_task(server.serve())
    try:
        yield RpcBench(service, f"127.0.0.1:{port}")
    finally:
        server.end()
        await serving
        await service.close()
