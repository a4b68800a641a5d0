"""The faults of labels, what is done about each, and a record of those that were found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from distilpose.model.data.rules import Breach, Rule
from distilpose.model.errors import DataError
from distilpose.model.skeleton import AREA_SHARE, KEYPOINT_COUNT

TOLERATED_SHARE: Final = 0.001
"""Share of annotations that may have one fault in data that is clean."""
_MOST_LEFT_OUT: Final = 0.5


def _repaired(name: str, meaning: str, done: str) -> Rule:
    return Rule(name, meaning, "annotations", TOLERATED_SHARE, done)


def _left_out(name: str, meaning: str) -> Rule:
    return Rule(name, meaning, "annotations", TOLERATED_SHARE, "left out", leaves_out=True)


def _harmless(name: str, meaning: str, done: str) -> Rule:
    """A rule whose repair can change no figure, so that any share is tolerated."""
    return Rule(name, meaning, "files", 1, done)


AREA: Final = _repaired(
    "area", "an area that is missing, at most 1 px², or above the box's", f"{AREA_SHARE} of the box"
)
BELOW_ZERO: Final = _repaired(
    "visibility below 0", "a visibility below 0", "the point counts as not labelled"
)
ABOVE_TWO: Final = _repaired("visibility above 2", "a visibility of 3 or more", "2 is taken")
POINT: Final = _repaired(
    "point", "a point with a value that is no finite number", "the point counts as not labelled"
)
EMPTY_BOX: Final = _repaired(
    "empty box",
    "a box that is missing or has no width or height",
    "the extent of the labelled points is taken",
)
SCORE: Final = _left_out("score", "a fractional visibility, which looks like a score")
LENGTH: Final = _left_out("length", f"keypoints that are not {KEYPOINT_COUNT} of 3 numbers")
BOX: Final = _left_out("box", "a box that is not four finite numbers")
NO_BOX: Final = _left_out("no box", "neither a box with a size nor points that have an extent")
WEIGHT: Final = _left_out(
    "weight", f"keypoint_weight that is not {KEYPOINT_COUNT} numbers of 0 to 1"
)
CROWD: Final = _left_out("iscrowd", "iscrowd that is neither 0 nor 1")
TWICE: Final = _left_out("twice", "the same person twice: picture, box and points are equal")
UNKNOWN_PICTURE: Final = _left_out("unknown picture", "a picture id that the file does not list")
LOST_PICTURE: Final = _left_out("lost picture", "an annotation of a picture that is left out")
UNKNOWN_CATEGORY: Final = _left_out("unknown category", "a category that the file does not list")
ENTRY: Final = _left_out("entry", "an annotation that is no object")
NOT_NORMALISED: Final = _left_out(
    "not normalised", "a box of a YOLO label that is not a share of its picture, 0 to 1"
)
PICTURE_ENTRY: Final = Rule(
    "picture entry",
    "a picture without a usable file name or size",
    "pictures",
    0,
    "left out with its people",
    leaves_out=True,
)
PICTURE_TWICE: Final = Rule(
    "picture twice",
    "the same picture twice",
    "pictures",
    TOLERATED_SHARE,
    "the later is left out with its people",
    leaves_out=True,
)
TEXT_IDS: Final = _harmless(
    "text ids",
    "ids that are no whole numbers",
    "digits are taken as numbers, others numbered in the file's order",
)
SHARED_IDS: Final = _harmless(
    "shared ids", "picture ids that an earlier file has too", "a multiple of 1,000,000 is added"
)
GROUP: Final = _harmless(
    "categories", "several categories of people", "all that have annotations are taken"
)
ORDER: Final = _harmless(
    "order", "keypoints in another order than COCO's", "brought into COCO's order by their names"
)
LABEL_RULES: Final = (
    AREA, BELOW_ZERO, ABOVE_TWO, POINT, EMPTY_BOX,
    SCORE, LENGTH, BOX, NO_BOX, WEIGHT, CROWD, TWICE, UNKNOWN_PICTURE, LOST_PICTURE,
    UNKNOWN_CATEGORY, ENTRY, NOT_NORMALISED, PICTURE_ENTRY, PICTURE_TWICE,
    TEXT_IDS, SHARED_IDS, GROUP, ORDER,
)  # fmt: skip
"""All of them: repairs, what is left out, and what changes no figure."""


class Origin(NamedTuple):
    """The place of an entry of labels, as a person finds it."""

    file: str
    """The file's path within the data folder."""
    entry: str
    """The entry's id in the file, such as `annotation 17`, or its line."""


