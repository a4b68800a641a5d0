"""API keys: plain, hashed, from a file."""

import hashlib
from pathlib import Path

import pytest

from distilpose.service.errors import Unauthenticated
from distilpose.service.security.keys import ApiKeys
from distilpose.service.settings import SecuritySettings, SettingsError


def test_without_keys_everyone_may_call() -> None:
    ApiKeys([]).check(api_key=None, authorization=None)


@pytest.mark.parametrize(
    ("api_key", "authorization"),
    [("second", None), (None, "Bearer second"), (None, "bearer  second"), ("first", "Bearer x")],
)
def test_a_fitting_key_is_accepted(api_key: str | None, authorization: str | None) -> None:
    ApiKeys(["first", "second"]).check(api_key=api_key, authorization=authorization)


@pytest.mark.parametrize(
    ("api_key", "authorization"),
    [
        (None, None),
        ("third", None),
        ("", None),
        (None, "Basic first"),
        (None, "Bearer"),
        ("é", None),
    ],
)
def test_anything_else_is_refused(api_key: str | None, authorization: str | None) -> None:
    with pytest.raises(Unauthenticated):
        ApiKeys(["first"]).check(api_key=api_key, authorization=authorization)


def test_a_key_may_be_configured_by_its_digest() -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    keys = ApiKeys([f"sha256:{digest}"])
    keys.check(api_key="secret", authorization=None)
    with pytest.raises(Unauthenticated):
        keys.check(api_key=f"sha256:{digest}", authorization=None)


def test_a_file_holds_one_key_a_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# callers\nfirst\n\n  second  \n", "utf-8")
    keys = ApiKeys.from_settings(SecuritySettings(api_keys_file=path))
    keys.check(api_key="second", authorization=None)
    with pytest.raises(Unauthenticated):
        keys.check(api_key="# callers", authorization=None)


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match="holds no key"):
        ApiKeys.from_settings(SecuritySettings(api_keys_file=path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        ApiKeys.from_settings(SecuritySettings(api_keys_file=tmp_path / "none"))


def test_an_empty_key_is_refused() -> None:
    security = SecuritySettings.model_validate({"api_keys": [" "]})
    with pytest.raises(SettingsError, match="empty key"):
        ApiKeys.from_settings(security)


def test_a_changed_file_changes_who_may_call(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("first\n", "utf-8")
    configured = SecuritySettings.model_validate({"api_keys": ["fixed"], "api_keys_file": path})
    keys = ApiKeys.from_settings(configured)
    keys.check(api_key="first", authorization=None)
    path.write_text("second, longer\n", "utf-8")
    keys.check(api_key="second, longer", authorization=None)
    keys.check(api_key="fixed", authorization=None)
    with pytest.raises(Unauthenticated):
        keys.check(api_key="first", authorization=None)


def test_a_file_that_has_gone_lets_nobody_else_in(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("first\n", "utf-8")
    keys = ApiKeys.from_settings(SecuritySettings(api_keys_file=path))
    path.unlink()
    assert keys.required
    keys.check(api_key="first", authorization=None)
    with pytest.raises(Unauthenticated):
        keys.check(api_key="", authorization=None)
