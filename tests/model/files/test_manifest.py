"""The list of what earlier runs wrote into a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distilpose.model.files import UNFINISHED
from distilpose.model.files.manifest import NAME, Manifest, Mark, without_outputs

BY = "predict --out"


def written(folder: Path, name: str, by: str = BY) -> Path:
    """A file that a run has written."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"ours")
    mark = Mark.of(path, by)
    assert mark
    Manifest(folder).add(path, mark)
    return path


def test_a_file_is_ours_while_it_is_as_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path, "deep/x.jpg")
    assert Manifest(tmp_path).wrote(path, BY)
    assert not Manifest(tmp_path).wrote(path, "stream --out")
    assert not Manifest(tmp_path).wrote(tmp_path / "other", BY)
    os.utime(path, ns=(0, 0))
    assert not Manifest(tmp_path).wrote(path, BY)


def test_a_file_that_was_written_again_is_ours_as_it_is_now(tmp_path: Path) -> None:
    written(tmp_path, "x.jpg")
    path = tmp_path / "x.jpg"
    path.write_bytes(b"longer than before")
    assert not Manifest(tmp_path).wrote(path, BY)
    written(tmp_path, "x.jpg")
    assert Manifest(tmp_path).wrote(path, BY)


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0" * 100, b"{}\n[1]\nnull\n", b"\xff\xfe{", b"[" * 100_000, b'{"file": 3, "by": 1}'],
)
def test_a_damaged_manifest_names_nothing_and_takes_new_lines(
    tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / NAME).write_bytes(damage)
    assert list(Manifest(tmp_path).files()) == []
    path = written(tmp_path, "x.jpg")
    assert list(Manifest(tmp_path).files()) == [path]


def test_a_torn_last_line_costs_no_other(tmp_path: Path) -> None:
    first = written(tmp_path, "a.jpg")
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"file": "b.j')
    assert set(Manifest(tmp_path).files()) == {first}
    second = written(tmp_path, "c.jpg")
    assert set(Manifest(tmp_path).files()) == {first, second}


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_something_else_in_its_place_is_left_alone(tmp_path: Path, kind: str) -> None:
    other, place = tmp_path / "notes.txt", tmp_path / "out" / NAME
    other.write_text("mine")
    place.parent.mkdir()
    if kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to(other)
    else:
        os.mkfifo(place)
    path = written(tmp_path / "out", "x.jpg")
    assert not Manifest(path.parent).wrote(path, BY)
    assert other.read_text() == "mine"


def test_old_lines_are_removed_one_day(tmp_path: Path) -> None:
    first = written(tmp_path, "first.jpg")
    for _ in range(2):
        path = tmp_path / "x.jpg"
        path.write_bytes(b"ours")
        manifest, mark = Manifest(tmp_path), Mark.of(path, BY)
        assert mark
        for _ in range(210):
            manifest.add(path, mark)
    lines = (tmp_path / NAME).read_text().splitlines()
    assert len(lines) < 230
    assert {json.loads(line)["file"] for line in lines} == {"first.jpg", "x.jpg"}
    assert Manifest(tmp_path).wrote(first, BY)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "first.jpg", "x.jpg"]


_ADDS = """
import sys
from pathlib import Path
from distilpose.model.files.manifest import Manifest, Mark
folder, name = Path(sys.argv[1]), sys.argv[2]
manifest = Manifest(folder)
for number in range(300):
    manifest.add(folder / f"{name}-{number % 20}", Mark(name, number, number))
    if number % 100 == 99:
        manifest = Manifest(folder)
"""


def test_runs_at_the_same_time_lose_no_line_of_each_other(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen([sys.executable, "-c", _ADDS, str(tmp_path), name]) for name in ("a", "b")
    ]
    assert [run.wait(60) for run in runs] == [0, 0]
    lines = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    last = {line["file"]: line["size"] for line in lines}
    assert last == {f"{name}-{n % 20}": n for name in ("a", "b") for n in range(280, 300)}


def test_what_we_wrote_into_a_folder_is_not_of_it(tmp_path: Path) -> None:
    mine = tmp_path / "drawn" / "mine.jpg"
    written(tmp_path / "drawn", "a/x.jpg")
    mine.write_bytes(b"mine")
    changed = written(tmp_path / "drawn", "y.jpg")
    changed.write_bytes(b"changed by hand")
    unfinished = tmp_path / f"{UNFINISHED}7" / "z.jpg"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"half")
    kept, left_out = without_outputs(tmp_path.rglob("*"))
    assert sorted(path for path in kept if path.suffix == ".jpg") == [mine, changed]
    assert left_out == 1
