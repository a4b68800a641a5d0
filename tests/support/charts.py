"""The Helm chart, rendered and linted by the real Helm engine."""

import functools
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import helm_engine

CHART = Path(__file__).parents[2] / "helm" / "distilpose"
SUFFIX = "-values.yaml"
SCENARIOS: dict[str, dict[str, Any]] = {
    path.name.removesuffix(SUFFIX): yaml.safe_load(path.read_text("utf-8"))
    for path in sorted(CHART.glob(f"ci/*{SUFFIX}"))
}
MINIMAL = SCENARIOS["minimal"]
RELEASE, NAMESPACE = "distilpose", "vision"


@dataclass(frozen=True)
class Rendered:
    """A chart rendered with values."""

    objects: dict[str, dict[str, Any]]
    """Each object by its template, such as `hpa.yaml`."""
    notes: str

    def one(self, kind: str, template: str = "") -> Any:
        """The only object of this kind, optionally from one template."""
        found = [
            value
            for name, value in self.objects.items()
            if value["kind"] == kind and template in ("", name)
        ]
        assert len(found) == 1, f"{len(found)} of {kind}"
        return found[0]

    def kinds(self) -> set[str]:
        """The kinds of objects there are."""
        return {value["kind"] for value in self.objects.values()}

    def pod(self) -> Any:
        """The spec of the service's pods."""
        return self.one("Deployment")["spec"]["template"]["spec"]

    def server(self) -> Any:
        """The service's container."""
        return self.pod()["containers"][0]

    def settings(self) -> Any:
        """The settings that the service reads."""
        return yaml.safe_load(self.objects["configmap.yaml"]["data"]["config.yaml"])


def render(*changes: str | Mapping[str, Any], release: str = RELEASE) -> Rendered:
    """Render the chart with the minimal values and these changes; later ones take precedence.

    A string is one change such as `gpu.count=0`, with a value in YAML.

    Raises:
        Refused: the chart rejects the values.
    """
    values = json.dumps(functools.reduce(merged, changes, MINIMAL))
    return _rendered(values, release)


def refusal(*changes: str | Mapping[str, Any]) -> str:
    """The chart's error message for these changes."""
    with pytest.raises(helm_engine.Refused) as refused:
        render(*changes)
    return str(refused.value)


@functools.cache
def _rendered(values: str, release: str) -> Rendered:
    made = helm_engine.render(CHART, json.loads(values), name=release, namespace=NAMESPACE)
    objects, notes = {}, ""
    for path, text in made.items():
        name = path.split("/templates/", 1)[1]
        if name == "NOTES.txt":
            notes = text
        elif documents := _documents(text):
            (objects[name],) = documents  # one resource per file
    return Rendered(objects, notes)


def _documents(text: str) -> list[dict[str, Any]]:
    # The loader in C, because thousands of lines are read.
    return [value for value in yaml.load_all(text, Loader=yaml.CSafeLoader) if value]


def merged(values: Mapping[str, Any], change: str | Mapping[str, Any]) -> dict[str, Any]:
    """Values with a change to them."""
    made = deepcopy(dict(values))
    for key, value in (_nested(change) if isinstance(change, str) else change).items():
        within = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = merged(made[key], value) if within else value
    return made


def _nested(change: str) -> dict[str, Any]:
    name, _, text = change.partition("=")
    *groups, last = name.split(".")
    made = {last: yaml.safe_load(text)}
    for group in reversed(groups):
        made = {group: made}
    return made


def templates() -> set[str]:
    """The templates that create an object, by their names below templates/."""
    folder = CHART / "templates"
    return {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")}
