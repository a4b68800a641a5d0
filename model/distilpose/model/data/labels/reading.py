"""From a document to pictures with people: entries are joined, counted, and kept or left out."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from distilpose.model.data.labels.annotation import LeftOut, Order, read_person, region_of
from distilpose.model.data.labels.categories import read_categories
from distilpose.model.data.labels.document import BREACH, Document
from distilpose.model.data.labels.faults import (
    ENTRY,
    LOST_PICTURE,
    PICTURE_ENTRY,
    PICTURE_TWICE,
    TEXT_IDS,
    TWICE,
    UNKNOWN_CATEGORY,
    UNKNOWN_PICTURE,
    Fault,
    LabelRecord,
    Origin,
)
from distilpose.model.data.labels.values import key_of, number, numbered, shown, text
from distilpose.model.data.person import Person, Picture
from distilpose.model.data.rules import Breach
from distilpose.model.errors import DataError

_PICTURE_FIELDS: Final = ("file_name", "width", "height", "shard")


class Read(NamedTuple):
    """The pictures of a document, and a record of its labels."""

    pictures: list[Picture]
    record: LabelRecord


def read_document(document: Document) -> Read:
    """Return the pictures of a document with the people in them.

    Raises:
        DataError: it has no people's category or several orders of keypoints, two pictures share
            an id, or more than half of the people would be left out.
    """
    reading = _Reading(document)
    reading.read_images()
    reading.read_annotations()
    read = reading.result()
    read.record.refuse_if_mostly_left_out()
    return read


@dataclass
class _Frame:
    """A picture of a document while people are found for it."""

    picture: Picture
    people: list[Person] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    """Each person's labels, and each box, as bytes."""


class _Place(NamedTuple):
    """The target of a picture's id."""

    frame: _Frame | None
    is_usable: bool


