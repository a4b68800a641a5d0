"""API keys: plain, hashed, from a file."""

import hashlib
import hmac
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


def test_a_digest_may_be_in_capitals() -> None:
    digest = hashlib.sha256(b"secret").hexdigest().upper()
    for prefix in ("sha256:", "SHA256:"):
        keys = ApiKeys([prefix + digest])
        keys.check(api_key="secret", authorization=None)
        with pytest.raises(Unauthenticated):
            keys.check(api_key=prefix + digest, authorization=None)


def test_every_key_is_compared_even_after_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    # The time of the check would otherwise tell callers where in the list their key is.
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def counting(offered: bytes, known: bytes) -> bool:
        compared.append(known)
        return compare(offered, known)

    keys = ApiKeys(["first", "second", "third"])
    monkeypatch.setattr(hmac, "compare_digest", counting)
    keys.check(api_key="first", authorization=None)
    assert len(set(compared)) == 3


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "two words",
        "tab\tinside",
        "line\nbreak",
        "\u00e9",
        "\x7f",
        "\x00",
        "k" * 257,
        "sha256:0123",
        f"sha256:{'0' * 63}",
        f"sha256:{'0' * 65}",
        f"sha256:{'g' * 64}",
        f"sha256: {'0' * 64}",
    ],
)
def test_what_is_no_key_stops_the_start_and_is_not_shown(key: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^security\.api_keys: entry 2: must be ") as refused:
        ApiKeys(["fine", key])
    if not key.strip() or "\n" in key:
        return
    assert key not in str(refused.value)
    path = tmp_path / "keys"
    path.write_text(f"# callers\nfine\n{key}\n", "utf-8")
    with pytest.raises(
        SettingsError, match=r"keys, line 3: must be 1 to 256 characters"
    ) as refused:
        ApiKeys([], path)
    assert key not in str(refused.value)


@pytest.mark.parametrize("key", ["!", "~", "k" * 256, "#sharp", "sha256", "SHA256-is-a-hash"])
def test_a_key_is_any_printable_text_without_blanks(key: str) -> None:
    ApiKeys([f"  {key}\t"]).check(api_key=key, authorization=None)


def test_a_file_holds_one_key_a_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("\ufeff# callers\nfirst\n\n\t# indented\r\n  second  \r\n", "utf-8")
    keys = ApiKeys.from_settings(SecuritySettings(api_keys_file=path))
    keys.check(api_key="second", authorization=None)
    for comment in ("# callers", "# indented"):
        with pytest.raises(Unauthenticated):
            keys.check(api_key=comment, authorization=None)


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match="holds no key"):
        ApiKeys.from_settings(SecuritySettings(api_keys_file=path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        ApiKeys.from_settings(SecuritySettings(api_keys_file=tmp_path / "none"))


def test_a_changed_file_changes_who_may_call(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("first\n", "utf-8")
    configured = SecuritySettings.model_validate({"api_keys": ["fixed"], "api_keys_file": path})
    keys = ApiKeys.from_settings(configured)
    keys.check(api_key="first", authorization=None)
    path.write_text("second-and-longer\n", "utf-8")
    keys.check(api_key="second-and-longer", authorization=None)
    keys.check(api_key="fixed", authorization=None)
    with pytest.raises(Unauthenticated):
        keys.check(api_key="first", authorization=None)


def test_a_file_with_a_wrong_line_changes_nothing_and_is_one_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text("first\n", "utf-8")
    keys = ApiKeys([], path)
    path.write_text("second\nnot a key\n", "utf-8")
    for _ in range(3):
        keys.check(api_key="first", authorization=None)
        with pytest.raises(Unauthenticated):
            keys.check(api_key="second", authorization=None)
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "line 2: must be 1 to 256 characters" in record.getMessage()
    assert "not a key" not in record.getMessage()


def test_a_file_that_has_gone_lets_nobody_else_in(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("first\n", "utf-8")
    keys = ApiKeys.from_settings(SecuritySettings(api_keys_file=path))
    path.unlink()
    assert keys.required
    keys.check(api_key="first", authorization=None)
    with pytest.raises(Unauthenticated):
        keys.check(api_key="", authorization=None)
