"""Drawings of `distilpose predict`: their paths, and the files that they never replace."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distilpose.cli import main
from photos import photo, photo_path


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def photos(folder: Path, *names: str) -> Path:
    """Empty files: refusals happen before the photos are read."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_drawing_keeps_the_path_and_the_name_of_its_photo(tmp_path: Path) -> None:
    for name in ("a/x.jpg", "b/x.jpg", "b/x.png", "x.JPEG"):
        photos(tmp_path / "in", name)
        (tmp_path / "in" / name).write_bytes(photo("zidane.jpg"))
    done = predict(tmp_path / "in", photo_path("bus.jpg"), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    drawn = files_in(tmp_path / "out")
    assert sorted(drawn) == ["a/x.jpg", "b/x.jpg", "b/x.png.jpg", "bus.jpg", "x.JPEG"]
    assert all(data.startswith(b"\xff\xd8\xff") for data in drawn.values())


@pytest.mark.parametrize("out", ["in", "in/deeper", "link"])
def test_a_photo_is_never_replaced_by_a_drawing(tmp_path: Path, out: str) -> None:
    photos(tmp_path / "in", "x.jpg", "deeper/x.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    before = files_in(tmp_path)
    done = predict(tmp_path / "in", "--out", tmp_path / out)
    assert done.exit_code == 2
    assert "x.jpg would replace the photo" in done.stderr
    assert files_in(tmp_path) == before


def test_two_photos_that_would_share_a_drawing_are_both_named(tmp_path: Path) -> None:
    first, second = photos(tmp_path / "a", "x.jpg"), photos(tmp_path / "b", "x.jpg")
    done = predict(first, second, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert f"{first / 'x.jpg'} and {second / 'x.jpg'} would both be drawn as" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_photo_that_is_given_twice_is_drawn_once(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", "x.jpg")
    done = predict(folder, folder / "x.jpg", "--out", tmp_path / "out")
    assert len(done.stdout.splitlines()) == 2


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    done = predict(photos(tmp_path, "x.jpg"), "--out", tmp_path / "x.jpg" / "out")
    assert done.exit_code == 2
    assert "x.jpg is not a folder" in done.stderr


def test_a_drawing_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out" / "bus.jpg").mkdir(parents=True)
    done = predict(photo_path("bus.jpg"), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr == f"Error: {tmp_path}/out/bus.jpg: Is a directory\n"


def test_as_many_people_are_kept_as_asked_for() -> None:
    done = predict(photo_path("bus.jpg"), "--max-people", 1)
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout)
    assert (len(line["poses"]), line["people_found"]) == (1, 4)


def test_nobody_cannot_be_asked_for(tmp_path: Path) -> None:
    done = predict(photos(tmp_path, "x.jpg"), "--max-people", 0)
    assert done.exit_code == 2
    assert "'--max-people': 0 is not in the range x>=1" in done.stderr
