"""API keys for the front ends, compared in constant time."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from distilpose.service.errors import Unauthenticated
from distilpose.service.security.watched_files import WatchedFiles
from distilpose.service.settings import SecuritySettings, SettingsError

_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


class ApiKeys:
    """The accepted keys, stored as SHA-256 digests. Without keys everyone may call.

    Keys from a file follow its changes; the last readable content counts.
    """

    def __init__(self, keys: Iterable[str], file: Path | None = None) -> None:
        self._configured = _digests(keys)
        self._file = WatchedFiles([file], lambda: _digests(_read_keys(file))) if file else None

    @classmethod
    def from_settings(cls, security: SecuritySettings) -> "ApiKeys":
        """Load the keys from the settings and from the file they name.

        Raises:
            SettingsError: the file cannot be read, or holds no key.
        """
        keys = [key.get_secret_value() for key in security.api_keys]
        if any(not key.strip() for key in keys):
            raise SettingsError("security.api_keys: an empty key would let everyone in")
        return cls(keys, security.api_keys_file)

    @property
    def required(self) -> bool:
        """Return True if a caller needs a key."""
        return bool(self._configured or self._file)

    def check(self, *, api_key: str | None, authorization: str | None) -> None:
        """Check the caller's key, from `x-api-key` or `Authorization: Bearer`.

        Every key is compared, so that the time taken does not reveal which one was close.

        Raises:
            Unauthenticated: keys are configured and none matches.
        """
        if not self.required:
            return
        scheme, _, bearer = (authorization or "").partition(" ")
        offered = api_key or (bearer.strip() if scheme.lower() == "bearer" else "")
        if not offered:
            raise Unauthenticated("send a key as `x-api-key` or `Authorization: Bearer`")
        digest = hashlib.sha256(offered.encode("utf-8", "surrogateescape")).digest()
        accepted = self._configured + (self._file.current() if self._file else [])
        fits = [hmac.compare_digest(digest, known) for known in accepted]
        if not any(fits):
            raise Unauthenticated("this key is not accepted")


def _digests(keys: Iterable[str]) -> list[bytes]:
    return [_digest_of_configured(key) for key in keys]


def _digest_of_configured(key: str) -> bytes:
    if hashed := _HASHED.fullmatch(key):
        return bytes.fromhex(hashed[1])
    return hashlib.sha256(key.encode()).digest()


def _read_keys(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"security.api_keys_file: {path} cannot be read: {err}") from err
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise SettingsError(f"security.api_keys_file: {path} holds no key")
    return keys
