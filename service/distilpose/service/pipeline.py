"""One request's journey: admit, and for each image decode, detect, cut, pose, assemble.

Knows no transport.
"""

import asyncio
from dataclasses import dataclass

from distilpose.service import traces
from distilpose.service.domain import PoseAnswer, PoseRequest
from distilpose.service.errors import DeadlineExceeded
from distilpose.service.journey import Journey, Means
from distilpose.service.metrics import Metrics
from distilpose.service.room import Places


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipeline(Means):
    """The way of every request, over what they share."""

    metrics: Metrics

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        """Poses or an error for each image, in their order.

        Raises:
            Overloaded: the request does not fit the queue it would wait in.
            DeadlineExceeded: not everything was answered in time.
        """
        accepted_at = self.clock()
        with self._admit(request) as places:
            journey = Journey(self, request, accepted_at, places)
            try:
                async with asyncio.timeout(request.deadline - accepted_at):
                    async with asyncio.TaskGroup() as group:
                        tasks = [
                            group.create_task(journey.image(index))
                            for index in range(len(request.images))
                        ]
            except TimeoutError as err:
                raise DeadlineExceeded("the request's deadline passed") from err
            finally:
                traces.add_journey(journey.spans, began_at=accepted_at, ended_at=self.clock())
        timing = journey.spans.timing(total=self.clock() - accepted_at)
        answer = PoseAnswer([task.result() for task in tasks], timing)
        self.metrics.answered(answer, waits=journey.spans.waits())
        return answer

    def _admit(self, request: PoseRequest) -> Places:
        options = request.options
        if not options.skips_detector:
            return self.detect.admit(len(request.images))
        boxes = options.boxes
        people = sum(map(len, boxes)) if boxes is not None else len(request.images)
        return self.pose.admit(people * options.crops_per_person)
