"""API keys for the front ends, compared in constant time."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from distilpose.service.errors import Unauthenticated
from distilpose.service.security.watched_files import WatchedFiles
from distilpose.service.settings import SecuritySettings, SettingsError

_PLAIN: Final = re.compile(r"[!-~]{1,256}")
_DIGEST_PREFIX: Final = "sha256:"
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_BLANKS: Final = " \t\r"
_FORM: Final = (
    "must be 1 to 256 characters from ! to ~ without blanks, or sha256: and 64 hexadecimal digits"
)


class ApiKeys:
    """The accepted keys, stored as SHA-256 digests. Without keys everyone may call.

    A key is 1 to 256 printable ASCII characters without blanks, or `sha256:` and the digest of one.
    Keys from a file follow its changes; the last valid content counts.

    Raises:
        SettingsError: on construction, naming the place of a key that is none, but never the key.
    """

    def __init__(self, keys: Sequence[str], file: Path | None = None) -> None:
        places = (f"security.api_keys: entry {number}" for number in range(1, len(keys) + 1))
        self._configured = [_digest(key, place) for key, place in zip(keys, places, strict=True)]
        self._file = WatchedFiles([file], lambda: _read_digests(file)) if file else None

    @classmethod
    def from_settings(cls, security: SecuritySettings) -> "ApiKeys":
        """Load the keys from the settings and from the file they name.

        Raises:
            SettingsError: a key is none, or the file cannot be read or holds no key.
        """
        keys = [key.get_secret_value() for key in security.api_keys]
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
        digest = _digest_of_offered(api_key=api_key, authorization=authorization)
        if digest is None:
            raise Unauthenticated("send a key as `x-api-key` or `Authorization: Bearer`")
        accepted = self._configured + (self._file.current() if self._file else [])
        fits = [hmac.compare_digest(digest, known) for known in accepted]
        if not any(fits):
            raise Unauthenticated("this key is not accepted")

    def caller_digest(self, *, api_key: str | None, authorization: str | None) -> str | None:
        """The digest of the key of a caller that `check` has let in; None without keys."""
        if not self.required:
            return None
        digest = _digest_of_offered(api_key=api_key, authorization=authorization)
        return digest.hex() if digest else None


def _digest_of_offered(*, api_key: str | None, authorization: str | None) -> bytes | None:
    scheme, _, bearer = (authorization or "").partition(" ")
    offered = api_key or (bearer.strip() if scheme.lower() == "bearer" else "")
    if not offered:
        return None
    return hashlib.sha256(offered.encode("utf-8", "surrogateescape")).digest()


def _digest(configured: str, place: str) -> bytes:
    """The SHA-256 digest of a key that is configured as it is or by its digest.

    Raises:
        SettingsError: it is neither; the message names the place, and not the key.
    """
    key = configured.strip(_BLANKS)
    prefix, rest = key[: len(_DIGEST_PREFIX)], key[len(_DIGEST_PREFIX) :]
    # In capitals too: whoever writes it so does not mean a key of that name.
    if prefix.lower() == _DIGEST_PREFIX:
        if not _DIGEST.fullmatch(rest):
            raise SettingsError(f"{place}: {_FORM}")
        return bytes.fromhex(rest)
    if not _PLAIN.fullmatch(key):
        raise SettingsError(f"{place}: {_FORM}")
    return hashlib.sha256(key.encode("ascii")).digest()


def _read_digests(path: Path) -> list[bytes]:
    """The keys of a file, one a line; empty lines and those that begin with # are no keys."""
    name = f"security.api_keys_file: {path}"
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{name} cannot be read: {err}") from err
    lines = enumerate((line.strip(_BLANKS) for line in text.split("\n")), start=1)
    digests = [
        _digest(line, f"{name}, line {number}")
        for number, line in lines
        if line and not line.startswith("#")
    ]
    if not digests:
        raise SettingsError(f"{name} holds no key")
    return digests
