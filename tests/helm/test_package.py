"""The packaged chart has every file that templates read, and none of our internal files."""

from importlib.metadata import version
from pathlib import Path

import helm_engine
from charts import CHART, SCENARIOS

VALUES = SCENARIOS["everything"]


def test_the_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    packaged = helm_engine.package(CHART, tmp_path)
    rendered = helm_engine.render(packaged, VALUES, name="a")
    assert rendered == helm_engine.render(CHART, VALUES, name="a")


def test_the_packaged_chart_has_no_values_of_our_clusters(tmp_path: Path) -> None:
    names = helm_engine.files(helm_engine.package(CHART, tmp_path))
    assert not [name for name in names if name.startswith(("ci/", "examples/"))]
    assert {"README.md", "settings.yaml", "scripts/smoke.py", "scripts/fetch_weights.py"} <= names


def test_templates_are_short() -> None:
    templates = list((CHART / "templates").rglob("*.*"))
    assert CHART / "templates" / "deployment.yaml" in templates
    for path in templates:
        assert len(path.read_text("utf-8").splitlines()) <= 70, path.name
    assert len((CHART.parent / "values.schema.yaml").read_text("utf-8").splitlines()) <= 300


def test_the_versions_are_the_packages() -> None:
    metadata = helm_engine.metadata(CHART)
    assert metadata["version"] == metadata["appVersion"] == version("distilpose")
