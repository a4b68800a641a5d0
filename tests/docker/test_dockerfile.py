"""The Dockerfile passes hadolint, and the packages that it removes exist."""

import subprocess
import sys
from pathlib import Path

DOCKER = Path(__file__).parents[2] / "docker"


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run(
        [hadolint, "--no-color", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_serving_imports_nothing_that_the_cpu_image_leaves_out() -> None:
    lines = (DOCKER / "cpu-excludes.txt").read_text().splitlines()
    left_out = [line for line in lines if line and not line.startswith("#")]
    assert left_out
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({left_out!r}))\n"
        "from distilpose.model.load import load_models\n"
        "load_models()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
