"""Load a detection network from a weights file: an ultralytics checkpoint, or our own format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from distilpose.model.errors import WeightsError
from distilpose.model.networks.offline import import_ultralytics, load_checkpoint
from distilpose.model.runtime.detector import PACKAGED, DetectorFacts, check_path
from distilpose.model.weights import read_tensors

PACKAGED_ARCHITECTURE: Final = "yolov8n-person"
_PERSON: Final = "person"


@dataclass(frozen=True, slots=True)
class DetectorNetwork:
    """A YOLO detection network, with what has to be known of it."""

    module: nn.Module
    """The network: float32, in evaluation mode, convolutions and norms fused, on the CPU."""
    head: nn.Module
    """Its last layer."""
    facts: DetectorFacts


def load_network(path: Path | None = None) -> DetectorNetwork:
    """Load the network from `path`, ultralytics' `.pt` or our `.safetensors`; packaged for None.

    Raises:
        WeightsError: there is no such file, or it holds no YOLO detection network with a class
            called person.
    """
    path = PACKAGED if path is None else path
    check_path(path)
    if path.suffix == ".safetensors":
        module, name, sha256 = _from_safetensors(path)
    elif path.suffix == ".pt":
        module, sha256 = load_checkpoint(path)
        name = path.stem
    else:
        raise WeightsError(f"{path}: detector weights are .pt or .safetensors files")
    head, person_class = _check(module, path)
    module.fuse(verbose=False).eval().requires_grad_(False)
    facts = DetectorFacts(
        name=name,
        sha256=sha256,
        person_class=person_class,
        end2end=bool(head.end2end),
        stride_px=int(module.stride.max()),
    )
    return DetectorNetwork(module, head, facts)


def _from_safetensors(path: Path) -> tuple[Any, str, str]:
    tensors, card, sha256 = read_tensors(path)
    if card.architecture != PACKAGED_ARCHITECTURE:
        raise WeightsError(f"{path}: is {card.architecture}, not {PACKAGED_ARCHITECTURE}")
    module = person_network()
    state = {key: tensor.float() for key, tensor in tensors.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as err:
        raise WeightsError(f"{path}: does not fit {PACKAGED_ARCHITECTURE}: {err}") from err
    return module, card.architecture, sha256


def person_network() -> Any:
    """YOLOv8n with random weights whose class branch ends in the one class person.

    It is built for COCO's 80 classes and then reduced: built for one class, its class branch would
    be narrower than the published one.
    """
    utils = import_ultralytics("utils")
    config = utils.YAML.load(utils.ROOT / "cfg" / "models" / "v8" / "yolov8.yaml")
    with torch.random.fork_rng(devices=[]):
        module = import_ultralytics("nn.tasks").DetectionModel(
            {**config, "scale": "n"}, nc=80, verbose=False
        )
    cut_to_class(module, 0)
    module.names = {0: _PERSON}
    return module


def cut_to_class(module: Any, index: int) -> None:
    """Keep one class of a YOLO network's class branch, in place."""
    head = module.model[-1]
    for level in head.cv3:
        last = level[-1]
        last.weight = nn.Parameter(last.weight[index : index + 1].detach().clone())
        last.bias = nn.Parameter(last.bias[index : index + 1].detach().clone())
        last.out_channels = 1
    head.nc = 1
    head.no = 1 + 4 * head.reg_max


def _check(module: Any, path: Path) -> tuple[Any, int]:
    """The detection head of `module` and the index of its class person."""
    heads = import_ultralytics("nn.modules.head")
    head = getattr(module, "model", [None])[-1]
    # The heads for masks, keypoints and rotated boxes are subclasses of Detect.
    if type(head) not in (heads.Detect, heads.v10Detect):
        raise WeightsError(
            f"{path}: not a YOLO detection network, its head is {type(head).__name__}"
        )
    for index, name in dict(module.names).items():
        if name.casefold() == _PERSON:
            return head, index
    raise WeightsError(f"{path}: has no class called {_PERSON!r} among its {len(module.names)}")
