"""What `helm package` makes has everything that templates read, and nothing that is for us only."""

from importlib.metadata import version
from pathlib import Path

import helm_python

from charts import CHART, SCENARIOS

VALUES = SCENARIOS["everything"]


def test_the_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    packaged = helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path))
    assert packaged.render(VALUES, name="a") == helm_python.Chart.load(CHART).render(
        VALUES, name="a"
    )


def test_the_packaged_chart_has_no_values_of_our_clusters(tmp_path: Path) -> None:
    packaged = helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path))
    names = {file["name"] for file in packaged.files}
    assert not [name for name in names if name.startswith(("ci/", "examples/"))]
    assert {"README.md", "settings.yaml", "scripts/smoke.py", "scripts/fetch_weights.py"} <= names


def test_templates_are_short() -> None:
    for path in (CHART / "templates").rglob("*.*"):
        assert len(path.read_text("utf-8").splitlines()) <= 70, path.name
    assert len((CHART.parent / "values.schema.yaml").read_text("utf-8").splitlines()) <= 300


def test_the_versions_are_the_packages() -> None:
    metadata = helm_python.Chart.load(CHART).metadata
    assert metadata["version"] == metadata["appVersion"] == version("distilpose")
