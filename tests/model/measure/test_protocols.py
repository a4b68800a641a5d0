from pathlib import Path

import pytest

from distilpose.model.errors import DataError
from distilpose.model.measure.protocols import PLAIN, PROTOCOLS, evaluate_sources
from knowing import Knowing
from labelled import FRONTAL, person, picture, write_folder


def test_each_protocol_has_a_row_of_its_own() -> None:
    cases = [protocol.case for protocol in PROTOCOLS]
    assert cases[0] == "ground-truth boxes, flip test"
    assert len(set(cases)) == len(PROTOCOLS) == 4


def test_each_source_has_a_report_of_its_pictures(tmp_path: Path) -> None:
    for first, source in ((1, "sport"), (3, "coco")):
        ids = (first, first + 1)
        people = [person(each, FRONTAL) for each in ids]
        write_folder(tmp_path, [picture(each) for each in ids], people, source=source)
    progress: list[tuple[int, int]] = []

    reports = evaluate_sources(
        Knowing(),
        tmp_path,
        PLAIN,
        on_progress=lambda done, total: progress.append((done, total)),
    )

    assert [report.sources for report in reports] == [["coco"], ["sport"]]
    assert [[each.id for each in report.pictures] for report in reports] == [[3, 4], [1, 2]]
    assert not any(report.flip_test for report in reports)
    assert progress == [(1, 2), (2, 2), (1, 2), (2, 2)]


def test_a_source_in_which_nobody_has_keypoints_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, [picture(1)], [person(1)])
    with pytest.raises(DataError, match="nobody in 1 pictures has keypoints"):
        evaluate_sources(Knowing(), tmp_path, PLAIN, on_progress=print)
