"""Makes what the chart takes from elsewhere: schema, defaults of settings, tables of its README.

It writes docs/settings.md too. `python helm/generate.py`: run it after a change of settings,
values.yaml or values.schema.yaml.
"""

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from distilpose.model.train.settings import TrainSettings
from distilpose.service.settings import ENV_PREFIX, Settings

HELM: Final = Path(__file__).parent
CHART: Final = HELM / "distilpose"
SETTINGS_PAGE: Final = HELM.parent / "docs" / "settings.md"
OLDEST_KUBERNETES: Final = "1.35"
"""Of the three minors that rendered objects are checked against: the others know more."""
SET_BY_THE_CHART: Final = {
    "model": ("weights", "weights_sha256", "device"),
    "security": ("api_keys", "api_keys_file", "tls_cert", "tls_key", "tls_client_ca"),
    "telemetry": ("metrics_port",),
}
"""Settings that `config` does not have: other values decide them."""
_SETTINGS_INTRODUCTION: Final = """\
# Settings

<!-- Made by helm/generate.py; run it after a change of the settings. -->

This page lists every setting of the service. A value comes from the environment variable in the
table, from the YAML file of `--config FILE`, or else from the default; the environment outranks
the file. In the file a setting is a field of its group:

```yaml
http:
  max_images: 8
```

In the environment a list is written as JSON: `DISTILPOSE_BATCHING__BUCKETS='[1, 2, 4, 8]'`. A name
that does not exist stops the start, and the error names the nearest setting that does.
`distilpose config` prints the settings in effect. On Kubernetes the same settings are values of
the [chart](../helm/distilpose/README.md).
"""
_REFERENCE: Final = re.compile(r'"\$ref": "#/\$defs/([^"]+)"')
_SINGULARS: Final = {"boolean": "`true`, `false`", "integer": "whole number", "number": "number"}
_PLURALS: Final = {"integer": "whole numbers", "string": "texts"}
_BOUNDS: Final = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
_KEY: Final = re.compile(r"( *)(\w+):")


def main() -> None:
    """Write the files."""
    for path, text in outputs().items():
        path.write_text(text, "utf-8")


def outputs() -> dict[Path, str]:
    """The text of each file that is made here."""
    return {
        CHART / "values.schema.json": json.dumps(schema(), indent=2) + "\n",
        CHART / "settings.yaml": settings_file(),
        CHART / "README.md": readme(),
        SETTINGS_PAGE: settings_page(),
    }


def schema() -> dict[str, Any]:
    """The schema of the chart's values, with all definitions that it refers to."""
    made: dict[str, Any] = yaml.safe_load((HELM / "values.schema.yaml").read_text("utf-8"))
    made["$comment"] = "Made by helm/generate.py of helm/values.schema.yaml"
    own = made.pop("$defs") | _definitions(Settings) | _definitions(TrainSettings)
    for group, fields in SET_BY_THE_CHART.items():
        for field in fields:
            del own[_group(group).__name__]["properties"][field]
    made["$defs"] = _needed(made, own | _kubernetes_definitions())
    return made


def settings_file() -> str:
    """Every setting with its default, as YAML with the descriptions for comments."""
    lines = [
        "# The service's settings and their defaults; helm/generate.py makes it of their class."
    ]
    for group, field, default, description in _settings():
        if f"{group}:" not in lines:
            lines.append(f"{group}:")
        lines += [f"  # {description}", f"  {field}: {json.dumps(default)}"]
    return "\n".join(lines) + "\n"


def readme() -> str:
    """The chart's README with its tables made anew."""
    text = (CHART / "README.md").read_text("utf-8")
    for name, table in (("values", _values_tables()), ("settings", _settings_table())):
        begin, end = f"<!-- {name}: made by helm/generate.py -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def settings_page() -> str:
    """A page for people who set variables: a table for each group of settings."""
    groups = Settings.model_fields
    return "\n".join([_SETTINGS_INTRODUCTION, *(_group_section(group) for group in groups)])


