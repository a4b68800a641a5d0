"""Run first in a server: the longest its event loop computed at a stretch, into TEST_LOOP_TIMES.

Whoever deletes that file begins anew.

A task that always wants to run takes note, each time it may, of the time that the loop's thread
computed since: not the wall time, in which others had the processor.
"""

import asyncio
import os
import time
from pathlib import Path

from distilpose.service.app import Service

REPORT = Path(os.environ["TEST_LOOP_TIMES"])
EVERY_SECONDS = 0.001

start = Service.start


def longest_ms() -> float:
    try:
        return float(REPORT.read_text())
    except FileNotFoundError:  # deleted, perhaps just now
        return -1.0


def note(seconds: float) -> None:
    if seconds * 1000 > longest_ms():
        whole = REPORT.with_suffix(".new")
        whole.write_text(f"{seconds * 1000:.2f}")
        whole.replace(REPORT)


async def watch() -> None:
    while True:
        began = time.thread_time()
        await asyncio.sleep(EVERY_SECONDS)
        note(time.thread_time() - began)


async def start_watched(service: Service) -> None:
    await start(service)
    service.watching = asyncio.create_task(watch())  # type: ignore[attr-defined]  # kept alive


Service.start = start_watched  # type: ignore[assignment,method-assign]  # the loop is there by then
