"""Photos that are given, and where each is drawn."""

from pathlib import Path

import pytest

from distilpose.model.files.manifest import Manifest, Mark
from distilpose.service.photos import Photo, photos_in


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def drawings(*given: Path) -> list[str]:
    return [str(photo.drawing) for photo in photos_in(given).photos]


def test_the_photos_of_a_folder_are_found_at_any_depth_and_a_file_is_taken_as_it_is(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "in", "b/x.jpg", "a.JPEG", "b/y.png", "notes.txt")
    odd = write(tmp_path, "odd.1") / "odd.1"
    assert photos_in([folder, odd]).photos == [
        Photo(folder / "a.JPEG", Path("a.JPEG")),
        Photo(folder / "b/x.jpg", Path("b/x.jpg")),
        Photo(folder / "b/y.png", Path("b/y.jpg")),
        Photo(odd, Path("odd.1.jpg")),
    ]


def test_several_folders_keep_their_names(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", "x.jpg"), write(tmp_path / "b", "x.jpg")
    assert drawings(one, other) == ["a/x.jpg", "b/x.jpg"]
    assert drawings(one, one / "..", other)[0] == "a/x.jpg"
    assert drawings(one) == ["x.jpg"]


def test_folders_of_one_name_are_numbered(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, "x.jpg") for name in ("1/a", "2/a", "3/a-2", "4/A")]
    assert drawings(*folders) == ["a/x.jpg", "a-3/x.jpg", "a-2/x.jpg", "A-4/x.jpg"]


def test_photos_of_one_name_are_numbered(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", "x.jpg"), write(tmp_path / "b", "x.jpg")
    assert drawings(one / "x.jpg", other / "x.jpg") == ["x.jpg", "x-2.jpg"]


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        ("p.jpg p.png", "p.jpg p-2.jpg"),
        ("p.jpg p-2.jpg p.png", "p-2.jpg p.jpg p-3.jpg"),
        ("p.bmp p.jpg", "p-2.jpg p.jpg"),
        ("p.jpeg p.jpg", "p.jpeg p.jpg"),
        ("p.jpg.png p.jpg", "p.jpg p.jpg.jpg"),
        ("P.png p.webp", "P.jpg p-2.jpg"),
        ("x.jpg/y.jpg x.png", "x.jpg/y.jpg x-2.jpg"),
    ],
)
def test_no_two_photos_share_a_drawing(tmp_path: Path, names: str, drawn: str) -> None:
    found = drawings(write(tmp_path, *names.split()))
    assert sorted(found) == sorted(drawn.split())


def test_a_photo_that_is_given_twice_has_one_drawing(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "a/x.jpg")
    assert drawings(folder, folder) == ["a/x.jpg"] * 2
    assert drawings(folder, folder / "." / "a" / "x.jpg") == ["a/x.jpg"] * 2
    assert drawings(folder, folder / "a") == ["in/a/x.jpg"] * 2


def test_a_link_to_a_photo_has_a_drawing_of_its_own(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "x.jpg")
    (folder / "y.jpg").symlink_to(folder / "x.jpg")
    assert drawings(folder) == ["x.jpg", "y.jpg"]


def test_what_we_drew_there_is_no_photo_unless_it_is_given_itself(tmp_path: Path) -> None:
    folder = write(tmp_path, "x.jpg", "drawn/x.jpg", "drawn/mine.jpg")
    drawn = folder / "drawn" / "x.jpg"
    mark = Mark.of(drawn, "predict --out")
    assert mark
    Manifest(folder / "drawn").add(drawn, mark)
    found = photos_in([folder])
    assert [photo.path for photo in found.photos] == [folder / "drawn/mine.jpg", folder / "x.jpg"]
    assert found.left_out == 1
    assert drawings(drawn) == ["x.jpg"]
