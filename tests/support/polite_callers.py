"""A caller that sends what it should, and comes back when it is asked to."""

import asyncio
import itertools
import time

from servers import Server
from soaking import Answer, ask, assert_same_poses

ONE_PERSON = "/v1/pose?max_people=1"


class PoliteCaller:
    """Asks for one photo after the other; `solo` are the answers that it should get."""

    def __init__(
        self, server: Server, photos: list[bytes], solo: list[Answer], *, key: str = ""
    ) -> None:
        self._server = server
        self._photos = photos
        self._solo = solo
        self._headers = {"x-api-key": key} if key else {}
        self.seconds: list[float] = []
        """From each first question to its answer."""
        self.refusals = 0

    async def ask_until(self, ends_at: float) -> None:
        """Ask until that instant, and check every answer."""
        for number in itertools.cycle(range(len(self._photos))):
            if time.monotonic() > ends_at:
                return
            began = time.monotonic()
            answer = await self._ask(self._photos[number])
            self.seconds.append(time.monotonic() - began)
            assert answer.status == 200, answer.body
            assert_same_poses(answer.poses, self._solo[number].poses)

    async def _ask(self, photo_: bytes) -> Answer:
        """An answer, however often the server had no room before."""
        while (answer := await self._once(photo_)).status == 429:
            self.refusals += 1
            await asyncio.sleep(int(answer.headers["retry-after"]))
        return answer

    async def _once(self, photo_: bytes) -> Answer:
        return await ask(self._server, photo_, ONE_PERSON, **self._headers)
