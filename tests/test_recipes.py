"""The recipes in docs/recipes work."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from photos import photo

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "docs" / "recipes" / "batch_ray.py"
FOLDER = {
    "bus.jpg": photo("bus.jpg"),
    "torn.jpg": photo("bus.jpg")[:5000],
    "zidane.jpg": photo("zidane.jpg"),
}


def recipe() -> Any:
    spec = importlib.util.spec_from_file_location("batch_ray", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def summary(rows: list[dict[str, Any]]) -> list[tuple[str, int, int, int, bool]]:
    """A summary of the results for each photo."""
    return [
        (
            Path(row["path"]).name,
            row["width"],
            row["height"],
            len(row["people"]),
            bool(row["error"]),
        )
        for row in rows
    ]


EXPECTED = [
    ("bus.jpg", 810, 1080, 4, False),
    ("torn.jpg", 0, 0, 0, True),
    ("zidane.jpg", 1280, 720, 2, False),
]


def test_a_batch_of_files_becomes_a_row_for_each() -> None:
    columns = recipe().Poser(threads=1)({"path": list(FOLDER), "bytes": list(FOLDER.values())})
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert summary(rows) == EXPECTED
    assert [len(person["keypoints_xy_px"]) for person in rows[0]["people"]] == [34] * 4


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs `pip install 'ray[data]'`, 0.5 GB"
)
def test_ray_runs_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet  # type: ignore[import-not-found]  # it comes with ray[data]

    monkeypatch.delenv("TEST_FORBIDDEN_CALLS")  # its processes talk by the machine's own address
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name, data in FOLDER.items():
        (photos / name).write_bytes(data)
    subprocess.run(
        [sys.executable, str(RECIPE), str(photos), str(out)],
        env=os.environ | {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"},
        cwd=tmp_path,
        check=True,
        timeout=500,
    )
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert summary(sorted(rows, key=lambda row: row["path"])) == EXPECTED
