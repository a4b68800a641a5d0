import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import by_openvino
from distilpose.model.errors import WeightsError
from distilpose.model.header import read_card
from distilpose.model.networks.offline import import_ultralytics
from distilpose.model.runtime.detector import PACKAGED, PersonDetector
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.runtime.pytorch.yolo import (
    load_network,
    person_network,
)
from distilpose.model.weights import read_tensors, write_tensors


def build(yaml_name: str, names: list[str], kind: str = "DetectionModel") -> Any:
    """An ultralytics network with random weights."""
    utils, tasks = import_ultralytics("utils"), import_ultralytics("nn.tasks")
    config = utils.YAML.load(utils.ROOT / "cfg" / "models" / yaml_name) | {"scale": "n"}
    module = getattr(tasks, kind)(config, nc=len(names), verbose=False)
    module.names = dict(enumerate(names))
    return module


def save_checkpoint(module: nn.Module, path: Path) -> Path:
    torch.save({"model": module, "train_args": {}}, path)
    return path


def two_class_checkpoint(path: Path) -> Path:
    """The packaged network with a first class `dog` that is never seen."""
    module = person_network()
    tensors, _, _ = read_tensors(PACKAGED)
    module.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    head = module.model[-1]
    for level in head.cv3:
        last = level[-1]
        last.weight = nn.Parameter(torch.cat([torch.zeros_like(last.weight), last.weight]))
        last.bias = nn.Parameter(torch.cat([torch.full_like(last.bias, -20), last.bias]))
    head.nc, head.no = 2, 2 + 4 * head.reg_max
    module.names = {0: "dog", 1: "person"}
    return save_checkpoint(module, path)


def test_a_bare_name_is_refused_because_nothing_is_downloaded() -> None:
    with pytest.raises(WeightsError, match=r"yolov8n\.pt: no such file.*nothing is downloaded"):
        load_network(Path("yolov8n.pt"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "yolov8n.onnx"
    path.touch()

    with pytest.raises(WeightsError, match=r"are \.pt or \.safetensors files"):
        load_network(path)


def test_a_checkpoint_finds_its_class_person_among_others(tmp_path: Path) -> None:
    # A name that ultralytics itself would rewrite to yolov5nu.pt, and then download.
    path = two_class_checkpoint(tmp_path / "yolov5n.pt")
    squares = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), np.uint8)
    least = np.array([1e-4], np.float32)

    checkpoint = TorchDetector.load(path, image_size_px=128)
    packaged = TorchDetector.load(image_size_px=128)

    assert checkpoint.name == "yolov5n"
    (found,), (expected,) = checkpoint.run([*squares], least), packaged.run([*squares], least)
    assert len(expected.scores) > 0
    assert np.allclose(found.boxes_xyxy_px, expected.boxes_xyxy_px, atol=0.01)
    assert np.allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize("load", [TorchDetector.load, by_openvino.detector])
@pytest.mark.parametrize("shape_hw", [(64, 64), (64, 32), (32, 64)])
def test_a_network_without_suppression_step_answers_as_it_is(
    load: Callable[..., PersonDetector], shape_hw: tuple[int, int], tmp_path: Path
) -> None:
    module = build("26/yolo26.yaml", ["dog", "person"]).eval()
    module.end2end = True
    torch.manual_seed(0)
    for layer in module.modules():  # else all scores are equal, and any may be kept
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    canvases = np.random.default_rng(0).integers(0, 256, (1, *shape_hw, 3), np.uint8)
    with torch.inference_mode():
        rows = module(torch.from_numpy(canvases).permute(0, 3, 1, 2) / 255)[0][0]
    people = rows[rows[:, 5] == 1]

    detector = load(save_checkpoint(module, tmp_path / "nms-free.pt"), image_size_px=64)
    (found,) = detector.run([*canvases], np.zeros(1, np.float32))

    assert len(people) > 0
    assert np.allclose(found.scores, people[:, 4], atol=1e-5)
    assert np.allclose(np.sort(found.boxes_xyxy_px, 0), np.sort(people[:, :4], 0), atol=0.01)


def test_weights_without_a_class_person_are_refused(tmp_path: Path) -> None:
    path = save_checkpoint(build("v8/yolov8.yaml", ["cat", "dog"]), tmp_path / "pets.pt")

    with pytest.raises(WeightsError, match=r"pets\.pt: has no class called 'person' among its 2"):
        load_network(path)


