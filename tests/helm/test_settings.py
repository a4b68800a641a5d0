"""The ConfigMap matches the settings class, and unknown settings are rejected."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import utils

from charts import CHART, SCENARIOS, refusal, render
from distilpose.service.settings import ENV_PREFIX, Settings, field_names, load_settings

GENERATE = runpy.run_path(str(CHART.parent / "generate.py"))


def loaded(folder: Path, *changes: Any) -> Settings:
    """The settings that the service reads from the ConfigMap."""
    path = folder / "config.yaml"
    path.write_text(render(*changes).objects["configmap.yaml"]["data"]["config.yaml"])
    return load_settings(path)


@pytest.mark.parametrize("path", GENERATE["outputs"](), ids=lambda path: str(path.name))
def test_what_is_generated_is_current(path: Path) -> None:
    assert path.read_text("utf-8") == GENERATE["outputs"]()[path], "run python helm/generate.py"


def test_the_settings_page_has_every_settings_variable() -> None:
    page = GENERATE["settings_page"]()
    variables = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert variables == [f"{ENV_PREFIX}{n.replace('.', '__').upper()}" for n in field_names()]


@pytest.mark.parametrize(
    ("variable", "default", "allowed"),
    [
        ("HTTP__PORT", "`8000`", "whole number, 0 to 65535"),
        ("STREAMS__MAX_STREAMS", "`64`", "whole number, at least 1"),
        ("BATCHING__MAX_QUEUE_SECONDS", "`2.0`", "number, above 0, at most 600"),
        ("DETECTOR__IMAGE_SIZE", "`640`", "whole number, 160 to 2048, a multiple of 32"),
        ("MODEL__DTYPE", "`auto`", "`auto`, `float32`, `bfloat16`"),
        ("MODEL__WEIGHTS_SHA256", "not set", "text that matches `^[0-9a-f]{64}$`"),
        ("MODEL__CALIBRATE", "`true`", "`true`, `false`"),
        ("BATCHING__BUCKETS", "`auto`", "`auto` or list of whole numbers"),
        ("SECURITY__TLS_CERT", "not set", "path"),
        ("TELEMETRY__METRICS_PORT", "not set", "whole number, 0 to 65535"),
    ],
)
def test_the_settings_page_has_defaults_and_bounds(
    variable: str, default: str, allowed: str
) -> None:
    row = f"| `{ENV_PREFIX}{variable}` | {default} | {allowed} | "
    assert row in GENERATE["settings_page"]()


def test_a_default_on_the_settings_page_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", GENERATE["settings_page"](), re.MULTILINE)
    for variable, default in typed:
        monkeypatch.setenv(variable, default)
    assert load_settings() == Settings.model_construct()


def test_the_config_map_has_every_setting() -> None:
    settings = render().settings()
    assert {f"{group}.{f}" for group, fields in settings.items() for f in fields} == {
        *field_names()
    }


def test_defaults_are_those_of_the_class(tmp_path: Path) -> None:
    made = loaded(tmp_path).model_dump()
    # The settings that the chart always sets itself.
    made["telemetry"]["metrics_port"] = None
    made["model"]["device"] = "auto"
    assert made == Settings.model_construct().model_dump()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_service_reads_every_scenarios_settings(name: str, tmp_path: Path) -> None:
    settings = loaded(tmp_path, SCENARIOS[name])
    assert settings.telemetry.metrics_port == 9090
    for group, fields in SCENARIOS[name].get("config", {}).items():
        chosen = yaml.safe_load(settings.model_dump_json())[group]
        assert fields.items() <= chosen.items()


def test_values_that_look_like_nothing_are_taken(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "config={demo: {enabled: false}, life: {drain_seconds: 0}, model: {calibrate: false}}",
    )
    assert settings.demo.enabled is False
    assert settings.life.drain_seconds == 0
    assert settings.model.calibrate is False


def test_large_numbers_stay_whole() -> None:
    text = render().objects["configmap.yaml"]["data"]["config.yaml"]
    assert "max_memory_bytes: auto\n" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("replicas=2", "additional properties 'replicas'"),
        ("image.repo=r", "additional properties 'repo'"),
        ("config.htttp={}", "additional properties 'htttp'"),
        ("config.http.max_image=8", "additional properties 'max_image'"),
        ("tolerations=[{keys: k}]", "additional properties 'keys'"),
        ("affinity.podAfinity={}", "additional properties 'podAfinity'"),
        ("resources.limit={}", "additional properties 'limit'"),
        ("securityContext.runAsNonroot=true", "additional properties 'runAsNonroot'"),
        ("networkPolicy.from=[{podselector: {}}]", "additional properties 'podselector'"),
        ("autoscaling.behavior.scaleUpp={}", "additional properties 'scaleUpp'"),
        ("weights.volume={persistentVolumeClaim: {claim: c}}", "additional properties 'claim'"),
        ("httpRoute.parentRefs=[{nam: n}]", "'nam'"),
        ("training.run={networks: n}", "'networks'"),
        ("training.run={run: {stepps: 1}}", "'stepps'"),
        ("podLabels={a: 1}", "got number, want string"),
        ("gpu.resource=gpu", "pattern"),
        ("config.detector.image_size=641", "multiple"),
        ("config.http.max_images=0", "minimum"),
        ("weights.sha256=abc", "pattern"),
    ],
)
def test_a_typo_or_a_value_out_of_bounds_is_refused(change: str, message: str) -> None:
    assert message in refusal(change)


@pytest.mark.parametrize(
    "name",
    [f"{group}.{f}" for group, fields in GENERATE["SET_BY_THE_CHART"].items() for f in fields],
)
def test_what_the_chart_decides_cannot_be_set_beside_it(name: str) -> None:
    assert f"additional properties '{name.split('.')[1]}'" in refusal(f"config.{name}=x")


@pytest.mark.parametrize("name", ["DISTILPOSE_LIFE__DRAIN_SECONDS", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_variables_that_would_outrank_values_are_refused(name: str) -> None:
    assert "/extraEnv/0/name" in refusal(f"extraEnv=[{{name: {name}, value: '1'}}]")


def test_objects_are_closed_everywhere() -> None:
    def open_objects(part: Any, path: str) -> Iterator[str]:
        if isinstance(part, dict):
            closed = "additionalProperties" in part or part.get("maxProperties") == 0
            if "properties" in part and not closed:
                yield path
        named = part.items() if isinstance(part, dict) else enumerate(part)
        for name, within in named:
            if isinstance(within, dict | list):
                yield from open_objects(within, f"{path}/{name}")

    # The second half of extraEnv narrows the first, which is closed.
    assert [*open_objects(GENERATE["schema"](), "")] == ["/properties/extraEnv/items/allOf/1"]


def test_every_value_has_a_comment() -> None:
    text = (CHART / "values.yaml").read_text("utf-8")
    documented = {path for path, _ in GENERATE["documented_values"](text)}

    def leaves(value: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        if path in documented or not isinstance(value, dict):
            return [path]
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]

    assert [path for path in leaves(yaml.safe_load(text), ()) if path not in documented] == []


def test_bounds_are_those_of_the_oldest_minor_that_is_checked() -> None:
    minors = sorted({int(utils.major_minor(v).split(".")[1]) for v in utils.all_versions()})
    assert GENERATE["OLDEST_KUBERNETES"] == f"1.{minors[-3]}"


def test_old_names_of_settings_become_the_new_ones(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "config={grpc: {max_streams: 5, stream_window: 3}}").streams
    assert (settings.max_streams, settings.stream_window) == (5, 3)
    both = loaded(tmp_path, "config={grpc: {max_streams: 5}, streams: {max_streams: 6}}")
    assert both.streams.max_streams == 6
