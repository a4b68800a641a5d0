"""The code blocks of README and of the pages that continue it run, in their order."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from distilpose.client.video import VideoWriter
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.service.settings import load_settings
from photos import photo_path
from ports import free_port

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [README, *((ROOT / "docs" / f"{n}.md").read_text("utf-8") for n in ("client", "running"))]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
]
BASH = [text for language, text in BLOCKS if language == "bash"]
INSTALLING = next(text for text in BASH if "pip install" in text)
STARTING = next(text for text in BASH if text == "make serve\n")
ASKING = [t for t in BASH if t not in (INSTALLING, STARTING) and "make test" not in t]
START_SECONDS = 120
CLIP_FRAMES = 3


class Served:
    """A server started by a README block in `folder`, on its own port."""

    def __init__(self, block: str, folder: Path) -> None:
        self.folder = folder
        self.port, self.grpc_port = free_port(), free_port()
        self.environment = os.environ | {
            "DISTILPOSE_HTTP__PORT": str(self.port),
            "DISTILPOSE_GRPC__PORT": str(self.grpc_port),
        }
        self.process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=folder,
            env=self.environment,
            start_new_session=True,
        )

    def wait_until_ready(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            assert self.process.poll() is None, "the server has ended"
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        pytest.fail(f"not ready after {seconds} s")

    def run(self, block: str, *interpreter: str) -> str:
        """The output of a block, run by bash unless another interpreter is given."""
        block = block.replace("localhost:8000", f"127.0.0.1:{self.port}")
        block = block.replace("localhost:9000", f"127.0.0.1:{self.grpc_port}")
        return subprocess.run(
            [*(interpreter or ("bash", "-euo", "pipefail")), "-c", block],
            cwd=self.folder,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def stop(self) -> int:
        os.killpg(self.process.pid, signal.SIGTERM)
        return self.process.wait(60)


def here(block: str) -> str:
    """Adapt the block to the environment of these tests, which installs nothing."""
    return block.replace("make serve", f"make serve VENV={sys.prefix}").replace(
        ".venv/", f"{sys.prefix}/"
    )


def record(path: Path) -> None:
    """A video of CLIP_FRAMES frames, all of them the photo."""
    writer = VideoWriter(path, Fraction(5))
    with Image.open(photo_path("bus.jpg")) as image:
        pixels = np.asarray(image.convert("RGB"))
    for number in range(CLIP_FRAMES):
        writer.write(pixels, number * 200.0)
    writer.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("readme")
    for name in ("Makefile", "README.md"):
        shutil.copy(ROOT / name, folder)
    record(folder / "clip.mp4")
    server = Served(here(STARTING), folder)
    try:
        server.wait_until_ready(START_SECONDS)
        yield server
    finally:
        server.stop()


def test_the_readme_shows_how_to_start_and_ask() -> None:
    assert len(ASKING) >= 5
    assert sum("curl" in block for block in ASKING) == 3


def test_every_block_runs(served: Served) -> None:
    outputs = [served.run(here(block)) for block in ASKING]
    answers = [json.loads(output) for output in outputs if output.startswith("{")]
    assert len(answers[0]["images"][0]["poses"]) == 4
    several = answers[1]["images"]
    assert [("error" in image, image["id"]) for image in several] == [
        (False, "bus.jpg"),
        (True, "README.md"),
    ]
    assert (served.folder / "poses.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (served.folder / "drawn" / "bus.jpg").exists()
    lines_of_the_clip = (served.folder / "poses.jsonl").read_text("utf-8").splitlines()
    assert len(lines_of_the_clip) == CLIP_FRAMES
    assert b"ftyp" in (served.folder / "drawn.mp4").read_bytes()[:32]
    assert "max_images: 8" in "".join(outputs)
    python = [text for language, text in BLOCKS if language == "python"]
    lines = [len(served.run(block, sys.executable).splitlines()) for block in python]
    assert lines == [4, 2, 4]  # the photo's four people, a stream's two frames, and the people


def test_the_configuration_file_shown_is_taken(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    [text] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "config.yaml").write_text(text)
    assert load_settings(tmp_path / "config.yaml").http.max_images == 8


def test_the_readme_has_the_keypoints_in_their_order() -> None:
    assert ", ".join(KEYPOINT_NAMES) in " ".join(README.split())


def test_the_answer_shown_has_the_shape_of_the_answer_given(served: Served) -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(of_key) for key, of_key in value.items()}
        return [shape(value[0])] if isinstance(value, list) else isinstance(value, str)

    shown = json.loads(next(text for language, text in BLOCKS if language == "json"))
    given = json.loads(served.run(here(ASKING[0])))
    assert shape(shown) == shape(given)


@pytest.mark.slow
def test_the_installing_block_works_in_a_fresh_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_FORBIDDEN_CALLS")  # it downloads packages
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    server = Served(INSTALLING, tmp_path / "clone")
    try:
        server.wait_until_ready(600)
    finally:
        assert server.stop() in (0, -signal.SIGTERM)
