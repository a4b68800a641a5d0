"""One request's journey: admit, and for each image decode, detect, cut, pose, assemble.

Knows no transport.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from distilpose.model.arrays import ImageHWC
from distilpose.model.calibration import Calibration
from distilpose.model.detector import Detections
from distilpose.model.engine import PoseArrays
from distilpose.service import traces
from distilpose.service.batcher import Batcher
from distilpose.service.budget import ByteBudget
from distilpose.service.domain import PoseAnswer, PoseRequest
from distilpose.service.errors import DeadlineExceeded
from distilpose.service.journey import Journey
from distilpose.service.metrics import Metrics
from distilpose.service.room import Places
from distilpose.service.stages import DetectItem
from distilpose.service.traffic import Traffic


class Pipeline:
    """Both stages, the decode threads and the limits that requests share."""

    def __init__(
        self,
        *,
        detect: Batcher[DetectItem, Detections],
        pose: Batcher[ImageHWC, PoseArrays],
        traffic: Traffic,
        decode_pool: ThreadPoolExecutor,
        decoded_bytes: ByteBudget,
        image_size_px: int,
        max_pixels: int,
        metrics: Metrics,
        calibration: Calibration | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.detect = detect
        self.pose = pose
        self.traffic = traffic
        self.decode_pool = decode_pool
        self.decoded_bytes = decoded_bytes
        self.image_size_px = image_size_px
        self.max_pixels = max_pixels
        self.calibration = calibration
        self.clock = clock
        self._metrics = metrics

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
        self._metrics.answered(answer, waits=journey.spans.waits())
        return answer

    def _admit(self, request: PoseRequest) -> Places:
        options = request.options
        if not options.skips_detector:
            return self.detect.admit(len(request.images))
        boxes = options.boxes
        people = sum(map(len, boxes)) if boxes is not None else len(request.images)
        return self.pose.admit(people * options.crops_per_person)
