"""An evaluation in pictures: people as labelled and as found, the worst first, and a table of them.

Knows no network.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from distilpose.model.arrays import ImageHWC
from distilpose.model.data.people import PeopleFolder
from distilpose.model.drawing import skeletons
from distilpose.model.drawing.encode import encode
from distilpose.model.measure.evaluate import PersonResult, Report

WORST: Final = 20
"""So many of the worst people are drawn."""
AT_RANDOM: Final = 10
TABLE: Final = "worst.csv"
_COLUMNS: Final = (
    "rank",
    "annotation_id",
    "picture_id",
    "picture_file",
    "oks",
    "labelled_keypoints",
    "box_width_px",
    "box_height_px",
    "box_found",
    "drawn",
)


def write(people_folder: PeopleFolder, report: Report, folder: Path) -> None:
    """Draw the worst people into an empty folder, with a table and a sheet of them; some at random.

    The folder is out of git's sight: pictures of a data set are not ours to publish.

    Raises:
        DataError: a picture cannot be read.
    """
    (folder / ".gitignore").write_text("*\n")
    worst = report.worst(WORST)
    rows = []
    for rank, result in enumerate(worst, start=1):
        name = _file_name(rank, result)
        (folder / name).write_bytes(encode(sheet(people_folder, [result]), "png"))
        rows.append((rank, *_facts(result), name))
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
    for name, results in (("worst", worst), ("random", report.at_random(AT_RANDOM))):
        (folder / f"{name}.png").write_bytes(encode(sheet(people_folder, results), "png"))


def sheet(people_folder: PeopleFolder, results: Sequence[PersonResult]) -> ImageHWC:
    """A contact sheet of people as labelled and as found, each with its OKS.

    Raises:
        DataError: if a picture cannot be read.
        ArrayError: if `results` is empty.

    """
    tiles = [
        skeletons.person_tile(
            people_folder.read(result.picture),
            result.pose,
            box_xyxy_px=result.person.box_xyxy_px,
            truth_xy_px=result.person.keypoints_xy_px,
            labelled=result.person.visibility > 0,
            caption=f"OKS {result.oks:.2f}  picture {result.picture.id}",
        )
        for result in results
    ]
    return skeletons.contact_sheet(tiles)


def _file_name(rank: int, result: PersonResult) -> str:
    number = result.person.annotation_id
    annotation = "without-id" if number is None else f"annotation-{number}"
    return f"{rank:02}-{annotation}-oks-{result.oks:.2f}.png"


def _facts(result: PersonResult) -> tuple[object, ...]:
    """The columns of one person, but for the first and the last."""
    person, picture = result.person, result.picture
    width_px, height_px = (person.box_xyxy_px[2:] - person.box_xyxy_px[:2]).tolist()
    return (
        person.annotation_id,
        picture.id,
        picture.file_name,
        f"{result.oks:.3f}",
        int((person.visibility > 0).sum()),
        f"{width_px:.0f}",
        f"{height_px:.0f}",
        {True: "yes", False: "no", None: "given"}[result.has_box],
    )
