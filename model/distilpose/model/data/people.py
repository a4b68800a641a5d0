"""Read the labelled people of a folder, with loose pictures or tar shards; knows no networks.

`labels.layouts` has the forms of folder that are read. Fields beyond COCO's (`label`,
`keypoint_weight`, `boxes_complete`) are kept if present.
"""

import copy
import gzip
import json
import re
import tarfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from distilpose.model import pictures
from distilpose.model.arrays import ImageHWC
from distilpose.model.data.labels import yolo
from distilpose.model.data.labels.document import Document, as_document
from distilpose.model.data.labels.faults import (
    LOST_PICTURE,
    PICTURE_TWICE,
    SHARED_IDS,
    Fault,
    Origin,
    joined,
)
from distilpose.model.data.labels.layouts import (
    LabelFile,
    Layout,
    candidates,
    find_labels,
    is_file,
    of_sources,
)
from distilpose.model.data.labels.reading import Read, read_document
from distilpose.model.data.person import Person, Picture
from distilpose.model.data.rules import Breach
from distilpose.model.errors import DataError, PictureError
from distilpose.model.skeleton import PERSON_CATEGORY_ID

_COCO_NAME: Final = re.compile(r"(?:^|_)(\d{12})\.")
_ID_STEP: Final = 1_000_000
"""A multiple of `held_out.HOLDOUT_EVERY`, so that the same pictures are held out."""


class _Span(NamedTuple):
    """The position of a member's bytes in its tar file."""

    offset_bytes: int
    size_bytes: int