def allowed(schema: Mapping[str, Any]) -> str:
    """The values that a setting takes, in words, from its JSON schema."""
    if "anyOf" in schema:
        kinds = [kind for kind in schema["anyOf"] if kind.get("type") != "null"]
        return " or ".join(map(allowed, kinds))
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{choice}`" for choice in choices)
    if schema["type"] == "array":
        return f"list of {_PLURALS[schema['items']['type']]}"
    if schema["type"] == "string":
        pattern = f" that matches `{schema['pattern']}`" if "pattern" in schema else ""
        return ("path" if schema.get("format") == "path" else "text") + pattern
    return _SINGULARS[schema["type"]] + "".join(f", {bound}" for bound in _bounds(schema))


def documented_values(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each value of a values.yaml that has a comment above it: its path, the comment."""
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("# "):
            comment.append(line.lstrip()[2:])
        elif found := _KEY.match(line):
            path[len(found[1]) // 2 :] = [found[2]]
            if comment:
                yield tuple(path), " ".join(comment)
            comment = []
        else:
            comment = []


def _values_tables() -> str:
    text = (CHART / "values.yaml").read_text("utf-8")
    values = yaml.safe_load(text)
    sections = re.split(r"^# --- (.*)$", text, flags=re.MULTILINE)
    lines: list[str] = []
    for heading, section in zip(["Names", *sections[1::2]], sections[::2], strict=True):
        lines += [f"### {heading}", "", *_header("value")]
        for path, comment in documented_values(section):
            default = values
            for key in path:
                default = default[key]
            lines.append(_row(".".join(path), default, comment))
        lines.append("")
    return "\n".join(lines).strip()


def _settings_table() -> str:
    rows = [
        _row(f"{group}.{field}", default, description)
        for group, field, default, description in _settings()
        if field not in SET_BY_THE_CHART.get(group, ())
    ]
    return "\n".join([*_header("setting"), *rows])


def _group_section(group: str) -> str:
    kind = _group(group)
    properties = kind.model_json_schema()["properties"]
    lines = [
        f"## {(kind.__doc__ or '').removesuffix('.')}: `{group}`",
        "",
        "| variable | default | allowed | description |",
        "| --- | --- | --- | --- |",
    ]
    for name, field, default, description in _settings():
        if name == group:
            variable = f"{ENV_PREFIX}{group}__{field}".upper()
            cells = [f"`{variable}`", _typed(default), allowed(properties[field]), description]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _typed(default: object) -> str:
    """A default as it would be typed into a shell."""
    if default in ("", [], {}, None):
        return "not set"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "minimum" in schema and "maximum" in schema:
        yield f"{schema['minimum']} to {schema['maximum']}"
    else:
        for key, words in _BOUNDS.items():
            if key in schema:
                yield f"{words} {schema[key]}"
    if "multipleOf" in schema:
        yield f"a multiple of {schema['multipleOf']}"


def _header(first: str) -> list[str]:
    return [f"| {first} | default | what it does |", "| --- | --- | --- |"]


def _row(name: str, default: object, text: str) -> str:
    return f"| `{name}` | {_shown(default)} | {text} |"


def _shown(default: object) -> str:
    return f"`{json.dumps(default)}`" if default not in ("", [], {}, None) else ""


def _settings() -> Iterator[tuple[str, str, Any, str]]:
    """Every setting: group, field, default, description."""
    defaults = Settings.model_construct().model_dump(mode="json")
    for group, fields in defaults.items():
        for field, info in _group(group).model_fields.items():
            yield group, field, fields[field], info.description or ""


def _group(name: str) -> type[BaseModel]:
    group = Settings.model_fields[name].annotation
    assert isinstance(group, type)  # noqa: S101 - narrows the type for the checker
    assert issubclass(group, BaseModel)  # noqa: S101 - narrows the type for the checker
    return group


def _definitions(model: type[BaseModel]) -> dict[str, Any]:
    made = model.model_json_schema()
    return {**made.pop("$defs"), model.__name__: made}


def _kubernetes_definitions() -> dict[str, Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema"
    path = folder / f"v{OLDEST_KUBERNETES}.0-local-strict" / "_definitions.json"
    definitions: dict[str, Any] = json.loads(path.read_text("utf-8"))["$defs"]
    return {name: _without_prose(definition) for name, definition in definitions.items()}


def _without_prose(definition: Any) -> Any:
    """Kubernetes' own documentation has the descriptions, at great length."""
    if isinstance(definition, list):
        return [_without_prose(item) for item in definition]
    if not isinstance(definition, dict):
        return definition
    return {
        key: _without_prose(value)
        for key, value in definition.items()
        if not (key == "description" and isinstance(value, str))
    }


def _needed(root: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Those definitions that the root refers to, at whatever depth."""
    found: dict[str, Any] = {}
    waiting = [root]
    while waiting:
        for name in _REFERENCE.findall(json.dumps(waiting.pop())):
            if name not in found:
                found[name] = definitions[name]
                waiting.append(definitions[name])
    return dict(sorted(found.items()))


if __name__ == "__main__":
    main()
