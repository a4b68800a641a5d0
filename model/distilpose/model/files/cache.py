"""A folder of files that could be made again: the largest total size, the oldest out."""

import logging
import os
from contextlib import suppress
from hashlib import sha256
from mmap import ACCESS_COPY, MADV_DONTNEED, mmap
from pathlib import Path
from typing import Final, Literal

logger = logging.getLogger(__name__)

_LIMIT_BYTES: Final = 2**30
_DIGEST_BYTES: Final = 32
_SUFFIX: Final = ".distilpose-cache"


def user_cache_folder() -> Path:
    """The folder for this package's files that could be made again.

    *Source:* XDG Base Directory Specification, `XDG_CACHE_HOME`.

    Raises:
        OSError: the user has no home.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():  # others are to be ignored
        return Path(given) / "distilpose"
    try:
        return Path.home() / ".cache" / "distilpose"
    except RuntimeError as err:
        raise OSError(str(err)) from err


def cache_at(folder: Path | Literal["auto", "off"]) -> "FileCache | None":
    """The cache in `folder`: in the user's own for `auto`, none for `off`.

    None also for a user without a home, and the log says so.
    """
    if folder == "off":
        return None
    try:
        return FileCache(user_cache_folder() if folder == "auto" else Path(folder))
    except OSError as err:
        logger.warning("nothing is kept for the next start: %s", err)
        return None


def forget_pages(view: memoryview) -> None:
    """Give back the memory of a view of a file; what is read of it again is read from the file."""
    mapped = view.obj
    if isinstance(mapped, mmap):
        mapped.madvise(MADV_DONTNEED)


class FileCache:
    """Bytes by key in `folder`, at most `limit_bytes` of them; processes may share it.

    It never fails: what cannot be read is not there, and what cannot be written is not kept. The
    first time, a line in the log says so. Keys are names without a dot. Other files in the folder
    stay as they are.
    """

    def __init__(self, folder: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._complained = False

    def get(self, key: str) -> memoryview | None:
        """The bytes that were put under `key`; None if there are none, or others.

        They are a private view of the file, whose pages can be forgotten.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                view = memoryview(mmap(file.fileno(), 0, access=ACCESS_COPY))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as err:  # an empty file cannot be mapped
            self._complain(err)
            return None
        data, digest = view[:-_DIGEST_BYTES], view[-_DIGEST_BYTES:]
        if sha256(data).digest() != digest:
            return None
        with suppress(OSError):  # used now, so that it leaves last
            os.utime(path)
        return data

    def has(self, key: str) -> bool:
        """Return True if something is there under `key`."""
        return self._path(key).exists()

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`, and remove the oldest files beyond the limit."""
        path = self._path(key)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                unfinished.write_bytes(data + sha256(data).digest())
                with suppress(FileNotFoundError):  # another process found it too old
                    unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
            self._remove_oldest()
        except OSError as err:
            self._complain(err)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _remove_oldest(self) -> None:
        """Unfinished files of killed processes grow old as well."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}*"):
            with suppress(FileNotFoundError):  # another process was first
                found.append((path.stat(), path))
        total = sum(stat.st_size for stat, _ in found)
        for stat, path in sorted(found, key=lambda each: each[0].st_mtime_ns):
            if total <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size

    def _complain(self, err: Exception) -> None:
        if not self._complained:
            logger.warning("nothing is kept for the next start: %s", err)
        self._complained = True
