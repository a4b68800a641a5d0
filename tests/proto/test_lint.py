"""The contract passes buf's linter and formatter."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"


@pytest.mark.parametrize("arguments", [["lint"], ["format", "--diff", "--exit-code"]])
def test_buf_finds_nothing(arguments: list[str]) -> None:
    done = subprocess.run([BUF, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
