"""One request's journey: admit, and for each image decode, detect, cut, pose, assemble.

Knows no transport.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from distilpose.model import pictures
from distilpose.model.errors import PictureError
from distilpose.model.pictures.headers import ImageHeader
from distilpose.service.batching.admission import Admitted, Gate
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.room import Lease
from distilpose.service.domain import ImageAnswer, PoseAnswer, PoseRequest
from distilpose.service.errors import DeadlineExceeded, ServiceError
from distilpose.service.pipeline.journey import Journey, Means, error_of_picture
from distilpose.service.pipeline.needs import Accepted, Needs, needs_of
from distilpose.service.telemetry import traces
from distilpose.service.telemetry.spans import Spans


class _Readable(NamedTuple):
    """An image whose header promises a picture."""

    header: ImageHeader
    needs: Needs


class Pipeline:
    """The journey of every request, over the resources they share."""

    def __init__(self, means: Means) -> None:
        self.means = means

    def expect_body(self, caller: str) -> None:
        """Refuse a request before its body is read, if an image like recent ones would not fit.

        Those that are arriving count as well: of many that come together, the others would be
        refused after their bodies, which cost much more than heads.

        Raises:
            Overloaded: the decode queue is full, or too full for a caller that has had its share.
        """
        decode = self.means.decode
        places = decode.usual_places + decode.arriving_places
        self.means.admission.refuse_at_once([(decode, places)], caller=caller)
        decode.expect_image()

    def refuse_if_full(self, caller: str) -> None:
        """Refuse a request while its body arrives, if an image like recent ones would not fit.

        Raises:
            Overloaded: the decode queue is full, or too full for a caller that has had its share.
        """
        decode = self.means.decode
        self.means.admission.refuse_at_once([(decode, decode.usual_places)], caller=caller)

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        """Poses or an error for each image, in their order.

        Raises:
            Overloaded: the decode queue, the first queue or the memory has no room for the request,
                and it may not wait, or its caller has had more than its share.
            DeadlineExceeded: some images were not answered in time.
        """
        with self.means.metrics.whole_failures(len(request.images)):
            return await self._estimate(request)

    async def _estimate(self, request: PoseRequest) -> PoseAnswer:
        arrived_at = self.means.clock()
        spans = Spans()
        try:
            images, memory = await self._images(request, arrived_at, spans)
        except TimeoutError as err:
            raise DeadlineExceeded("the request's deadline passed") from err
        finally:
            traces.add_journey(spans, began_at=arrived_at, ended_at=self.means.clock())
            self.means.metrics.stages_passed(spans.seconds(), spans.waits())
        timing = spans.timing(total=self.means.clock() - arrived_at)
        answer = PoseAnswer(images, timing, memory)
        self.means.metrics.answered(answer)
        return answer

    async def _images(
        self, request: PoseRequest, arrived_at: float, spans: Spans
    ) -> tuple[list[ImageAnswer], Lease | None]:
        """An answer for each image, and the memory of pixels that are kept."""
        found, memory = [], None
        for index in range(len(request.images)):
            if index:
                await asyncio.sleep(0)  # a header may keep the event loop for 5 ms
            found.append(self._read(request, index))
        readable = {index: each for index, each in enumerate(found) if isinstance(each, _Readable)}
        answers = {index: each for index, each in enumerate(found) if isinstance(each, ImageAnswer)}
        if readable:
            with await self._admit(request, readable, arrived_at, spans) as admitted:
                done, memory = await self._answers(request, readable, arrived_at, admitted, spans)
                answers |= done
        return [answers[index] for index in range(len(found))], memory

    def _read(self, request: PoseRequest, index: int) -> _Readable | ImageAnswer:
        """Read an image's header, or answer with its error. No memory is spent on it yet."""
        means, source = self.means, request.images[index]
        try:
            header = pictures.read_header(source, max_pixels=means.max_pixels)
            needs = needs_of(
                source,
                header,
                request.options,
                index=index,
                canvas_px=max(means.canvases[-1]),
                is_drawn=request.keep_pixels,
            )
            means.memory.check(needs.memory_bytes, of_stream=request.waits_for_room)
        except PictureError as err:
            return ImageAnswer(source.id, error=error_of_picture(err))
        except ServiceError as err:
            return ImageAnswer(source.id, error=err)
        return _Readable(header, needs)

    async def _admit(
        self,
        request: PoseRequest,
        readable: Mapping[int, _Readable],
        arrived_at: float,
        spans: Spans,
    ) -> Admitted:
        means = self.means
        memory_bytes = means.memory.share_of(
            [each.needs.memory_bytes for each in readable.values()]
        )
        decode_places = sum(each.needs.decode_places for each in readable.values())
        queue, items = self._first_queue(request, list(readable))
        wants: Sequence[tuple[Gate, int]] = (
            (queue, items),
            (means.decode, decode_places),
            (means.memory, memory_bytes),
        )
        admitted = await means.admission.enter(
            wants,
            accepted_at=arrived_at,
            caller=request.caller,
            is_patient=request.waits_for_room,
        )
        spans.add_wait(queue.stage, arrived_at, means.clock())
        return admitted

    async def _answers(
        self,
        request: PoseRequest,
        readable: Mapping[int, _Readable],
        arrived_at: float,
        admitted: Admitted,
        spans: Spans,
    ) -> tuple[dict[int, ImageAnswer], Lease | None]:
        means = self.means
        waited = means.clock() - arrived_at if request.waits_for_room else 0.0
        request = replace(request, deadline=request.deadline + waited)
        queue, _ = self._first_queue(request, list(readable))
        accepted = Accepted.of(
            admitted,
            memory=means.memory.room,
            decode=means.decode.room,
            first=queue.room,
            at=arrived_at,
        )
        journey = Journey(means, request, accepted, spans)
        try:
            async with asyncio.timeout(request.deadline - means.clock()):
                done = await _all_images(journey, readable)
            if not request.keep_pixels:
                return done, None
            accepted.memory.hold()
            return done, accepted.memory
        finally:
            accepted.memory.let_go()

    def _first_queue(
        self, request: PoseRequest, readable: Sequence[int]
    ) -> tuple[Batcher[Any, Any], int]:
        """The queue that the request enters first, and how many items it adds there."""
        options = request.options
        if not options.skips_detector:
            return self.means.detect, len(readable)
        boxes = options.boxes
        people = len(readable) if boxes is None else sum(len(boxes[index]) for index in readable)
        return self.means.pose, people * options.crops_per_person


async def _all_images(
    journey: Journey, readable: Mapping[int, _Readable]
) -> dict[int, ImageAnswer]:
    if len(readable) == 1:
        [(index, each)] = readable.items()
        return {index: await journey.image(index, *each)}
    tasks = [asyncio.create_task(journey.image(index, *each)) for index, each in readable.items()]
    try:
        return dict(zip(readable, await asyncio.gather(*tasks), strict=True))
    except asyncio.CancelledError:
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    finally:
        # The tasks keep their errors, whose frames hold the pictures. No error may lead back here,
        # as a TaskGroup's does, or all of it would stay until a full collection.
        del tasks
