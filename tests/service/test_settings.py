"""Settings from the environment and a file; unknown names prevent the start."""

import re
from pathlib import Path

import pytest

from distilpose.service.settings import (
    BatchingSettings,
    Settings,
    SettingsError,
    field_names,
    load_settings,
)
from prose import NOUN_CLAUSE


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("DISTILPOSE_"):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, "utf-8")
    return path


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load_settings()
    assert settings.http.port == 8000
    assert settings.http.max_body_bytes == 32 * 1024 * 1024
    assert settings.limits.max_pixels == 50_000_000
    assert settings.detector.min_box_score == 0.25
    assert settings.limits.min_keypoint_score == 0.3
    assert settings.life.drain_seconds == 30


def test_every_setting_has_a_description() -> None:
    assert "http.port" in field_names()
    for name in field_names():
        group, field = name.split(".")
        annotation = Settings.model_fields[group].annotation
        assert isinstance(annotation, type)
        assert annotation.model_fields[field].description, name


def test_the_environment_outranks_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path, "http: {port: 1111, max_images: 4}\n")
    monkeypatch.setenv("DISTILPOSE_HTTP__PORT", "2222")
    settings = load_settings(path)
    assert (settings.http.port, settings.http.max_images) == (2222, 4)


def test_a_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTILPOSE_LIMIT__MAX_PIXEL", "3")
    with pytest.raises(SettingsError, match=r"DISTILPOSE_LIMIT__MAX_PIXEL.*LIMITS__MAX_PIXELS"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("htp: {port: 1}", r"`htp\.port` in .*did you mean http\.port"),
        ("http: {prot: 1}", r"`http\.prot` in .*did you mean http\.port"),
        ("http: {port: 70000}", r"http\.port: .*65535"),
        ("- 1", "expected groups of settings, got list"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(write(tmp_path, text))


def test_keys_are_not_shown() -> None:
    settings = Settings.model_validate({"security": {"api_keys": ["hunter2"]}})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_lists_come_from_variables_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILPOSE_BATCHING__BUCKETS", "[1, 4, 16]")
    assert load_settings().batching.buckets == (1, 4, 16)


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1  # type: ignore[misc]  # the test checks this


def test_scaled_decode_takes_what_it_took_before_it_was_a_boolean(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read = [
        BatchingSettings.model_validate({"scaled_decode": v}).scaled_decode for v in ("on", "off")
    ]
    assert read == [True, False]
    assert not caplog.messages
    assert BatchingSettings.model_validate({"scaled_decode": "auto"}).scaled_decode is False
    assert caplog.messages == [
        "batching.scaled_decode: auto means false and will be rejected in future; use false"
    ]


@pytest.mark.parametrize("name", list(field_names()))
def test_a_description_is_a_sentence_that_stands_alone(name: str) -> None:
    group, field = name.split(".")
    text = type(getattr(Settings(), group)).model_fields[field].description
    assert re.fullmatch(r"[A-Z].{15,}\.", text)
    assert not re.match(r"(Its|This|It|Auto|From then|Least|Most)\b", text)
    assert not NOUN_CLAUSE.match(text)


def test_all_settings_that_do_not_fit_are_named(tmp_path: Path) -> None:
    names = [
        "host",
        "port",
        "max_body_bytes",
        "max_images",
        "cors_origins",
        "trusted_proxies",
        "root_path",
    ]
    config = tmp_path / "settings.yaml"
    config.write_text("http: {" + ", ".join(f"{name}: {{}}" for name in names) + "}")
    with pytest.raises(SettingsError) as refusal:
        load_settings(config)
    assert [line.partition(":")[0] for line in str(refusal.value).split("; ")] == [
        f"http.{name}" for name in names
    ]


def variable(name: str) -> str:
    return "DISTILPOSE_" + name.upper().replace(".", "__")


DURATIONS = [name for name in field_names() if name.endswith("_seconds")]
COUNTS = [
    "http.max_images",
    "limits.max_people",
    "batching.detect_max_batch",
    "batching.pose_max_batch",
    "batching.queue_capacity",
    "batching.decode_threads",
    "batching.buckets",
]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "86401", "1e9", "1e308", "soon"])
def test_a_duration_is_finite_and_a_day_at_most(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(SettingsError, match=rf"^{re.escape(name)}: "):
        load_settings()


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "1000000000000", "[", "{}", "[0]", ""])
def test_a_count_is_at_least_one_and_not_absurd(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(SettingsError, match=rf"^{re.escape(name)}\b"):
        load_settings()


@pytest.mark.parametrize("name", [*DURATIONS, *COUNTS])
def test_a_wrong_value_in_a_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    group, field = name.split(".")
    for value in (".inf", "-5", "{}", "[[]]", "true and false"):
        with pytest.raises(SettingsError, match=rf"^{re.escape(name)}\b"):
            load_settings(write(tmp_path, f"{group}: {{{field}: {value}}}\n"))


@pytest.mark.parametrize("name", ["security.api_keys", "http.cors_origins"])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("secret", ["secret"]),
        ("12345", ["12345"]),
        ("true", ["true"]),
        ('{"not": "a list"}', ['{"not": "a list"}']),
        ('["one", "two"]', ["one", "two"]),
        ("[]", []),
    ],
)
def test_text_that_begins_no_list_is_one_value(
    name: str, text: str, values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group, field = name.split(".")
    monkeypatch.setenv(variable(name), text)
    read = getattr(getattr(load_settings(), group), field)
    shown = [each if isinstance(each, str) else each.get_secret_value() for each in read]
    assert shown == values


@pytest.mark.parametrize("name", ["security.api_keys", "http.cors_origins", "http.trusted_proxies"])
@pytest.mark.parametrize("text", ["[secret]", '["secret"', "[1, {}]"])
def test_text_that_begins_a_list_and_is_none_is_refused_unshown(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(name), text)
    with pytest.raises(SettingsError, match=rf"^{re.escape(name)}\b") as refused:
        load_settings()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("group", ["http", "security", "batching"])
@pytest.mark.parametrize("text", ["secret", "[", "[1]", "{", "5"])
def test_text_for_a_whole_group_is_refused_by_its_name(
    group: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DISTILPOSE_{group.upper()}", text)
    with pytest.raises(SettingsError, match=rf"\b{group}\b"):
        load_settings()


def test_one_value_in_a_file_is_a_list_of_one(tmp_path: Path) -> None:
    text = "security: {api_keys: secret}\nhttp: {cors_origins: https://a.example}\n"
    settings = load_settings(write(tmp_path, text))
    assert [key.get_secret_value() for key in settings.security.api_keys] == ["secret"]
    assert settings.http.cors_origins == ("https://a.example",)


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("192.0.2.1", ["192.0.2.1/32"]),
        ('["10.0.0.0/8", "2001:db8::/48"]', ["10.0.0.0/8", "2001:db8::/48"]),
        ("[]", []),
    ],
)
def test_trusted_proxies_are_addresses_or_networks(
    text: str, networks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("http.trusted_proxies"), text)
    assert [str(each) for each in load_settings().http.trusted_proxies] == networks


