"""Run first in a server: how late its event loop is, by the wall clock, into TEST_LOOP_TICKS.

The file holds the number of ticks by their lateness in whole milliseconds, as a JSON list. Whoever
deletes it begins anew.
"""

import asyncio
import json
import os
import time
from pathlib import Path

from distilpose.service.app import Service

REPORT = Path(os.environ["TEST_LOOP_TICKS"])
EVERY_SECONDS = 0.001
TICKS_PER_REPORT = 50
LONGEST_MS = 60_000

start = Service.start


def report(ticks: list[int]) -> list[int]:
    """Write the counts; none if whoever reads them begins anew."""
    if not REPORT.exists():
        ticks = [0] * LONGEST_MS
    whole = REPORT.with_suffix(".new")
    last = max((late for late, count in enumerate(ticks) if count), default=0)
    whole.write_text(json.dumps(ticks[: last + 1]))
    whole.replace(REPORT)
    return ticks


async def watch() -> None:
    ticks = [0] * LONGEST_MS
    while True:
        for _ in range(TICKS_PER_REPORT):
            began = time.perf_counter()
            await asyncio.sleep(EVERY_SECONDS)
            late_seconds = time.perf_counter() - began - EVERY_SECONDS
            ticks[min(int(late_seconds * 1000), LONGEST_MS - 1)] += 1
        ticks = report(ticks)


async def start_watched(service: Service) -> None:
    await start(service)
    service.watching = asyncio.create_task(watch())  # type: ignore[attr-defined]  # kept alive


Service.start = start_watched  # type: ignore[assignment,method-assign]  # the loop is there by then
