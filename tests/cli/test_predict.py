"""Drawings of `distilpose predict`: their paths, and the files that they never replace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from distilpose.cli import main
from distilpose.model.files.manifest import NAME as MANIFEST
from distilpose.model.load import Models, load_models
from full_disks import full_disk
from photos import photo, photo_path


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def loaded_once(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tests of this process have the same networks, which take seconds to load."""
    monkeypatch.setattr("distilpose.service.offline.load_models", lambda **_: models)


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


def drawn_in(folder: Path) -> dict[str, bytes]:
    found = files_in(folder)
    return {name: data for name, data in found.items() if Path(name).name != MANIFEST}


def put_photo(*paths: Path) -> None:
    """Small photos, which are read at once."""
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "png" if path.suffix == ".png" else "jpeg"
        Image.new("RGB", (64, 64), (number, 0, 0)).save(path, kind)


def test_each_photo_has_a_drawing_of_its_own_below_its_folders_name(tmp_path: Path) -> None:
    names = ("a/x.jpg", "a/deep/x.jpg", "b/x.jpg", "b/x.png", "b/y.JPEG")
    put_photo(*(tmp_path / name for name in names))
    before = files_in(tmp_path)
    done = predict(tmp_path / "a", tmp_path / "b", tmp_path / "a/x.jpg", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    drawn = drawn_in(tmp_path / "out")
    assert sorted(drawn) == ["a/deep/x.jpg", "a/x.jpg", "b/x-2.jpg", "b/x.jpg", "b/y.JPEG"]
    assert all(data.startswith(b"\xff\xd8\xff") for data in drawn.values())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    said = {line["file"]: line["drawing"] for line in lines}
    assert said[str(tmp_path / "b/x.png")] == str(tmp_path / "out/b/x-2.jpg")
    assert len(lines) == len(names) + 1
    assert files_in(tmp_path).items() >= before.items()


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("out", ["in", "in/deeper", "link", "in/deeper/..", "hard"])
def test_a_photo_is_never_replaced_by_a_drawing(
    tmp_path: Path, out: str, overwrite: tuple[str, ...]
) -> None:
    photos(tmp_path / "in", "x.jpg", "deeper/x.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "hard").mkdir()
    (tmp_path / "hard" / "x.jpg").hardlink_to(tmp_path / "in" / "x.jpg")
    before = files_in(tmp_path)
    done = predict(tmp_path / "in", "--out", tmp_path / out, *overwrite)
    assert done.exit_code == 2
    assert f"the drawing of {tmp_path}/in/" in done.stderr
    assert "would replace what is read" in done.stderr
    assert files_in(tmp_path) == before


def test_a_photo_is_not_drawn_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path, "x.jpg")
    monkeypatch.chdir(tmp_path)
    done = predict("x.jpg", "--out", ".")
    assert done.exit_code == 2
    assert "the drawing of x.jpg, x.jpg: would replace what is read, x.jpg" in done.stderr


def test_somebodys_picture_is_replaced_only_if_that_was_asked_for(tmp_path: Path) -> None:
    put_photo(tmp_path / "x.png")
    mine = photos(tmp_path / "out", "x.jpg") / "x.jpg"
    refused = predict(tmp_path / "x.png", "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert f"{mine}: is there already" in refused.stderr
    assert not refused.stdout
    assert mine.read_bytes() == b"x.jpg"
    assert predict(tmp_path / "x.png", "--out", tmp_path / "out", "--overwrite").exit_code == 0
    assert mine.read_bytes().startswith(b"\xff\xd8\xff")


def test_drawings_in_the_photos_folder_are_replaced_and_are_no_photos(tmp_path: Path) -> None:
    put_photo(tmp_path / "x.jpg", tmp_path / "y.png")
    for left_out in ("", "left out: 2 files in the folders that distilpose wrote\n"):
        done = predict(tmp_path, "--out", tmp_path / "drawn")
        assert done.exit_code == 0, done.output
        assert done.stderr == left_out
        assert len(done.stdout.splitlines()) == 2
        assert sorted(drawn_in(tmp_path)) == ["drawn/x.jpg", "drawn/y.jpg", "x.jpg", "y.png"]


def test_drawings_beside_the_photos_are_replaced_and_are_no_photos(tmp_path: Path) -> None:
    put_photo(tmp_path / "y.png")
    for _ in range(2):
        assert predict(tmp_path, "--out", tmp_path).exit_code == 0
        assert sorted(drawn_in(tmp_path)) == ["y.jpg", "y.png"]


def test_nothing_but_drawings_is_no_photo(tmp_path: Path) -> None:
    put_photo(tmp_path / "x.png")
    assert predict(tmp_path / "x.png", "--out", tmp_path / "out").exit_code == 0
    done = predict(tmp_path / "out")
    assert done.exit_code == 2
    assert "left out: 1 files" in done.stderr
    assert "there is no photo in what was given" in done.stderr


def test_a_photo_that_cannot_be_read_leaves_no_trace(tmp_path: Path) -> None:
    broken = photos(tmp_path, "a/x.jpg")
    done = predict(broken, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "error" in json.loads(done.stdout)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    done = predict(photos(tmp_path, "x.jpg"), "--out", tmp_path / "x.jpg" / "out")
    assert done.exit_code == 2
    assert "x.jpg is not a folder" in done.stderr


def test_a_folder_in_a_drawings_place_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out" / "bus.jpg").mkdir(parents=True)
    done = predict(photo_path("bus.jpg"), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert f"{tmp_path}/out/bus.jpg: is a folder" in done.stderr


def test_lines_are_not_appended_to_a_photo(tmp_path: Path) -> None:
    put_photo(tmp_path / "x.jpg")
    before = (tmp_path / "x.jpg").read_bytes()
    command = [sys.executable, "-m", "distilpose.cli", "predict", str(tmp_path)]
    with (tmp_path / "x.jpg").open("ab") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert done.returncode == 2
    assert f"standard output: would replace what is read, {tmp_path}/x.jpg" in done.stderr
    assert (tmp_path / "x.jpg").read_bytes() == before


def test_a_full_disk_is_one_line_and_costs_no_older_drawing(tmp_path: Path) -> None:
    source, drawing = tmp_path / "bus.jpg", tmp_path / "out" / "bus.jpg"
    put_photo(source)
    assert predict(source, "--out", tmp_path / "out").exit_code == 0
    older = drawing.read_bytes()
    source.write_bytes(photo("bus.jpg"))
    with full_disk(20_000):
        done = predict(source, "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (1, f"Error: {drawing}: File too large\n")
    assert drawing.read_bytes() == older
    assert sorted(path.name for path in drawing.parent.iterdir()) == [MANIFEST, "bus.jpg"]


def test_as_many_people_are_kept_as_asked_for() -> None:
    done = predict(photo_path("bus.jpg"), "--max-people", 1)
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout)
    assert (len(line["poses"]), line["people_found"]) == (1, 4)


def test_nobody_cannot_be_asked_for() -> None:
    done = predict(photo_path("bus.jpg"), "--max-people", 0)
    assert done.exit_code == 2
    assert "'--max-people': 0 is not in the range x>=1" in done.stderr