@pytest.mark.parametrize("text", ["10.0.0.1/8", "everyone", "*", "", "10.0.0.0/33", '["::1", "x"]'])
def test_a_trusted_proxy_that_is_no_network_is_refused_by_name(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("http.trusted_proxies"), text)
    with pytest.raises(SettingsError, match=r"^http\.trusted_proxies\b"):
        load_settings()


def test_old_names_of_settings_are_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("grpc: {port: 0, max_streams: 5, stream_window: 3}\n")
    monkeypatch.setenv("DISTILPOSE_GRPC__STREAM_WINDOW", "4")
    settings = load_settings(file)
    assert (settings.streams.max_streams, settings.streams.stream_window) == (5, 4)
    assert settings.grpc.port == 0
    assert len(caplog.messages) == 3
    assert "use streams.stream_window; this name will be rejected in future" in caplog.text


def test_a_new_name_outranks_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILPOSE_GRPC__MAX_STREAMS", "5")
    monkeypatch.setenv("DISTILPOSE_STREAMS__MAX_STREAMS", "6")
    assert load_settings().streams.max_streams == 6


def test_a_misspelt_old_name_is_refused_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILPOSE_GRPC__MAX_STREAM", "5")
    with pytest.raises(SettingsError, match="did you mean DISTILPOSE_STREAMS__MAX_STREAMS"):
        load_settings()