def test_a_segmentation_network_is_refused(tmp_path: Path) -> None:
    module = build("v8/yolov8-seg.yaml", ["person"], kind="SegmentationModel")
    path = save_checkpoint(module, tmp_path / "masks.pt")

    with pytest.raises(WeightsError, match="not a YOLO detection network, its head is Segment"):
        load_network(path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(b"not a checkpoint")

    with pytest.raises(WeightsError, match=r"damaged\.pt: not an ultralytics checkpoint"):
        load_network(path)


class RunsCode:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "made-by-the-checkpoint"
    path = tmp_path / "hostile.pt"
    torch.save({"model": RunsCode(target)}, path, pickle_module=pickle)

    with pytest.raises(WeightsError, match="not an ultralytics checkpoint"):
        load_network(path)
    assert not target.exists()


def test_our_own_file_of_another_network_is_refused(tmp_path: Path) -> None:
    tensors, card, _ = read_tensors(PACKAGED)
    path = tmp_path / "other.safetensors"
    write_tensors(path, tensors, card.model_copy(update={"architecture": "distilpose-s"}))

    with pytest.raises(WeightsError, match="is distilpose-s, not yolov8n-person"):
        load_network(path)


def test_our_own_file_with_a_tensor_missing_is_refused(tmp_path: Path) -> None:
    tensors, card, _ = read_tensors(PACKAGED)
    del tensors["model.0.conv.weight"]
    path = tmp_path / "incomplete.safetensors"
    write_tensors(path, tensors, card)

    with pytest.raises(WeightsError, match=r"does not fit yolov8n-person(?s:.*)model\.0\.conv"):
        load_network(path)


def test_the_packaged_card_says_where_the_weights_come_from() -> None:
    card = read_card(PACKAGED)

    assert "AGPL-3.0" in card.licences[0]
    assert "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36" in card.source
    assert [figure.value for figure in card.accuracy] == [37.3]


def test_loading_leaves_the_random_numbers_of_the_process_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)

    torch.manual_seed(7)
    load_network()

    assert torch.equal(torch.rand(3), expected)


# Runs in a separate process, where ultralytics is imported for the first time. Audit hooks record
# Python's actions even if ultralytics swallows the error.
OBSERVED_RUN = """
import json, os, sys, warnings
import cv2, numpy, PIL.Image, torch
from collections.abc import Callable
from pathlib import Path

seen = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        seen.append(f"network: {event} {arguments}")
    elif event == "subprocess.Popen" and any("pip" in str(part) for part in arguments[1]):
        seen.append(f"install: {arguments[1]}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path, _, flags = arguments
        path = os.path.realpath(os.fsdecode(path))
        if flags & (os.O_WRONLY | os.O_RDWR) and not path.startswith((TEMP, "/dev/")):
            seen.append(f"write: {path}")
    elif event == "os.mkdir" and not os.path.realpath(arguments[0]).startswith(TEMP):
        seen.append(f"mkdir: {arguments[0]}")

def process_settings():
    return {
        "environment": {k: v for k, v in os.environ.items() if not k.startswith(OWN)},
        "filters": [str(each) for each in warnings.filters],
        "numpy": str(numpy.get_printoptions()),
        "torch": str(torch.rand(1, 60, generator=torch.Generator().manual_seed(0))),
        "threads": (cv2.getNumThreads(), torch.get_num_threads()),
        "save": torch.save.__module__,
        "open": PIL.Image.open.__module__,
    }

TEMP = os.path.realpath(os.environ["TMPDIR"])
OWN = ("YOLO_", "ULTRALYTICS_")
from distilpose.model.runtime.pytorch.detector import TorchDetector
before = process_settings()
sys.addaudithook(watch)
image = numpy.zeros((64, 64, 3), numpy.uint8)
for path in (None, *map(Path, sys.argv[1:])):
    TorchDetector.load(path, image_size_px=64).detect([image], min_box_score=0.5)
after = process_settings()
changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
from ultralytics import settings
from ultralytics.utils import ONLINE
switches = {"online": ONLINE, "sync": settings["sync"]}
print(json.dumps({"seen": seen, "changed": changed, "switches": switches}))
"""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The actions of a fresh process that loaded both kinds of weights and ran them."""
    folder = tmp_path_factory.mktemp("observed")
    temp, home = folder / "temp", folder / "home"
    temp.mkdir()
    home.mkdir()
    checkpoint = two_class_checkpoint(folder / "weights.pt")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(temp),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-c", OBSERVED_RUN, str(checkpoint)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    report: dict[str, Any] = json.loads(finished.stdout)
    left_behind = [path.name for place in (temp, home) for path in place.iterdir()]
    return report | {"stderr": finished.stderr, "left behind": left_behind}


def test_ultralytics_reaches_no_network_installs_nothing_and_writes_only_temporary_files(
    observed: dict[str, Any],
) -> None:
    assert observed["seen"] == []
    assert observed["left behind"] == []


def test_ultralytics_is_offline_and_reports_nothing(observed: dict[str, Any]) -> None:
    assert observed["switches"] == {"online": False, "sync": False}


def test_importing_ultralytics_leaves_the_settings_of_the_process(
    observed: dict[str, Any],
) -> None:
    assert observed["changed"] == {}


def test_ultralytics_prints_nothing(observed: dict[str, Any]) -> None:
    assert observed["stderr"] == ""
