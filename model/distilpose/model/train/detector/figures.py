"""COCO's AP of a detector's boxes on a folder of labelled people.

Our own detector is measured, as the service runs it. Crowds and doubtful people are regions in
which a box is neither right nor wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from distilpose.model.card import Figure
from distilpose.model.data.people import PeopleFolder, coco_document
from distilpose.model.data.person import Picture
from distilpose.model.errors import DataError
from distilpose.model.measure.accuracy import refuse_not_finite
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.skeleton import PERSON_CATEGORY_ID

LEAST_SCORE: Final = 0.001
"""Boxes below are not measured: what they could add to AP is not seen in its third digit."""


class BoxFigures(NamedTuple):
    """COCO's average precision of person boxes, 0..1."""

    ap50: float
    """At an overlap (IoU) of 0.5."""
    ap: float
    """Mean over overlaps from 0.5 to 0.95."""
    protocol: str
    """The people, the size and the score that they were measured by."""

    def for_card(self) -> tuple[Figure, ...]:
        """The figures as a card lists them."""
        return tuple(
            Figure(name=name, value=round(value, 4), protocol=self.protocol)
            for name, value in (
                ("AP50 of person boxes", self.ap50),
                ("AP of person boxes", self.ap),
            )
        )


def box_figures(
    detector: PersonDetector,
    people: PeopleFolder,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> BoxFigures:
    """The figures of a detector on the pictures of a folder in which everyone has a box.

    `on_progress` gets pictures done and pictures in all after each one.

    Raises:
        DataError: nobody is there to be found, or a picture cannot be read.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # noqa: PLC0415 - an extra's package

    pictures = [_with_regions(each) for each in people.pictures if each.boxes_complete]
    count = sum(not person.is_crowd for picture in pictures for person in picture.people)
    if not count:
        raise DataError(f"{people.folder}: nobody to find in {len(pictures)} complete pictures")
    found: list[dict[str, Any]] = []
    for done, picture in enumerate(pictures, start=1):
        found += _entries(detector, people, picture)
        on_progress(done, len(pictures))
    refuse_not_finite(found)
    truth = COCO(coco_document(pictures))
    evaluation = COCOeval_faster(truth, truth.loadRes(found), iouType="bbox")
    evaluation.run()
    ap, ap50 = (float(figure) for figure in evaluation.stats[:2])
    return BoxFigures(ap50, ap, _protocol(detector, people, pictures, count))


def _with_regions(picture: Picture) -> Picture:
    """The picture with those to be ignored as crowds, in which COCO counts no box as wrong."""
    people = tuple(replace(person, is_crowd=person.is_ignored) for person in picture.people)
    return replace(picture, people=people)


def _entries(
    detector: PersonDetector, people: PeopleFolder, picture: Picture
) -> Iterator[dict[str, Any]]:
    (found,) = detector.detect([people.read(picture)], min_box_score=LEAST_SCORE)
    for (x1, y1, x2, y2), score in zip(
        found.boxes_xyxy_px.tolist(), found.scores.tolist(), strict=True
    ):
        yield {
            "image_id": picture.id,
            "category_id": PERSON_CATEGORY_ID,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }


def _protocol(
    detector: PersonDetector, people: PeopleFolder, pictures: Sequence[Picture], count: int
) -> str:
    sources = ", ".join(sorted({picture.source for picture in pictures}))
    return (
        f"{count} people in {len(pictures)} pictures of {people.folder.name} ({sources}), at "
        f"{detector.image_size_px} pixels, boxes from score {LEAST_SCORE}; crowds and doubtful "
        "people are ignored"
    )
