"""The recipes of docs/recipes do what they say."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distilpose.model.weights import read_card
from photos import photo
from tiny_people import write_people

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "docs" / "recipes" / "batch_ray.py"
LENT = ROOT / "docs" / "recipes" / "lent_accelerator.sh"
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


def told(rows: list[dict[str, Any]]) -> list[tuple[str, int, int, int, bool]]:
    """What is found on each photo, in short."""
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
    assert told(rows) == EXPECTED
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
    assert told(sorted(rows, key=lambda row: row["path"])) == EXPECTED


class Lent:
    """The lent accelerator's recipe, with home and the other machine below one folder."""

    def __init__(self, folder: Path) -> None:
        self.home, self.there, self.out = folder / "home", folder / "there", folder / "out"
        self.home.mkdir()

    def __call__(self, *verb: str, fails: bool = False, **variables: str) -> str:
        ended = subprocess.run(
            ["bash", str(LENT), *verb],
            env=os.environ
            | {"PYTHON": sys.executable, "WORK": str(self.there), "OUT": str(self.out)}
            | variables,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (ended.returncode != 0) == fails, ended.stderr
        return ended.stderr if fails else ended.stdout

    def carry_only(self, *names: str) -> Path:
        """Leave only these in `.carry`, as a call that carries them; returns where the rest is."""
        everything = self.home / "everything"
        if not everything.exists():
            (self.home / ".carry").rename(everything)
        shutil.rmtree(self.home / ".carry", ignore_errors=True)
        for name in names:
            shutil.copytree(everything / name, self.home / ".carry" / name)
        return everything


@pytest.fixture
def lent(tmp_path: Path) -> Lent:
    return Lent(tmp_path)


def test_people_are_packed_in_pieces_and_staged_call_by_call(lent: Lent) -> None:
    for name in ("people/a.tar", "people/b.tar", "people-eval/c.tar"):
        path = lent.home / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 60_000)  # 0.7 to 1 MB
    assert "people-eval/c.tar: larger than a piece of 0 MiB" in lent(
        "pack", "data", fails=True, PIECE_MIB="0", WHEELS=""
    )
    lent("pack", "data", PIECE_MIB="1", WHEELS="")
    pieces = ["0", "1", "2"]
    everything = lent.carry_only("kit", "0")
    assert sorted(path.name for path in everything.iterdir()) == [*pieces, "kit"]
    said = []
    for piece in pieces:
        lent.carry_only("kit", piece)
        said.append(lent("stage").strip())
    assert said == [f"files still to come: {count} of 3" for count in (2, 1, 0)]
    assert (lent.there / "data/people/b.tar").read_bytes().startswith(b"people/b.tar")


def test_an_unknown_verb_is_told_the_known_ones(lent: Lent) -> None:
    assert "one of pack, install, stage, measure, train, poll and stop" in lent("fly", fails=True)


@pytest.mark.slow
def test_a_run_outlives_its_call_is_stopped_goes_on_and_comes_home(lent: Lent) -> None:
    write_people(lent.home / "data" / "people")
    write_people(lent.home / "data" / "people-eval")
    lent("pack", "data", WHEELS="")
    assert lent("stage").strip() == "files still to come: 0 of 6"
    run = {
        "network": "tokenpose-n",
        "data": {"people": "data/people", "cache": "cache"},
        "run": {
            "steps": 100_000,
            "batch_size": 2,
            "device": "cpu",
            "log_every_steps": 1,
            "precision": "float32",
        },
    }
    (lent.home / "run.yaml").write_text(json.dumps(run))
    lent("train", "t", "teacher", "run.yaml")
    log = lent.there / "runs" / "t" / "log.jsonl"
    deadline = time.monotonic() + 200
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "t is running" in lent("poll", "t", "1")
    lent("stop", "t")
    assert "t has ended" in lent("poll", "t", "100")
    reached = json.loads(log.read_text().splitlines()[-1])["step"]
    lent("train", "t", "teacher", "run.yaml", "--set", f"run.steps={reached + 2}")
    assert "t has ended" in lent("poll", "t", "200")
    lines = (lent.out / "t-log.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == list(range(1, reached + 3))
    assert read_card(lent.out / "t-tokenpose-n.safetensors").architecture == "tokenpose-n"
