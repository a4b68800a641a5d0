"""Clips with random damage, in every container: read as far as they go, or refused in words."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from clips import KINDS, damaged, make_clip
from distilpose.client.video import VideoReader
from distilpose.model.errors import DataError

CASES = 200
CASES_IN_SLOW = 10_000
CASES_A_PROCESS = 500
LONGEST_SECONDS = 300
CHILD = Path(__file__).parents[2] / "support" / "children" / "damaged_clips.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A clip of each kind; mov and 3gp have their index first, as after an upload."""
    folder = tmp_path_factory.mktemp("whole")
    first = {"movflags": "faststart"}
    return {
        suffix: make_clip(
            folder / f"clip.{suffix}", options=first if suffix in {"mov", "3gp"} else {}
        ).read_bytes()
        for suffix in KINDS
    }


@pytest.mark.parametrize("suffix", KINDS)
def test_damage_is_answered_in_part_or_refused(
    tmp_path: Path, whole: dict[str, bytes], suffix: str
) -> None:
    path, answered = tmp_path / f"clip.{suffix}", 0
    for seed in range(CASES // len(KINDS)):
        path.write_bytes(damaged(whole[suffix], seed))
        with suppress(DataError), VideoReader(str(path)) as reader:
            pictures = sum(1 for _ in reader.shots())
            assert all(str(path) in trouble for trouble in reader.troubles())
            assert pictures > 0
            answered += 1
    assert answered > 0


@pytest.mark.slow
def test_ten_thousand_damaged_clips_give_no_traceback_and_no_hang(tmp_path: Path) -> None:
    """Each process stops at the first case that is wrong; FFmpeg itself may crash, and is left."""
    crashes = []
    for start in range(0, CASES_IN_SLOW, CASES_A_PROCESS):
        command = [sys.executable, str(CHILD), str(tmp_path), str(start), str(CASES_A_PROCESS)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
        )
        if done.returncode < 0:
            crashes.append((start, done.returncode))
            continue
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["answered"] > CASES_A_PROCESS // 10
    assert len(crashes) <= 1, crashes
