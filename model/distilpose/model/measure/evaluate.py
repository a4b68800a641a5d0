"""Scores a predictor on labelled people: COCO's AP and AR, PCK and OKS, and the protocol of each.

Each picture is predicted once and ranked twice. `published` ranks as the DistilPose authors do, by
raw scores and after OKS suppression; `served` ranks the poses as the service answers them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from distilpose.model import similarity
from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.data.labels.faults import LabelRecord
from distilpose.model.data.people import PeopleFolder, coco_document, coco_ids
from distilpose.model.data.person import Person, Picture
from distilpose.model.errors import DataError
from distilpose.model.geometry import crop_regions
from distilpose.model.measure import accuracy, box_recall
from distilpose.model.measure.accuracy import CocoFigures
from distilpose.model.measure.box_recall import BoxRecall
from distilpose.model.poses.coco import coco_result
from distilpose.model.poses.pose import Pose
from distilpose.model.predict import Predictor
from distilpose.model.skeleton import KEYPOINT_COUNT, PERSON_CATEGORY_ID

BoxesFrom: TypeAlias = Literal["ground-truth", "detector"]

MIN_BOX_SCORE: Final = 0.01
"""Detector boxes below are not evaluated, by default: AP wants the unlikely people too."""
_SIZES: Final = (
    "a pose that matches nobody has the size of its keypoints' extent in the published ranking, of "
    "its box in the served one"
)
_READER_THREADS: Final = 2
_PICTURES_AHEAD: Final = 8


@dataclass(frozen=True, eq=False)
class PersonResult:
    """One person with labelled keypoints and what was found of them."""

    picture: Picture
    person: Person
    pose: Pose | None
    oks: float
    """0 where nothing was found."""
    has_box: bool | None = None
    """True if a box of the detector is theirs alone; None where boxes are the ground truth."""


@dataclass(frozen=True, eq=False)
class Report:
    """Figures of one evaluation with the protocol that they were made by."""

    boxes: BoxesFrom
    flip_test: bool
    pictures: tuple[Picture, ...]
    results: tuple[PersonResult, ...]
    published: CocoFigures
    served: CocoFigures
    mean_oks: float
    pck: float | None
    min_box_score: float = MIN_BOX_SCORE
    """Detector boxes below were not evaluated."""
    labels: LabelRecord = field(default_factory=LabelRecord)
    """The faults of the labels, of the whole folder."""

    @property
    def box_recall(self) -> dict[str, BoxRecall]:
        """By size of the people, `all` first; empty where boxes are the ground truth."""
        if self.boxes == "ground-truth":
            return {}
        areas_px2 = [result.person.area_px2 for result in self.results]
        found = [bool(result.has_box) for result in self.results]
        return box_recall.recall_by_size(areas_px2, found)

    @property
    def sources(self) -> list[str]:
        """The annotation files that the pictures came from, by stem."""
        return sorted({picture.source for picture in self.pictures})

    def protocol(self) -> list[str]:
        """The measuring of the figures in sentences, to be shown beside them."""
        labelled = len(self.results)
        ignored = sum(len(picture.people) for picture in self.pictures) - labelled
        pictures = f"{len(self.pictures)} pictures of {', '.join(self.sources)}"
        boxes = (
            "ground truth, box score 1"
            if self.boxes == "ground-truth"
            else f"the detector's, from score {self.min_box_score:g}"
        )
        published = (
            f"box score x mean of raw keypoint scores above {accuracy.SURE_RAW_SCORE}, "
            f"without poses of OKS above {similarity.DUPLICATE_OKS} to a better one"
        )
        pck = "share of the distance from left shoulder to right hip, where both are labelled"
        recall = [box_recall.protocol(self.min_box_score)] if self.box_recall else []
        return [
            f"People: {labelled} with keypoints in {pictures}; {ignored} others are ignored.",
            *self.labels.notes(),
            f"Boxes: {boxes}.",
            *recall,
            f"Flip test: {'on' if self.flip_test else 'off'}.",
            f"Ranking published: {published}.",
            "Ranking served: the entries that the service answers with format=coco.",
            f"AP-M and AP-L: {_SIZES}.",
            f"PCK@{similarity.PCK_FRACTION}: {pck}.",
            "PCK and mean OKS count people who were not found as wrong.",
        ]

    def worst(self, count: int) -> list[PersonResult]:
        """The people of least OKS, worst first."""
        return sorted(self.results, key=lambda result: result.oks)[:count]

    def at_random(self, count: int) -> list[PersonResult]:
        """People drawn without preference, the same each time."""
        order = np.random.default_rng(0).permutation(len(self.results))
        return [self.results[index] for index in order[:count]]

    def to_json(self) -> dict[str, Any]:
        """Protocol and figures as `json.dumps` takes them; figures 0..1, None where undefined."""
        return {
            "protocol": self.protocol(),
            "boxes": self.boxes,
            "min_box_score": None if self.boxes == "ground-truth" else self.min_box_score,
            "box_recall": {size: each.to_json() for size, each in self.box_recall.items()},
            "flip_test": self.flip_test,
            "sources": self.sources,
            "pictures": len(self.pictures),
            "people": len(self.results),
            "left_out": {rule.name: count for rule, count in self.labels.left_out.items()},
            "repaired": {rule.name: count for rule, count in self.labels.repaired.items()},
            "published": asdict(self.published),
            "served": asdict(self.served),
            "mean_oks": self.mean_oks,
            "pck": self.pck,
            "coco_ids": coco_ids(self.pictures),
        }


def evaluate(
    predictor: Predictor,
    people_folder: PeopleFolder,
    *,
    boxes: BoxesFrom = "ground-truth",
    min_box_score: float = MIN_BOX_SCORE,
    flip_test: bool = False,
    limit: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """The report on a folder's pictures, or its first `limit`.

    Detector boxes count from `min_box_score`. `on_progress` gets pictures done and pictures in
    all after each one.

    Raises:
        DataError: if nobody has keypoints, a picture cannot be read, or faster-coco-eval is not
            installed.
        ConfigError: if boxes are the detector's and the predictor has none.

    """
    pictures = people_folder.pictures[:limit]
    if not any(_labelled(picture) for picture in pictures):
        raise DataError(f"{people_folder.folder}: nobody in {len(pictures)} pictures has keypoints")
    poses_by_picture: list[list[Pose]] = []
    results: list[PersonResult] = []
    for picture, image in _read_ahead(people_folder, pictures):
        box_array, box_scores = _boxes(predictor, picture, image, boxes, min_box_score)
        poses = predictor.poses(image, box_array, box_scores, flip_test=flip_test)
        poses_by_picture.append(poses)
        results += _person_results(picture, poses, one_for_one=boxes == "ground-truth")
        on_progress(len(poses_by_picture), len(pictures))
    ground_truth = coco_document(pictures)
    published, served = (
        accuracy.coco_figures(ground_truth, entries(pictures, poses_by_picture))
        for entries in (_published_entries, _served_entries)
    )
    return Report(
        boxes=boxes,
        flip_test=flip_test,
        pictures=tuple(pictures),
        results=tuple(results),
        published=published,
        served=served,
        mean_oks=float(np.mean([result.oks for result in results])),
        pck=_pck(results),
        min_box_score=min_box_score,
        labels=people_folder.labels,
    )


def _labelled(picture: Picture) -> list[Person]:
    return [person for person in picture.people if person.can_be_measured]


def _read_ahead(
    people_folder: PeopleFolder, pictures: Sequence[Picture]
) -> Iterator[tuple[Picture, ImageHWC]]:
    """Each picture with its pixels, while the next ones are being read."""
    waiting: deque[tuple[Picture, Future[ImageHWC]]] = deque()
    with ThreadPoolExecutor(_READER_THREADS) as readers:
        for picture in pictures:
            waiting.append((picture, readers.submit(people_folder.read, picture)))
            if len(waiting) > _PICTURES_AHEAD:
                ready, future = waiting.popleft()
                yield ready, future.result()
        for ready, future in waiting:
            yield ready, future.result()


def _boxes(
    predictor: Predictor,
    picture: Picture,
    image: ImageHWC,
    boxes: BoxesFrom,
    min_box_score: float,
) -> tuple[FloatArray, FloatArray]:
    if boxes == "detector":
        (detections,) = predictor.detect([image], min_box_score=min_box_score)
        return detections.boxes_xyxy_px, detections.scores
    people = _labelled(picture)
    array = np.array([person.box_xyxy_px for person in people], np.float32).reshape(-1, 4)
    return array, np.ones(len(people), np.float32)


def _person_results(
    picture: Picture, poses: Sequence[Pose], *, one_for_one: bool
) -> list[PersonResult]:
    people = _labelled(picture)
    found_NK2 = np.array([pose.keypoints_xy_px for pose in poses]).reshape(-1, KEYPOINT_COUNT, 2)
    oks_of = np.zeros((len(people), len(poses)))
    for row, person in enumerate(people):
        oks_of[row] = similarity.oks(
            found_NK2,
            person.keypoints_xy_px,
            area_px2=person.area_px2,
            counted=person.visibility > 0,
        )
    matches = list(range(len(people))) if one_for_one else similarity.match_people(oks_of)
    have_box = [None] * len(people) if one_for_one else _have_box(people, poses)
    return [
        PersonResult(picture, person, None, 0.0, has_box)
        if match is None
        else PersonResult(picture, person, poses[match], float(oks_of[row, match]), has_box)
        for row, (person, match, has_box) in enumerate(zip(people, matches, have_box, strict=True))
    ]


def _have_box(people: Sequence[Person], poses: Sequence[Pose]) -> list[bool]:
    theirs, found = (
        np.array([each.box_xyxy_px for each in group], np.float32).reshape(-1, 4)
        for group in (people, poses)
    )
    return box_recall.have_box(theirs, found)


def _rank_published(poses: Sequence[Pose]) -> list[tuple[Pose, float]]:
    """Those of a picture's poses that count, each with the score it is ranked by."""
    if not poses:
        return []
    scores = [accuracy.published_score(each.raw_score, box_score=each.box_score) for each in poses]
    regions = crop_regions(np.array([pose.box_xyxy_px for pose in poses]))
    kept = similarity.suppress_duplicates(
        np.array([pose.keypoints_xy_px for pose in poses]),
        np.array(scores),
        regions.sizes_wh_px.prod(axis=1),
    )
    return [(poses[index], scores[index]) for index in kept]


