"""Send a burst of requests to a server and print the outcome. Knows no models.

    python tests/bench/load.py < BURST > SENT

A separate process, so that its cost can be measured separately. `serve.py` starts it.
"""

import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

GRPC_METHOD = "/distilpose.v1.PoseService/EstimatePose"
_AFTER_FAILURE_SECONDS = 1.0
_HUNG_SECONDS = 120.0
_PERSON = b'"keypoints"'
_SEED = 7


@dataclass(frozen=True, kw_only=True)
class Burst:
    """The requests to send: by `callers` who each wait for their answer, or `rate` per second."""

    transport: str
    """Transport: rest or grpc."""
    address: str
    """Address as host:port."""
    body: str
    """Path of the file with the request's body or message."""
    people: int
    """Expected number of people; an answer with another number is a failure."""
    seconds: float
    """No request is started later; those in flight are waited for."""
    callers: int = 0
    rate: float = 0.0


@dataclass(kw_only=True)
class Sent:
    """The outcome of a burst."""

    seconds: float = 0.0
    """Time from the start to the last answer."""
    cpu_seconds: float = 0.0
    """CPU time of this process in that time."""
    latency_seconds: list[float] = field(default_factory=list)
    """Latencies of answered requests; in an open loop counted from the time they were due."""
    refused: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def note(self, reply: "Reply", seconds: float) -> None:
        """Record a reply."""
        if reply.retry_seconds is not None:
            self.refused += 1
        elif reply.failure:
            self.failures[reply.failure] = self.failures.get(reply.failure, 0) + 1
        else:
            self.latency_seconds.append(seconds)


class Reply(NamedTuple):
    """The people, or the error, or a retry delay."""

    people: int = 0
    failure: str = ""
    retry_seconds: float | None = None


class Caller(Protocol):
    """Sends the same request repeatedly, one at a time."""

    async def call(self) -> Reply:
        """Send the request and wait for the reply."""
        ...


class RestCaller:
    """One kept-alive connection over HTTP/1.1."""

    def __init__(self, address: str, body: bytes) -> None:
        self._host, self._port = address.split(":")
        self._request = (
            f"POST /v1/pose HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self) -> Reply:
        """Send the request and wait for the reply."""
        streams, self._streams = self._streams, None
        reader, writer = streams or await asyncio.open_connection(self._host, int(self._port))
        writer.write(self._request)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._streams = reader, writer
        match status.split()[1]:
            case "200":
                return Reply(body.count(_PERSON))
            case "429":
                return Reply(retry_seconds=float(headers.get("retry-after", 1)))
            case code:
                return Reply(failure=code)


def grpc_callers(address: str, message: bytes) -> Callable[[], Caller]:
    """Create callers that share one channel, as a client's do."""
    import grpc  # the cost of importing it does not belong to bursts over REST

    from distilpose.v1 import pose_pb2
    from grpc_callers import refusal

    read = pose_pb2.EstimatePoseResponse.FromString
    method: Any = grpc.aio.insecure_channel(address).unary_unary(
        GRPC_METHOD, request_serializer=None, response_deserializer=read
    )

    class GrpcCaller:
        async def call(self) -> Reply:
            try:
                answer: pose_pb2.EstimatePoseResponse = await method(message)
            except grpc.RpcError as err:
                refused = refusal(err)
                if refused.code == "RESOURCE_EXHAUSTED":
                    return Reply(retry_seconds=refused.retry_seconds or 1.0)
                return Reply(failure=refused.code)
            return Reply(len(answer.images[0].poses))

    return GrpcCaller


class Sender:
    """Runs one burst."""

    def __init__(self, burst: Burst, new_caller: Callable[[], Caller]) -> None:
        self.sent = Sent()
        self._burst = burst
        self._new_caller = new_caller
        self._idle: list[Caller] = []
        self._ends_at = 0.0
        self._last_at = 0.0

    async def run(self) -> Sent:
        """Run the burst and return its outcome."""
        burst = self._burst
        began_at = time.monotonic()
        self._ends_at = began_at + burst.seconds
        async with asyncio.TaskGroup() as group:
            if burst.callers:
                for _ in range(burst.callers):
                    group.create_task(self._call_again_and_again())
            else:
                await self._call_when_due(group.create_task)
        self.sent.seconds = max(self._last_at - began_at, 1e-9)
        return self.sent

    async def _call_again_and_again(self) -> None:
        caller = self._new_caller()
        while (now := time.monotonic()) < self._ends_at:
            reply = await self._one(caller, due_at=now)
            if pause := reply.retry_seconds or (_AFTER_FAILURE_SECONDS if reply.failure else 0.0):
                left = self._ends_at - time.monotonic()
                await asyncio.sleep(min(pause, max(left, 0.0)))

    async def _call_when_due(self, spawn: Callable[[Any], object]) -> None:
        """Send requests at random times, reproducibly, with as many callers as needed."""
        gaps = random.Random(_SEED)  # noqa: S311 - traffic, no secret
        due_at = time.monotonic()
        while (due_at := due_at + gaps.expovariate(self._burst.rate)) < self._ends_at:
            await asyncio.sleep(due_at - time.monotonic())
            spawn(self._by_an_idle_caller(due_at))

    async def _by_an_idle_caller(self, due_at: float) -> None:
        caller = self._idle.pop() if self._idle else self._new_caller()
        await self._one(caller, due_at=due_at)
        self._idle.append(caller)

    async def _one(self, caller: Caller, *, due_at: float) -> Reply:
        reply = await _answered(caller.call())
        if not reply.failure and reply.retry_seconds is None and reply.people != self._burst.people:
            reply = Reply(failure=f"{reply.people} people")
        self._last_at = time.monotonic()
        self.sent.note(reply, self._last_at - due_at)
        return reply


async def _answered(call: Awaitable[Reply]) -> Reply:
    try:
        async with asyncio.timeout(_HUNG_SECONDS):
            return await call
    except (OSError, EOFError, TimeoutError) as err:
        return Reply(failure=type(err).__name__)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def send(burst: Burst, body: bytes) -> Sent:
    """Send a burst of this body and wait for its replies."""
    if burst.transport == "grpc":
        new_caller = grpc_callers(burst.address, body)
    else:

        def new_caller() -> Caller:
            return RestCaller(burst.address, body)

    spent = _cpu_seconds()
    sent = await Sender(burst, new_caller).run()
    sent.cpu_seconds = _cpu_seconds() - spent
    return sent


def main() -> None:
    """Read a burst, send it, print the outcome."""
    burst = Burst(**json.load(sys.stdin))
    sent = asyncio.run(send(burst, Path(burst.body).read_bytes()))
    print(json.dumps(asdict(sent)))


if __name__ == "__main__":
    main()