class Fault(NamedTuple):
    """A fault that was found, and where."""

    breach: Breach
    source: str
    origin: Origin

    def to_json(self) -> dict[str, Any]:
        """Rule, place and detail, and what was done, as values for `json.dumps`."""
        return {
            "rule": self.breach.rule.name,
            "source": self.source,
            "file": self.origin.file,
            "entry": self.origin.entry,
            "detail": self.breach.detail,
            "done": self.breach.rule.done,
        }


@dataclass(frozen=True)
class LabelRecord:
    """A count of the annotations that were read, and every fault in them."""

    annotations: Counter[str] = field(default_factory=Counter)
    """People's annotations by source, those left out included."""
    others: Counter[str] = field(default_factory=Counter)
    """Annotations of other categories than people, by source."""
    pictures: Counter[str] = field(default_factory=Counter)
    """Entries of pictures by source, those left out included."""
    faults: tuple[Fault, ...] = ()

    def of(self, source: str) -> "LabelRecord":
        """The record of one source."""
        counts = (self.annotations, self.others, self.pictures)
        annotations, others, pictures = (Counter({source: each[source]}) for each in counts)
        faults = tuple(fault for fault in self.faults if fault.source == source)
        return LabelRecord(annotations, others, pictures, faults)

    def with_faults(self, more: Iterable[Fault]) -> "LabelRecord":
        """The record with more faults."""
        return replace(self, faults=(*self.faults, *more))

    @property
    def left_out(self) -> Counter[Rule]:
        """Annotations left out, by the reason."""
        return _counted(self.faults, leaves_out=True)

    @property
    def repaired(self) -> Counter[Rule]:
        """Annotations repaired in a way that may change a figure, by the fault."""
        return _counted(self.faults, leaves_out=False)

    def refuse_if_mostly_left_out(self) -> None:
        """Return if at least half of the annotations can be used.

        Raises:
            DataError: with the reasons and the first annotation.
        """
        total, left_out = self.annotations.total(), self.left_out
        count = left_out.total()
        if count <= _MOST_LEFT_OUT * total:
            return
        first = next(each for each in self.faults if each.breach.rule in left_out)
        much = "nobody is left" if count == total else "more than half are left out"
        raise DataError(
            f"{much} of {total} people: {in_words(left_out)}; the first is {first.origin.entry} of "
            f"{first.origin.file}, {first.breach.rule.meaning}: {first.breach.detail}"
        )

    def notes(self) -> list[str]:
        """A sentence about the annotations that were left out, and one about those repaired."""
        total = self.annotations.total()
        counts = (("Left out", self.left_out), ("Repaired", self.repaired))
        notes = [f"{word}: {in_words(count)} of {total} labels." for word, count in counts if count]
        lost = sum(each.breach.rule.of == "pictures" for each in self.faults)
        return [*notes, f"Left out: {lost} pictures."] if lost else notes


def joined(records: Sequence[LabelRecord]) -> LabelRecord:
    """One record of several sources."""
    whole = LabelRecord()
    for record in records:
        whole.annotations.update(record.annotations)
        whole.others.update(record.others)
        whole.pictures.update(record.pictures)
    return whole.with_faults(fault for record in records for fault in record.faults)


def in_words(counts: Counter[Rule]) -> str:
    """The total and each rule's share of it, such as `3 (twice 2, score 1)`."""
    parts = ", ".join(f"{rule.name} {count}" for rule, count in counts.most_common())
    return f"{counts.total()} ({parts})"


def _counted(faults: Iterable[Fault], *, leaves_out: bool) -> Counter[Rule]:
    rules = (fault.breach.rule for fault in faults)
    return Counter(
        rule for rule in rules if rule.of == "annotations" and rule.leaves_out == leaves_out
    )
