"""A folder of photos to a file of labels, by the packaged networks."""

from pathlib import Path

import pytest

from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.train.label.folder import label_folder
from photos import photo


def test_people_are_written_and_counted_as_they_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "bus.jpg").write_bytes(photo("bus.jpg"))
    (tmp_path / "broken.jpg").write_bytes(photo("bus.jpg")[:9000])
    done: list[tuple[int, int]] = []
    written = label_folder(
        tmp_path,
        tmp_path / "labels.json.gz",
        weights=None,
        device="cpu",
        min_box_score=0.5,
        recursive=False,
        on_progress=lambda count, total: done.append((count, total)),
    )
    [picture] = PeopleFolder(tmp_path).pictures
    labels = [person.label for person in picture.people]
    assert labels.count("pseudo") == written.with_keypoints == 3
    assert labels.count("box") == written.without_keypoints
    assert labels.count("doubtful") == written.doubtful
    assert [name for name in written.labelled.left_out if "broken.jpg" in name]
    assert done == [(1, 2), (2, 2)]


def test_a_folder_without_photos_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file with the suffix of a picture"):
        label_folder(
            tmp_path,
            tmp_path / "labels.json.gz",
            weights=None,
            device="cpu",
            min_box_score=0.5,
            recursive=True,
        )
    assert not list(tmp_path.iterdir())
