"""An event loop whose time jumps to the next timer, and a device thread that lives in it.

Minutes of waiting pass instantly, and always in the same order.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """Seconds since the loop was created."""
        return self._now

    def _run_once(self) -> None:
        pending = [t.when() for t in self._scheduled if not t.cancelled()]  # type: ignore[attr-defined]  # asyncio's own
        if not self._ready and pending:  # type: ignore[attr-defined]  # the same
            self._now = max(self._now, min(pending))
        super()._run_once()  # type: ignore[misc]  # asyncio's own


def run_virtually(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario in virtual time and return its result.

    Raises:
        TimeoutError: after a virtual hour, because something waits for ever.
    """

    async def bounded() -> T:
        async with asyncio.timeout(3600):
            return await scenario

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(bounded())


class VirtualThread(Executor):
    """One or a few threads in virtual time: a call takes `seconds()`."""

    def __init__(self, seconds: Callable[[], float] = lambda: 0.01, *, threads: int = 1) -> None:
        self.running = 0
        self.busy: list[tuple[float, float]] = []
        """Start and end of each run."""
        self._seconds = seconds
        self._threads = threads

    def submit(
        self, fn: Callable[Parameters, T], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> "Future[T]":
        """Run `fn` at the end of its time, which starts now: a thread must be free."""
        assert self.running < self._threads, f"there are {self._threads} threads"
        self.running += 1
        loop, seconds = asyncio.get_running_loop(), self._seconds()
        self.busy.append((loop.time(), loop.time() + seconds))
        future: Future[T] = Future()

        def end() -> None:
            self.running -= 1
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as err:  # noqa: BLE001 - as a thread does
                future.set_exception(err)

        loop.call_later(seconds, end)
        return future
