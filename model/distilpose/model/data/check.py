"""Check a data set; the rules are in `rules`, the pictures in `sheet`."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from distilpose.model.data.duplicates import Fingerprint, Twin, content_of, look_of, twins
from distilpose.model.data.labels.faults import LABEL_RULES, Fault, LabelRecord
from distilpose.model.data.people import PeopleFolder
from distilpose.model.data.person import Person, Picture
from distilpose.model.data.rules import (
    DUPLICATE,
    MISSING,
    RULES,
    UNREADABLE,
    Breach,
    Rule,
    person_breaches,
)
from distilpose.model.errors import DataError

_READER_THREADS: Final = 2
_SIZES_PX2: Final = {"small": 0, "medium": 32**2, "large": 96**2}
"""COCO's names for people's sizes, and the areas from which they count."""


@dataclass(frozen=True, eq=False)
class Finding:
    """A picture, or a person in it, that breaks a rule."""

    breach: Breach
    picture: Picture
    person: Person | None = None
    twin: Picture | None = None
    """The same picture in the other folder."""

    def to_json(self) -> dict[str, Any]:
        """Rule, picture and detail as values for `json.dumps`; people by their index, from 0."""
        index = next((i for i, each in enumerate(self.picture.people) if each is self.person), None)
        return {
            "rule": self.breach.rule.name,
            "source": self.picture.source,
            "picture": self.picture.id,
            "file_name": self.picture.file_name,
            "person": index,
            "annotation": self.person.annotation_id if self.person else None,
            "detail": self.breach.detail,
        }


class RuleResult(NamedTuple):
    """The number of times a rule is broken."""

    rule: Rule
    breaches: int
    total: int
    """The number of pictures or people that the rule applies to."""

    @property
    def share(self) -> float:
        """The share that breaks the rule, each counted once; 0 if there are none."""
        return self.breaches / max(self.total, 1)

    @property
    def is_tolerated(self) -> bool:
        """Return True if a data set with this share is still usable."""
        return self.share <= self.rule.tolerated_share


@dataclass(frozen=True, eq=False)
class Report:
    """The result of a check."""

    pictures: tuple[Picture, ...]
    rules: tuple[Rule, ...]
    """The rules that were checked; of the faults of labels those that were found."""
    findings: tuple[Finding, ...]
    labels: LabelRecord = field(default_factory=LabelRecord)
    """The count of the labels, with the faults that were found while they were read."""

    @property
    def people(self) -> list[Person]:
        """Everyone who is labelled, without those left out."""
        return [person for picture in self.pictures for person in _usable(picture)]

    @property
    def results(self) -> list[RuleResult]:
        """The result of each rule that was checked."""
        people = self.people
        totals = {
            "pictures": self.labels.pictures.total() or len(self.pictures),
            "annotations": self.labels.annotations.total(),
            "files": len(self.labels.pictures),
            "people": len(people),
            "people with keypoints": sum(person.has_keypoints for person in people),
        }
        counts = Counter(finding.breach.rule for finding in self.findings)
        counts.update(fault.breach.rule for fault in self.labels.faults)
        return [RuleResult(rule, counts[rule], totals[rule.of]) for rule in self.rules]

    @property
    def is_usable(self) -> bool:
        """Return True if no rule is broken more often than it tolerates."""
        return all(result.is_tolerated for result in self.results)

    def of(self, rule: Rule) -> list[Finding]:
        """Everything that breaks one rule."""
        return [finding for finding in self.findings if finding.breach.rule is rule]

    def faults_of(self, rule: Rule) -> list[Fault]:
        """The faults of labels that break one rule."""
        return [fault for fault in self.labels.faults if fault.breach.rule is rule]

    def people_table(self) -> list[list[str]]:
        """Return a header, and a row for each source: its pictures, and its people by label."""
        pictures = Counter(picture.source for picture in self.pictures)
        people = self.people_by_label()
        labels = sorted({label for _, label in people})
        rows = [
            [
                source,
                str(pictures[source]),
                *(str(people[source, label] or "-") for label in labels),
            ]
            for source in sorted(pictures)
        ]
        return [["source", "pictures", *labels], *rows]

    def points_table(self) -> list[list[str]]:
        """Return a header, and a row for each source.

        It counts people with keypoints, their points by visibility, and everyone by size. Sizes
        are COCO's, by the area of everyone who is not a crowd.
        """
        header = ["source", "people", "visible", "hidden", "unlabelled", *_SIZES_PX2]
        sources = sorted({picture.source for picture in self.pictures})
        return [header, *([source, *map(str, self._points(source))] for source in sources)]

    def _points(self, source: str) -> list[int]:
        pictures = [picture for picture in self.pictures if picture.source == source]
        people = [each for picture in pictures for each in _usable(picture) if not each.is_crowd]
        shown = [person.visibility for person in people if person.has_keypoints]
        flags = Counter(np.concatenate(shown).tolist() if shown else [])
        sizes = Counter(_size(person) for person in people)
        return [len(shown), flags[2], flags[1], flags[0], *(sizes[each] for each in _SIZES_PX2)]

    def summary(self) -> str:
        """The counts of pictures, people and other labels, in a sentence."""
        sizes = sorted((each.size_wh for each in self.pictures), key=lambda size: size[0] * size[1])
        of_sizes = " of {}x{} to {}x{} pixels".format(*sizes[0], *sizes[-1]) if sizes else ""
        others = self.labels.others.total()
        beside = f", beside {others} labels of other categories" if others else ""
        left_out = self.labels.left_out.total()
        faults = f"{left_out} labels left out" if self.labels.faults else "no fault in the labels"
        return (
            f"{len(self.pictures)} pictures{of_sizes} and {len(self.people)} people in "
            f"{', '.join(sorted(self.labels.pictures))}{beside}; {faults}."
        )

    def rules_table(self) -> list[list[str]]:
        """Return a header, and a row for each checked rule: how often it is broken."""
        rows = [
            [
                result.rule.name,
                str(result.breaches),
                f"{result.total} {result.rule.of}",
                f"{result.share:.2%}",
                f"{result.rule.tolerated_share:.1%}",
                "ok" if result.is_tolerated else "WRONG",
            ]
            for result in self.results
        ]
        return [["rule", "broken", "of", "share", "tolerated", ""], *rows]

    def write_json(self, path: Path) -> None:
        """Write all findings as a list of objects."""
        findings = [finding.to_json() for finding in self.findings]
        findings += [fault.to_json() for fault in self.labels.faults]
        path.write_text(json.dumps(findings, indent=2) + "\n")

    def people_by_label(self) -> Counter[tuple[str, str]]:
        """People counted by source and label; crowds are their own label."""
        return Counter(
            (picture.source, "crowd" if person.is_crowd else person.label)
            for picture in self.pictures
            for person in _usable(picture)
        )


def check(
    people_folder: PeopleFolder,
    *,
    against: PeopleFolder | None = None,
    decode: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Find the errors of a folder, and the pictures that it shares with `against`.

    Every picture's bytes are read. With `decode` they are also decoded, which finds broken pictures
    and recognises rescaled or recompressed copies by their look. `on_progress` receives the number
    of pictures done and the total, of both folders.
    """
    folders = [people_folder] if against is None else [people_folder, against]
    total = sum(len(folder.pictures) for folder in folders)
    inspected: list[_Inspected] = []
    with ThreadPoolExecutor(_READER_THREADS) as readers:
        for folder in folders:
            for each in readers.map(partial(_inspect, folder, decode), folder.pictures):
                inspected.append(each)
                on_progress(len(inspected), total)
    ones, others = (
        inspected[: len(people_folder.pictures)],
        inspected[len(people_folder.pictures) :],
    )
    findings = [Finding(one.breach, one.fingerprint.picture) for one in ones if one.breach]
    found = twins([one.fingerprint for one in ones], [other.fingerprint for other in others])
    findings += [_duplicate(twin) for twin in found]
    findings += _label_findings(people_folder.pictures)
    skipped = {UNREADABLE: not decode, DUPLICATE: against is None}
    labels = people_folder.labels
    faulty = {fault.breach.rule for fault in labels.faults}
    rules = [rule for rule in RULES if not skipped.get(rule)]
    rules += [rule for rule in LABEL_RULES if rule in faulty]
    return Report(tuple(people_folder.pictures), tuple(rules), tuple(findings), labels)


