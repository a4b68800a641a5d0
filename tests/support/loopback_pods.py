"""Real servers that stand for the pods of a headless Service, and their shares of answers.

Each has its own loopback address; all have the same port.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from odd_images import encode
from ports import free_port
from servers import Server
from soaking import samples

HOSTS: Final = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
AGE_SECONDS: Final = 5.0
"""Maximum age of a connection, and of a stream."""
LAST_SECONDS: Final = 2.5
"""The part at the end of twice the age in which answers are counted."""
STREAMS, CALLERS = 12, 4
PAUSE_SECONDS: Final = 0.1
"""Pause between two frames of a stream; calls are four times as frequent."""
TINY: Final = encode(np.zeros((8, 8, 3), np.uint8), "png")
CALLS: Final = 'requests_total{blame="none",code="OK",method="estimate_pose",transport="grpc"}'
FRAMES: Final = 'stream_frames_total{mode="ordered",outcome="answered"}'
Shares: TypeAlias = dict[str, list[float]]


def started(start_server: Callable[..., Server]) -> tuple[list[Server], int]:
    """A server on each of the hosts, and their gRPC port."""
    port, http_port = free_port(), free_port()
    pods = [
        replace(
            start_server(
                wait=False,
                HTTP__HOST=host,
                HTTP__PORT=str(http_port),
                GRPC__PORT=str(port),
                GRPC__MAX_CONNECTION_AGE_SECONDS=str(AGE_SECONDS),
                GRPC__MAX_CONNECTION_AGE_GRACE_SECONDS="0.5",
            ),
            url=f"http://{host}:{http_port}",
        )
        for host in HOSTS
    ]
    for pod in pods:
        pod.wait_until_ready()
    return pods, port


def shares(pods: Sequence[Server]) -> Shares:
    """Each pod's share of the calls and frames answered from now on for a while."""
    before = [samples(pod) for pod in pods]
    time.sleep(LAST_SECONDS)
    after = [samples(pod) for pod in pods]
    found = {}
    for name in (CALLS, FRAMES):
        served = [new[name] - old[name] for old, new in zip(before, after, strict=True)]
        found[name] = [each / sum(served) for each in served]
    return found