class PeopleFolder:
    """The pictures of a folder, in the order of its annotation files; thread-safe for reading.

    Labels that are wrong are repaired or left out, as `labels` records: the box of what is left
    out is a region to ignore.

    Raises:
        DataError: on construction, naming the file, if the folder has no annotation file or several
            layouts of which none is chosen, a file is broken, is not COCO keypoints or would be
            left out for more than half, or a shard is missing or broken.

    """

    def __init__(
        self,
        folder: Path,
        *,
        sources: Collection[str] | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.folder = folder
        found = find_labels(folder, layout)
        self.layout = found.layout
        files = of_sources(folder, found.files, sources)
        self._picture_folders = {file.source: file.picture_folders for file in files}
        reads = _with_own_ids([_read(folder, file, found.layout) for file in files])
        self.pictures = [picture for read in reads for picture in read.pictures]
        self.labels = joined([read.record for read in reads])
        """The count of the labels, and every fault in them."""
        if len(files) > 1:
            self._leave_out_pictures_of_earlier_files()
        shards = {picture.shard for picture in self.pictures if picture.shard is not None}
        self._spans = {shard: _index_shard(folder / shard) for shard in sorted(shards)}

    def by_source(self) -> list["PeopleFolder"]:
        """The folder once for each annotation file, by its name, with the pictures of that file."""
        parts = []
        for source in sorted({picture.source for picture in self.pictures}):
            part = copy.copy(self)
            part.pictures = [picture for picture in self.pictures if picture.source == source]
            part.labels = self.labels.of(source)
            parts.append(part)
        return parts

    def read(self, picture: Picture) -> ImageHWC:
        """RGB uint8 (H, W, 3) of one picture, after EXIF orientation.

        Raises:
            DataError: naming the picture, if it is missing, cannot be decoded, or does not have
                the size given by its annotations, so that their coordinates would not match.

        """
        try:
            image = pictures.read(self.encoded(picture))
        except (PictureError, OSError) as err:
            raise DataError(f"{picture.file_name}: {err}") from err
        size_wh = (image.shape[1], image.shape[0])
        if size_wh != picture.size_wh:
            raise DataError(
                f"{picture.file_name}: is {size_wh[0]}x{size_wh[1]}, "
                f"its annotations say {picture.size_wh[0]}x{picture.size_wh[1]}"
            )
        return image

    def encoded(self, picture: Picture) -> bytes:
        """The encoded bytes of a picture's file.

        Raises:
            DataError: its shard does not hold it.
            OSError: it cannot be read.
        """
        if picture.shard is None:
            return self._loose_file(picture).read_bytes()
        span = self._spans[picture.shard].get(picture.file_name)
        if span is None:
            raise DataError(f"{self.folder / picture.shard}: has no member {picture.file_name}")
        with (self.folder / picture.shard).open("rb") as shard:
            shard.seek(span.offset_bytes)
            return shard.read(span.size_bytes)

    def _loose_file(self, picture: Picture) -> Path:
        places = candidates(self._picture_folders[picture.source], picture.file_name)
        for path in places:
            if is_file(path):
                return path
        looked = ", ".join(map(str, places))
        raise DataError(f"{self.folder}: has no picture {picture.file_name}: looked for {looked}")

    def _leave_out_pictures_of_earlier_files(self) -> None:
        """Leave out pictures that an earlier annotation file has too, with their people."""
        first: dict[object, Picture] = {}
        kept, faults = [], []
        for picture in self.pictures:
            earlier = first.setdefault(self._place_of(picture), picture)
            if earlier.source == picture.source:
                kept.append(picture)
                continue
            faults += _faults_of_twin(picture, earlier)
        self.pictures = kept
        self.labels = self.labels.with_faults(faults)
        try:
            self.labels.refuse_if_mostly_left_out()
        except DataError as err:
            raise DataError(f"{self.folder}: {err}") from err

    def _place_of(self, picture: Picture) -> object:
        """A key that is the same for pictures at the same place."""
        if picture.shard is not None:
            return picture.shard, picture.file_name
        try:
            return self._loose_file(picture)
        except DataError:
            return picture.source, picture.id  # a missing one is reported when it is read


def coco_document(pictures: Sequence[Picture]) -> dict[str, Any]:
    """A COCO keypoints document of the pictures and everyone in them, annotation ids from 1.

    People without keypoints enter with 51 zeros, which COCO's evaluation ignores.
    """
    people = [(picture.id, person) for picture in pictures for person in picture.people]
    return {
        "images": [{"id": picture.id} for picture in pictures],
        "categories": [{"id": PERSON_CATEGORY_ID, "name": "person"}],
        "annotations": [
            {"id": number, "image_id": picture_id, **_annotation(person)}
            for number, (picture_id, person) in enumerate(people, start=1)
        ],
    }


def coco_ids(pictures: Sequence[Picture]) -> list[int]:
    """COCO's own ids of the pictures whose file names carry them, in ascending order."""
    matches = (_COCO_NAME.search(picture.file_name) for picture in pictures)
    return sorted(int(match[1]) for match in matches if match)


def _read(folder: Path, file: LabelFile, layout: Layout) -> Read:
    document = yolo.read_split(folder, file) if layout == "yolo" else _document(folder, file)
    try:
        return read_document(document)
    except DataError as err:
        split = f", {file.source}" if layout == "yolo" else ""
        raise DataError(f"{file.path}{split}: {err}") from err


def _document(folder: Path, file: LabelFile) -> Document:
    path = file.path
    try:
        data = path.read_bytes()
        content = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as err:
        raise DataError(f"{path}: cannot be read as JSON: {err}") from err
    try:
        return as_document(content, source=file.source, file=str(path.relative_to(folder)))
    except DataError as err:
        raise DataError(f"{path}: is not COCO keypoints: {err}") from err


def _with_own_ids(reads: Sequence[Read]) -> list[Read]:
    """Reads in which no two pictures share an id: those of a later file are raised."""
    taken: set[int] = set()
    found = []
    for read in reads:
        ids = {picture.id for picture in read.pictures}
        if taken & ids:
            read = _raised(read, by=_ID_STEP * (1 + max(taken) // _ID_STEP))  # noqa: PLW2901
        taken |= {picture.id for picture in read.pictures}
        found.append(read)
    return found


def _raised(read: Read, *, by: int) -> Read:
    raised = [replace(picture, id=picture.id + by) for picture in read.pictures]
    source = read.pictures[0].source
    breach = Breach(SHARED_IDS, f"{by:,} is added to the ids of {len(raised)} pictures of {source}")
    fault = Fault(breach, source, Origin(source, "pictures"))
    return Read(raised, read.record.with_faults([fault]))


def _faults_of_twin(picture: Picture, earlier: Picture) -> list[Fault]:
    detail = f"{picture.file_name} is in {earlier.source} too"
    lost = Fault(
        Breach(PICTURE_TWICE, detail),
        picture.source,
        Origin(picture.source, f"picture {picture.id}"),
    )
    people = [person for person in picture.people if not person.is_left_out]
    return [
        lost,
        *(
            Fault(
                Breach(LOST_PICTURE, detail),
                picture.source,
                Origin(picture.source, f"annotation {person.annotation_id}"),
            )
            for person in people
        ),
    ]


def _annotation(person: Person) -> dict[str, Any]:
    x1, y1, x2, y2 = person.box_xyxy_px.tolist()
    return {
        "category_id": PERSON_CATEGORY_ID,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": person.area_px2,
        "iscrowd": int(person.is_crowd),
        "keypoints": np.column_stack([person.keypoints_xy_px, person.visibility]).ravel().tolist(),
        "num_keypoints": int(np.count_nonzero(person.visibility)),
    }


def _index_shard(path: Path) -> dict[str, _Span]:
    try:
        with tarfile.open(path, "r:") as shard:
            return {
                member.name: _Span(member.offset_data, member.size)
                for member in shard
                if member.isfile()
            }
    except (OSError, tarfile.TarError) as err:
        raise DataError(f"{path}: cannot be read as a tar file: {err}") from err
