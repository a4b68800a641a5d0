"""Values that are reloaded when their files change."""

from pathlib import Path

import pytest

from distilpose.service.security.watched_files import WatchedFiles
from distilpose.service.settings import SettingsError


def reader(path: Path) -> WatchedFiles[str]:
    def load() -> str:
        try:
            text = path.read_text("utf-8")
        except OSError as err:
            raise SettingsError(f"{path} cannot be read") from err
        if not text:
            raise SettingsError(f"{path} is empty")
        return text

    return WatchedFiles([path], load)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    watched = reader(path)
    assert watched.current() == "one"
    path.write_text("three")
    assert watched.current() == "three"


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    loads: list[int] = []
    watched = WatchedFiles([path], lambda: loads.append(1))
    watched.current()
    watched.current()
    assert loads == [1]


def test_a_file_behind_a_link_may_be_swapped(tmp_path: Path) -> None:
    # Replaced the way Kubernetes replaces a mounted secret.
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    link.symlink_to("one")
    watched = reader(link)
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(link)
    assert watched.current() == "two"


@pytest.mark.parametrize("broken", [None, ""])
def test_what_cannot_be_used_leaves_the_last_good_value(tmp_path: Path, broken: str | None) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    watched = reader(path)
    path.unlink()
    if broken is not None:
        path.write_text(broken)
    assert watched.current() == "one"
    path.write_text("two")
    assert watched.current() == "two"


def test_the_first_load_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        reader(tmp_path / "none")