class _Inspected(NamedTuple):
    fingerprint: Fingerprint
    breach: Breach | None


def _inspect(people_folder: PeopleFolder, decode: bool, picture: Picture) -> _Inspected:
    try:
        content = content_of(people_folder.encoded(picture))
    except DataError as err:
        return _Inspected(Fingerprint(picture), Breach(MISSING, str(err)))
    if not decode:
        return _Inspected(Fingerprint(picture, content), None)
    try:
        look = look_of(people_folder.read(picture))
    except DataError as err:
        return _Inspected(Fingerprint(picture, content), Breach(UNREADABLE, str(err)))
    return _Inspected(Fingerprint(picture, content, look), None)


def _duplicate(twin: Twin) -> Finding:
    detail = f"{twin.by}: {twin.other.file_name}"
    return Finding(Breach(DUPLICATE, detail), twin.picture, twin=twin.other)


def _label_findings(pictures: Sequence[Picture]) -> list[Finding]:
    return [
        Finding(breach, picture, person)
        for picture in pictures
        for person in _usable(picture)
        for breach in person_breaches(person, picture.size_wh)
    ]


def _usable(picture: Picture) -> list[Person]:
    """The people of a picture, without regions to ignore in place of people left out."""
    return [person for person in picture.people if not person.is_left_out]


def _size(person: Person) -> str:
    return next(name for name in reversed(_SIZES_PX2) if person.area_px2 >= _SIZES_PX2[name])