def _served_entries(
    pictures: Sequence[Picture], poses_by_picture: Sequence[Sequence[Pose]]
) -> list[dict[str, Any]]:
    """The entries that the service gives with `format=coco`."""
    return [
        coco_result(pose, picture.id)
        for picture, poses in zip(pictures, poses_by_picture, strict=True)
        for pose in poses
    ]


def _published_entries(
    pictures: Sequence[Picture], poses_by_picture: Sequence[Sequence[Pose]]
) -> list[dict[str, Any]]:
    """Without `bbox`, as the DistilPose authors' code writes them."""
    return [
        {
            "image_id": picture.id,
            "category_id": PERSON_CATEGORY_ID,
            "keypoints": np.column_stack([pose.keypoints_xy_px, pose.raw_score]).ravel().tolist(),
            "score": score,
        }
        for picture, poses in zip(pictures, poses_by_picture, strict=True)
        for pose, score in _rank_published(poses)
    ]


def _pck(results: Sequence[PersonResult]) -> float | None:
    lost = np.full((KEYPOINT_COUNT, 2), np.nan, np.float32)
    found = [result.pose.keypoints_xy_px if result.pose is not None else lost for result in results]
    return similarity.pck(
        np.array(found),
        np.array([result.person.keypoints_xy_px for result in results]),
        np.array([result.person.visibility > 0 for result in results]),
    )
