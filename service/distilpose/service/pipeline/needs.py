"""The most that an image can need, and the part of it that its request was given."""

from dataclasses import dataclass
from typing import Final

from distilpose.model import pictures
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.pictures.headers import ImageHeader
from distilpose.model.pictures.source import Source
from distilpose.service.batching.admission import Admitted
from distilpose.service.batching.room import Lease, Places, Room
from distilpose.service.domain import Options
from distilpose.service.pipeline.decoding import Decoding

_CROP_BYTES: Final = CROP_HEIGHT * CROP_WIDTH * 3
_COPIES_OF_CROPS: Final = 2
"""The crops as they are cut, and their copies in a batch or beside their mirror images."""


_DRAWN_BYTES_PER_PIXEL: Final = 14
"""For a copy to draw on and its encoder: 8.7 were measured for a JPEG, 12.8 for a PNG of noise."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The most that one image can need."""

    memory_bytes: int
    decode_places: int


def needs_of(
    source: Source,
    header: ImageHeader,
    options: Options,
    *,
    index: int,
    canvas_px: int,
    is_drawn: bool = False,
) -> Needs:
    """The most that an image can need, from its header and the options of its request.

    While it is decoded, the decoder's memory; afterwards its pixels, the detector's canvas of up
    to `canvas_px` square, the crops of as many people as may be answered, and a drawing where one
    is asked for.
    """
    cost = pictures.cost_of(source, header)
    people = options.max_people if options.boxes is None else len(options.boxes[index])
    crops = (1 if options.whole_image else people) * options.crops_per_person
    after = cost.pixels_bytes + canvas_px * canvas_px * 3 + crops * _CROP_BYTES * _COPIES_OF_CROPS
    if is_drawn:
        after += header.pixels * _DRAWN_BYTES_PER_PIXEL
    return Needs(max(cost.peak_bytes, after), Decoding.places(cost.decode_seconds))


@dataclass(frozen=True, slots=True)
class Accepted:
    """The resources of an accepted request, for all of its images."""

    at: float
    """Instant of the monotonic clock, seconds."""
    memory: Lease
    decode: Places
    first: Places
    """Places of the first queue: the detector's, or the student's where boxes are given."""
    turns: Room
    """The request's own memory, which images share that do not fit into it together."""

    @classmethod
    def of(
        cls, admitted: Admitted, *, memory: Room, decode: Room, first: Room, at: float
    ) -> "Accepted":
        """The places of an admission; threads may hold the memory longer than the request."""
        held = admitted.places(memory)
        held_bytes = held.use(held.count)
        return cls(
            at=at,
            memory=Lease(Places(memory, held_bytes)),
            decode=admitted.places(decode),
            first=admitted.places(first),
            turns=Room(held_bytes),
        )

    async def turn(self, needs: Needs) -> Places:
        """Wait for earlier images of the request until its memory has room for this one."""
        return await self.turns.wait_for(needs.memory_bytes, accepted_at=self.at)
