"""A folder of files that could be made again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distilpose.model.files.cache import FileCache, cache_at, forget_pages, user_cache_folder

SUFFIX = ".distilpose-cache"


def kept(cache: FileCache, key: str) -> bytes | None:
    data = cache.get(key)
    return None if data is None else bytes(data)


def test_what_is_put_is_there_for_the_next_process(tmp_path: Path) -> None:
    FileCache(tmp_path / "new" / "cache").put("a", b"network")
    cache = FileCache(tmp_path / "new" / "cache")
    assert kept(cache, "a") == b"network"
    assert cache.has("a")
    assert kept(cache, "b") is None
    assert not cache.has("b")
    assert [file.name for file in cache.folder.iterdir()] == ["a" + SUFFIX]
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_a_view_outlives_its_file_and_forgotten_pages(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    cache.put("a", b"old" * 5000)
    view = cache.get("a")
    assert view is not None
    cache.put("a", b"new")
    (tmp_path / f"a{SUFFIX}").unlink()
    forget_pages(view)
    assert bytes(view) == b"old" * 5000


def test_the_oldest_leave_and_use_makes_young(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, limit_bytes=3 * (10 + 32))
    for age, key in enumerate(("c", "b", "a")):
        cache.put(key, key.encode() * 10)
        os.utime(tmp_path / f"{key}{SUFFIX}", ns=(0, (age + 1) * 10**9))
    assert kept(cache, "c") == b"c" * 10  # the oldest until now
    cache.put("d", b"d" * 10)
    assert [cache.has(key) for key in "abcd"] == [True, False, True, True]


def test_what_a_killed_process_left_leaves_as_well(tmp_path: Path) -> None:
    half = tmp_path / f"a{SUFFIX}.123"
    half.write_bytes(b"half a network")
    os.utime(half, (0, 0))
    cache = FileCache(tmp_path, limit_bytes=50)
    cache.put("a", b"network")
    assert [file.name for file in tmp_path.iterdir()] == ["a" + SUFFIX]


def test_other_files_in_its_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"a user's own" * 99)
    os.utime(tmp_path / "photo.jpg", (0, 0))
    cache = FileCache(tmp_path, limit_bytes=1)
    cache.put("a", b"network")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "photo.jpg"]


def test_processes_share_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from distilpose.model.files.cache import FileCache\n"
        "cache = FileCache(Path(sys.argv[1]), limit_bytes=3000)\n"
        "for turn in range(300):\n"
        "    cache.put(f'{turn % 5}', bytes([turn % 5]) * 1000)\n"
        "    found = cache.get('3')\n"
        "    assert found is None or bytes(found) == bytes([3]) * 1000\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in running:
        assert process.communicate()[1] == b""
        assert process.returncode == 0
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 3000


def test_where_nothing_can_be_kept_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    cache = FileCache(tmp_path / "file" / "cache")
    for key in "ab":
        cache.put(key, b"network")
        assert kept(cache, key) is None
    [message] = caplog.messages
    assert message.startswith("nothing is kept for the next start: [Errno 20]")
    assert str(tmp_path) in message


@pytest.mark.parametrize(
    "damage", [b"", b"netw", b"network and more than a digest: 0123456789abcdef"]
)
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    cache = FileCache(tmp_path)
    cache.put("a", b"network")
    (tmp_path / f"a{SUFFIX}").write_bytes(damage)
    assert kept(cache, "a") is None
    cache.put("a", b"network")
    assert kept(cache, "a") == b"network"


def test_the_user_s_folder_is_where_the_desktop_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for given in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert user_cache_folder() == Path("/home/someone/.cache/distilpose")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert user_cache_folder() == Path("/elsewhere/distilpose")


def test_a_setting_names_the_folder_or_turns_it_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_at("off") is None
    [own, given] = [cache_at("auto"), cache_at(tmp_path / "given")]
    assert own is not None
    assert given is not None
    assert [own.folder, given.folder] == [tmp_path / "distilpose", tmp_path / "given"]


def test_a_user_without_a_home_has_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_at("auto") is None
    assert caplog.messages == [
        "nothing is kept for the next start: Could not determine home directory."
    ]
