"""One request's journey: admit, and for each image decode, detect, cut, pose, assemble.

Knows no transport.
"""

import asyncio
from dataclasses import replace
from typing import Any, Final

from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.room import Places
from distilpose.service.domain import ImageAnswer, PoseAnswer, PoseRequest
from distilpose.service.errors import DeadlineExceeded
from distilpose.service.pipeline.journey import Journey, Means
from distilpose.service.telemetry import traces
from distilpose.service.telemetry.spans import Spans

_SHARE_LEFT_BY_WHO_WAITS: Final = 4
"""The divisor of a queue's capacity that stays free of requests that wait for room (a quarter):
otherwise video streams would fill the queue permanently and single requests would always be
refused."""


class Pipeline:
    """The journey of every request, over the resources they share."""

    def __init__(self, means: Means) -> None:
        self.means = means

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        """Poses or an error for each image, in their order.

        Raises:
            Overloaded: the first queue has no room for the request, and it may not wait.
            DeadlineExceeded: some images were not answered in time.
        """
        with self.means.metrics.whole_failures(len(request.images)):
            return await self._estimate(request)

    async def _estimate(self, request: PoseRequest) -> PoseAnswer:
        accepted_at = self.means.clock()
        spans = Spans()
        try:
            with await self._admit(request, accepted_at, spans) as places:
                waited = self.means.clock() - accepted_at if request.waits_for_room else 0.0
                request = replace(request, deadline=request.deadline + waited)
                async with asyncio.timeout(request.deadline - self.means.clock()):
                    journey = Journey(self.means, request, accepted_at, places, spans)
                    images = await _all_images(journey, len(request.images))
        except TimeoutError as err:
            raise DeadlineExceeded("the request's deadline passed") from err
        finally:
            traces.add_journey(spans, began_at=accepted_at, ended_at=self.means.clock())
        answer = PoseAnswer(images, spans.timing(total=self.means.clock() - accepted_at))
        self.means.metrics.answered(answer, waits=spans.waits())
        return answer

    async def _admit(self, request: PoseRequest, accepted_at: float, spans: Spans) -> Places:
        stage, items = self._first_queue(request)
        if not request.waits_for_room:
            return stage.admit(items)
        leaving = stage.room.capacity // _SHARE_LEFT_BY_WHO_WAITS
        places = await stage.room.wait_for(items, accepted_at=accepted_at, leaving=leaving)
        spans.add_wait(stage.stage, accepted_at, self.means.clock())
        return places

    def _first_queue(self, request: PoseRequest) -> tuple[Batcher[Any, Any], int]:
        """The queue that the request enters first, and how many items it adds there."""
        options = request.options
        if not options.skips_detector:
            return self.means.detect, len(request.images)
        boxes = options.boxes
        people = sum(map(len, boxes)) if boxes is not None else len(request.images)
        return self.means.pose, people * options.crops_per_person


async def _all_images(journey: Journey, images: int) -> list[ImageAnswer]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(journey.image(index)) for index in range(images)]
    return [task.result() for task in tasks]
