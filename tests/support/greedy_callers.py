"""Callers that ask again at once. Run as `python greedy_callers.py HOST PORT SECONDS PHOTO KEYS`.

A separate process, so that they do not slow down the polite callers of a test. `KEYS` are separated
by commas, one for each caller. At the end it prints how often each of them was answered, as JSON.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from soaking import post

AGAIN_AFTER_SECONDS: Final = 0.2
"""From a refusal to the next request: sixty that wait less keep a small machine busy refusing."""


async def ask_until(ends_at: float, host: str, port: int, request: bytes) -> Counter[int]:
    """Ask again and again on new connections, and count the answers by their status."""
    answers: Counter[int] = Counter()
    while time.monotonic() < ends_at:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            answer = await reader.read()
        except ConnectionError:
            continue  # refused before the whole photo was sent
        finally:
            writer.close()
        status = int(answer.split(b" ", 2)[1]) if answer else 0
        answers[status] += 1
        if status != 200:
            await asyncio.sleep(AGAIN_AFTER_SECONDS)
    return answers


async def ask_all(host: str, port: str, seconds: str, requests: list[bytes]) -> None:
    """Ask with every caller at once for that many seconds."""
    ends_at = time.monotonic() + float(seconds)
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    counts = await asyncio.gather(
        *(ask_until(ends_at, host, int(port), request) for request in requests)
    )
    print(json.dumps(counts))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    host, port, seconds, file, keys = sys.argv[1:]
    body = Path(file).read_bytes()
    requests = [post(body, x_api_key=key) for key in keys.split(",")]
    asyncio.run(ask_all(host, port, seconds, requests))
