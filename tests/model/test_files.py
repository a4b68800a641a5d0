"""Files that are replaced as a whole."""

from pathlib import Path

import pytest

from distilpose.model.files import replacing


def test_a_reader_finds_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with replacing(path) as unfinished:
        unfinished.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert unfinished.suffix == ".bin"
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["weights.bin"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as unfinished:
            unfinished.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["weights.bin"]
