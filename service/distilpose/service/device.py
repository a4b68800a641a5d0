"""The one thread that owns the device and both models, and the loop that feeds it.

Knows nothing of what the stages compute. The batch whose first item was accepted earliest goes
first, as soon as the device is free: an idle device never waits for company.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from distilpose.service.errors import ServiceError

T = TypeVar("T")


class Stage(Protocol):
    """A queue in front of the device."""

    @property
    def queued(self) -> int:
        """Items in the queue."""
        ...

    @property
    def oldest_accepted_at(self) -> float | None:
        """When the request of the first queued item was accepted."""
        ...

    def form_batch(self) -> Sequence[Any]:
        """Take the next live items off the queue."""
        ...

    async def process(self, batch: Sequence[Any], executor: ThreadPoolExecutor) -> None:
        """Run a batch and resolve each of its items; never raises for what an item does."""

    def drop_all(self, error: ServiceError) -> None:
        """Answer everything still queued with `error`."""


class Device:
    """A thread for everything that touches the device, shared by the stages attached to it."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._work = asyncio.Event()
        self._feeder: asyncio.Task[None] | None = None
        self._closing = False

    def attach(self, stage: Stage) -> None:
        """Share the device with one more stage."""
        self._stages.append(stage)

    def start(self) -> None:
        """Begin to feed the device from the running loop."""
        self._feeder = asyncio.get_running_loop().create_task(self._feed(), name="device feeder")

    def wake(self) -> None:
        """Say that a queue has work."""
        self._work.set()

    @property
    def alive(self) -> bool:
        """Whether work is still being taken."""
        return self._feeder is not None and not self._feeder.done()

    async def call(self, function: Callable[[], T]) -> T:
        """Run something else on the device's thread: loading, warming up."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def close(self, error: ServiceError) -> None:
        """Let the running batch finish, answer the queued items with `error`, end the thread."""
        self._closing = True
        for stage in self._stages:
            stage.drop_all(error)
        self.wake()
        if self._feeder:
            await asyncio.gather(self._feeder, return_exceptions=True)
        self._executor.shutdown(wait=True)

    async def _feed(self) -> None:
        while not self._closing:
            self._work.clear()
            waiting = [stage for stage in self._stages if stage.queued]
            if not waiting:
                await self._work.wait()
                continue
            stage = min(waiting, key=lambda stage: stage.oldest_accepted_at or 0.0)
            if batch := stage.form_batch():
                await stage.process(batch, self._executor)
