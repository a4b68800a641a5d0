"""Files that may be replaced while serving, such as certificates and keys."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from distilpose.service.settings import SettingsError

T = TypeVar("T")
logger = logging.getLogger(__name__)


class WatchedFiles(Generic[T]):
    """A value loaded from files, and reloaded on access after one of them has changed.

    While the files are unusable (half written or missing), the last good value stays. Thread-safe.
    """

    def __init__(self, paths: Sequence[Path], load: Callable[[], T]) -> None:
        """Load once.

        Raises:
            SettingsError: what `load` raises.
        """
        self._paths = paths
        self._load = load
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._value = load()

    def current(self) -> T:
        """The value of the current files, or the last good one while they are unusable."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self._reload()
            return self._value

    def _reload(self) -> None:
        names = [str(path) for path in self._paths]
        try:
            self._value = self._load()
        except SettingsError as err:
            logger.error("changed files are not used: %s", err, extra={"files": names})
        else:
            logger.info("changed files are in use", extra={"files": names})

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