class _Reading:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._categories = read_categories(document.categories)
        self._by_file: dict[Hashable, _Frame] = {}
        self._places: dict[Hashable, _Place] = {}
        self._faults: list[Fault] = []
        self._people = 0
        self._others = 0
        for breach in self._categories.breaches:
            self._add(breach, Origin(document.file, "categories"))

    def _add(self, breach: Breach, origin: Origin) -> None:
        self._faults.append(Fault(breach, self._document.source, origin))

    def read_images(self) -> None:
        images = self._document.images
        keys = [key_of(each.get("id")) if isinstance(each, dict) else None for each in images]
        for index, (entry, key, own) in enumerate(zip(images, keys, numbered(keys), strict=True)):
            raw = entry.get("id") if isinstance(entry, dict) else None
            name = f"picture at {index}" if raw is None else f"picture {shown(raw)}"
            origin = Origin(self._document.file, name)
            picture = self._picture(entry, own, origin)
            place = _Place(None, is_usable=False)
            if picture is not None:
                self._refuse_shared_id(key, picture, origin)
                place = self._place(picture, origin)
            if key is not None:
                self._places.setdefault(key, place)

    def _place(self, picture: Picture, origin: Origin) -> _Place:
        """The frame of a picture: a new one, unless the same file has one already."""
        file = (picture.shard, picture.file_name)
        if (first := self._by_file.get(file)) is not None:
            self._add(Breach(PICTURE_TWICE, picture.file_name), origin)
            return _Place(first, is_usable=False)
        self._by_file[file] = frame = _Frame(picture)
        return _Place(frame, is_usable=True)

    def _picture(self, entry: Any, picture_id: int, origin: Origin) -> Picture | None:
        if isinstance(entry, dict) and isinstance(entry.get(BREACH), Breach):
            self._add(entry[BREACH], origin)
            return None
        fields = entry if isinstance(entry, dict) else {}
        name, shard = text(fields.get("file_name")), fields.get("shard")
        width, height = _side_px(fields.get("width")), _side_px(fields.get("height"))
        if not name or width is None or height is None or (shard is not None and not text(shard)):
            detail = ", ".join(f"{each} {shown(fields.get(each))}" for each in _PICTURE_FIELDS)
            self._add(Breach(PICTURE_ENTRY, detail if fields else shown(entry)), origin)
            return None
        return Picture(
            id=picture_id,
            file_name=name,
            size_wh=(width, height),
            source=self._document.source,
            shard=shard,
            boxes_complete=fields.get("boxes_complete") in (None, True),
            people=(),
        )

    def _refuse_shared_id(self, key: Hashable, picture: Picture, origin: Origin) -> None:
        place = self._places.get(key) if key is not None else None
        if place is None or place.frame is None:
            return
        other = place.frame.picture
        if (other.shard, other.file_name) != (picture.shard, picture.file_name):
            raise DataError(
                f"{origin.entry} appears more than once: for {other.file_name} and for "
                f"{picture.file_name}"
            )

    def read_annotations(self) -> None:
        annotations, order = self._document.annotations, self._categories.order
        keys = [key_of(each.get("id")) if isinstance(each, dict) else None for each in annotations]
        self._note_text_ids()
        ids = numbered(keys)
        for index, entry in enumerate(annotations):
            if self._is_of_others(entry):
                self._others += 1
                continue
            self._people += 1
            annotation_id = None if keys[index] is None else ids[index]
            try:
                self._read_person(entry, annotation_id, order, index)
            except LeftOut as err:
                self._add(err.breach, self._document.origin(index))
                self._keep_region(entry, annotation_id)

    def _is_of_others(self, entry: Any) -> bool:
        return (
            isinstance(entry, dict) and key_of(entry.get("category_id")) in self._categories.others
        )

    def _read_person(self, entry: Any, annotation_id: int | None, order: Order, index: int) -> None:
        if not isinstance(entry, dict):
            raise LeftOut(ENTRY, f"is {shown(entry)}")
        if isinstance(entry.get(BREACH), Breach):
            raise LeftOut(*entry[BREACH])
        if key_of(entry.get("category_id")) not in self._categories.people:
            raise LeftOut(UNKNOWN_CATEGORY, f"category {shown(entry.get('category_id'))}")
        frame = self._frame_of(entry)
        person, repairs = read_person(entry, annotation_id=annotation_id, order=order)
        labels = _bytes_of(person)
        if labels in frame.seen:
            raise LeftOut(TWICE, f"picture {frame.picture.id}, {frame.picture.file_name}")
        frame.seen |= {labels, person.box_xyxy_px.tobytes()}
        frame.people.append(person)
        for breach in repairs:
            self._add(breach, self._document.origin(index))

    def _frame_of(self, entry: dict[str, Any]) -> _Frame:
        place = self._place_of(entry)
        name = f"picture {shown(entry.get('image_id'))}"
        if place is None:
            raise LeftOut(UNKNOWN_PICTURE, name)
        if place.frame is None or not place.is_usable:
            raise LeftOut(LOST_PICTURE, name)
        return place.frame

    def _place_of(self, entry: Any) -> _Place | None:
        key = key_of(entry.get("image_id")) if isinstance(entry, dict) else None
        return None if key is None else self._places.get(key)

    def _keep_region(self, entry: Any, annotation_id: int | None) -> None:
        """Let the box of what is left out be ignored, unless it is somebody's own."""
        place = self._place_of(entry)
        region = region_of(entry, annotation_id=annotation_id)
        if place is None or place.frame is None or region is None:
            return
        box = region.box_xyxy_px.tobytes()
        if box not in place.frame.seen:
            place.frame.seen.add(box)
            place.frame.people.append(region)

    def _note_text_ids(self) -> None:
        entries = (*self._document.images, *self._document.annotations)
        ids = [each.get("id") for each in entries if isinstance(each, dict)]
        others = [each for each in ids if each is not None and not isinstance(each, int)]
        if others:
            detail = f"{len(others)} ids, {shown(others[0])} first"
            self._add(Breach(TEXT_IDS, detail), Origin(self._document.file, "ids"))

    def result(self) -> Read:
        """The pictures with their people, and the record of the labels."""
        record = LabelRecord(faults=tuple(self._faults))
        source = self._document.source
        record.annotations[source] = self._people
        record.others[source] = self._others
        record.pictures[source] = len(self._document.images)
        return Read([_with_people(frame) for frame in self._by_file.values()], record)


def _side_px(value: object) -> int | None:
    """A picture's width or height; None if it is no number of at least a pixel."""
    side_px = number(value)
    return int(side_px) if side_px is not None and side_px >= 1 else None


def _bytes_of(person: Person) -> bytes:
    """A person's labels, to be compared."""
    arrays = (person.box_xyxy_px, person.keypoints_xy_px, person.visibility)
    return b"".join(each.tobytes() for each in arrays) + bytes([person.is_crowd])


def _with_people(frame: _Frame) -> Picture:
    return replace(frame.picture, people=tuple(frame.people))
