"""The commands, as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import yaml
from PIL import Image

from distilpose.model.networks import build
from distilpose.model.networks.trunk import yolo26n_pose
from distilpose.model.weights import read_tensors
from golden_rules import filled_state
from photos import BUS_SIZE_WH, photo, photo_path


def distilpose(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    import os

    clean = {k: v for k, v in os.environ.items() if not k.startswith("DISTILPOSE_")}
    return subprocess.run(
        [sys.executable, "-m", "distilpose.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=clean | environment,
        timeout=300,
        check=False,
    )


def picture_size_wh(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_help_lists_every_command_without_loading_torch() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from distilpose.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output, 'torch' in sys.modules)"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    for command in ("serve", "predict", "evaluate", "weights", "config", "doctor"):
        assert f"\n  {command} " in output
    assert output.rstrip().endswith("False")


def test_an_unknown_command_is_refused() -> None:
    refused = distilpose("serv")
    assert refused.returncode == 2
    assert "No such command 'serv'" in refused.stderr


def test_predict_prints_a_line_a_photo_and_draws_it(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(photo("bus.jpg")[:9000])
    (tmp_path / "bus.jpg").write_bytes(photo("bus.jpg"))
    (tmp_path / "notes.txt").write_text("no photo")
    done = distilpose("predict", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1  # one of the photos could not be read
    broken, bus = (json.loads(line) for line in done.stdout.splitlines())
    assert "it has no end of image: the file is truncated" in broken["error"]
    assert Path(bus["file"]).name == "bus.jpg"
    assert (bus["width"], bus["height"]) == BUS_SIZE_WH
    assert len(bus["poses"]) >= 4
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(names) == [".distilpose-outputs.jsonl", "bus.jpg"]
    assert picture_size_wh(tmp_path / "out" / "bus.jpg") == BUS_SIZE_WH


def visible_from(done: "subprocess.CompletedProcess[str]") -> tuple[float, float]:
    """The best score of a keypoint that is not visible, and the lowest of one that is."""
    [line] = done.stdout.splitlines()
    keypoints = [k for pose in json.loads(line)["poses"] for k in pose["keypoints"]]
    hidden = [k["score"] for k in keypoints if not k["visible"]]
    return max(hidden, default=-1), min(k["score"] for k in keypoints if k["visible"])


def test_predict_takes_the_threshold_of_the_settings_unless_one_is_given() -> None:
    setting = {"DISTILPOSE_LIMITS__MIN_KEYPOINT_SCORE": "0.7"}
    # Arbitrary boxes: many of their keypoints have no position in the picture.
    arguments = ("predict", photo_path("bus.jpg"), "--min-box-score", 0.01)
    zero = ("--min-keypoint-score", 0)

    hidden, seen = visible_from(distilpose(*arguments))
    assert 0 < hidden < 0.3 <= seen
    hidden, seen = visible_from(distilpose(*arguments, **setting))
    assert 0.3 < hidden < 0.7 <= seen
    hidden, seen = visible_from(distilpose(*arguments, *zero, **setting))
    assert hidden == -1
    assert seen < 0.3


def test_predict_draws_ellipses_only_when_asked(tmp_path: Path) -> None:
    pictures = {}
    for name, flags in {"plain": [], "sigma": ["--sigma"]}.items():
        out = tmp_path / name
        done = distilpose("predict", photo_path("zidane.jpg"), "--out", out, *flags)
        assert done.returncode == 0, done.stderr
        with Image.open(out / "zidane.jpg") as picture:
            pictures[name] = np.asarray(picture.convert("RGB")).astype(int)
    differs = np.abs(pictures["plain"] - pictures["sigma"]).max(-1) > 30
    assert differs.mean() > 0.02


def test_predict_refuses_ellipses_on_nothing_and_thresholds_that_are_no_number() -> None:
    refused = distilpose("predict", photo_path("bus.jpg"), "--sigma")
    assert refused.returncode == 2
    assert "--sigma: only with --out" in refused.stderr
    refused = distilpose("predict", photo_path("bus.jpg"), "--min-keypoint-score", "nan")
    assert refused.returncode == 2
    assert "'--min-keypoint-score': nan is not in the range 0<=x<=1" in refused.stderr


def test_config_prints_the_effective_settings_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("http: {port: 8100}\nsecurity: {api_keys: [hunter2]}\n")
    done = distilpose("config", "--config", tmp_path / "c.yaml", DISTILPOSE_HTTP__MAX_IMAGES="4")
    settings = yaml.safe_load(done.stdout)
    assert (settings["http"]["port"], settings["http"]["max_images"]) == (8100, 4)
    assert "hunter2" not in done.stdout


def test_a_wrong_setting_is_one_line_and_exit_code_1() -> None:
    done = distilpose("config", DISTILPOSE_HTTP__PROT="1")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "Error: unknown setting: variable DISTILPOSE_HTTP__PROT; "
        "did you mean DISTILPOSE_HTTP__PORT?"
    )


def test_doctor_names_device_threads_weights_and_decoders() -> None:
    done = distilpose("doctor")
    assert done.returncode == 0, done.stdout
    for word in ("cpus", "torch", "device", "weights", "distilpose-n", "jpeg", "avif"):
        assert word in done.stdout


def test_doctor_reports_weights_that_are_missing() -> None:
    done = distilpose("doctor", DISTILPOSE_MODEL__WEIGHTS="/nowhere.safetensors")
    assert done.returncode == 1
    assert "/nowhere.safetensors: no such file" in done.stdout


def test_weights_show_prints_the_packaged_card() -> None:
    done = distilpose("weights", "show")
    assert done.stdout.startswith("# distilpose-n, version")
    assert "## Licences" in done.stdout


def test_a_published_checkpoint_is_imported_and_served(tmp_path: Path) -> None:
    state = filled_state("distilpose-s") | {"teacher_model.x": torch.zeros(1)}
    checkpoint, out = tmp_path / "published.pth", tmp_path / "own.safetensors"
    torch.save({"meta": {"epoch": 300}, "state_dict": state}, checkpoint)
    architecture = ("--architecture", "distilpose-s")
    done = distilpose("weights", "import", checkpoint, out, *architecture)
    assert done.returncode == 0, done.stderr
    assert "230 tensors" in done.stdout
    assert "published.pth" in distilpose("weights", "show", out).stdout
    predicted = distilpose("predict", photo_path("zidane.jpg"), "--weights", out)
    assert len(json.loads(predicted.stdout)["poses"]) == 2


def test_a_trunk_is_imported_and_shown_and_answers_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {key: tensor.contiguous() for key, tensor in yolo26n_pose().state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "yolo26n-pose.safetensors")
    out, architecture = tmp_path / "trunk.safetensors", ("--architecture", "yolo26n-pose-trunk")
    done = distilpose(
        "weights", "import", tmp_path / "yolo26n-pose.safetensors", out, *architecture
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {out}: yolo26n-pose-trunk, 168 tensors\n"

    stored, card, _ = read_tensors(out)
    own = build("distilpose-n").state_dict()
    assert {key: tensor.shape for key, tensor in stored.items()} == {
        key: tensor.shape for key, tensor in own.items() if key.startswith("trunk.")
    }
    assert {str(t.dtype) for t in stored.values() if t.ndim > 1} == {"torch.float16"}
    assert (card.crops_seen, card.calibrated) == (0, False)
    assert "AGPL-3.0" in card.licences[0]
    page = distilpose("weights", "show", out).stdout
    assert "imported from yolo26n-pose.safetensors, sha256" in page

    refused = distilpose("predict", photo_path("zidane.jpg"), "--weights", out)
    assert refused.returncode == 1
    assert "yolo26n-pose-trunk is the bare trunk of a network" in refused.stderr


def test_a_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    state = filled_state("distilpose-s")
    del state["backbone.conv1.weight"]
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    architecture = ("--architecture", "distilpose-s")
    done = distilpose("weights", "import", tmp_path / "x.pth", tmp_path / "o", *architecture)
    assert done.returncode == 1
    assert "1 missing: backbone.conv1.weight" in done.stderr
    assert not (tmp_path / "o").exists()
