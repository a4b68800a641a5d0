"""Convert weights published by others to states of our networks.

The DistilPose authors publish mmcv checkpoints of whole networks. Ultralytics publishes
YOLO26n-pose, of which the trunk of the `-n` networks is a part.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from distilpose.model.card import Card
from distilpose.model.configs import TRUNK
from distilpose.model.errors import WeightsError
from distilpose.model.networks.offline import load_checkpoint
from distilpose.model.networks.trunk import yolo26n_pose
from distilpose.model.weights import check_fit, constructed, save, write_halved

_LAYER: Final = re.compile(r"model\.(1?\d|2[0-2])\.")
_POINTS: Final = "model.23.cv4."
_COUNTER: Final = "num_batches_tracked"


def import_file(
    checkpoint: Path, out: Path, architecture: str, *, version: str, licences: Sequence[str] = ()
) -> int:
    """Write a published file's weights to `out` with a card, and return the number of tensors.

    If `licences` is empty, the card says what is known of them. `architecture` is the name of a
    network or `configs.TRUNK`.

    Raises:
        WeightsError: the file is missing, unreadable or refused, or is not of `architecture`.
    """
    if architecture == TRUNK:
        state, sha256 = import_trunk(checkpoint)
        source = f"{checkpoint.name}, sha256 {sha256}"
        write_halved(out, state, trunk_card(source, version, licences))
    else:
        state = import_published(checkpoint, architecture)
        save(out, state, published_card(architecture, checkpoint.name, version, licences))
    return len(state)


def published_card(
    architecture: str, checkpoint: str, version: str, licences: Sequence[str] = ()
) -> Card:
    """Return a card for a whole network, imported from the published file `checkpoint`."""
    return Card(
        architecture=architecture,
        version=version,
        created=datetime.now(UTC).date(),
        source=f"Imported from the checkpoint {checkpoint}.",
        training_data="Not stated by the checkpoint.",
        licences=tuple(licences) or ("Not stated by the checkpoint: ask its authors.",),
        calibrated=False,
        limitations=("Not measured here yet: run `distilpose evaluate`.",),
    )


def trunk_card(file: str, version: str, licences: Sequence[str] = ()) -> Card:
    """Return a card for the bare trunk, imported from `file` by Ultralytics."""
    return Card(
        architecture=TRUNK,
        version=version,
        created=datetime.now(UTC).date(),
        source=f"The trunk of YOLO26n-pose by Ultralytics, imported from {file}.",
        training_data="Not stated by the file. Ultralytics trains YOLO26n-pose on COCO.",
        licences=tuple(licences) or ("AGPL-3.0: weights of Ultralytics' YOLO26n-pose.",),
        intended_use="Training of `distilpose-n` and `tokenpose-n` starts from it.",
        limitations=("It has features and no keypoints: nothing serves or measures it.",),
        crops_seen=0,
        calibrated=False,
    )


def import_published(path: Path, name: str) -> dict[str, Tensor]:
    """Return the state of network `name` from a checkpoint published by its authors (mmcv).

    A `module.` prefix and a teacher inside a student's checkpoint are dropped. No code in the file
    is run: a file with more than tensors, plain values and NumPy numbers is rejected.

    Raises:
        WeightsError: the file is missing, unreadable or rejected, or does not fit `name`.
    """
    checkpoint = _unpickle(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise WeightsError(f"{path}: no checkpoint, it has no 'state_dict'")
    stripped = {
        key.removeprefix("module."): tensor for key, tensor in checkpoint["state_dict"].items()
    }
    state = {key: value for key, value in stripped.items() if not key.startswith("teacher_model.")}
    check_fit(state, constructed(name, path).state_dict(), f"{path}: {name}")
    return state


def import_trunk(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the trunk of YOLO26n-pose under the names of a `-n` network, and the file's digest.

    The file is an ultralytics checkpoint (.pt) or holds tensors with ultralytics' names
    (.safetensors). Batch norms are folded into the convolutions unless they already are; the rest
    of the head is left out.

    Raises:
        WeightsError: the file is missing, unreadable or of another network.
    """
    state, sha256 = _yolo_state(path)
    trunk = _trunk_part(state)
    network = yolo26n_pose()
    if not any(".bn." in key for key in trunk):
        network.fuse(verbose=False)
    check_fit(trunk, _trunk_part(network.state_dict()), f"{path}: the trunk of YOLO26n-pose")
    network.load_state_dict(trunk, strict=False)
    folded = network.fuse(verbose=False).state_dict()
    return {_our_name(key): tensor for key, tensor in _trunk_part(folded).items()}, sha256


def _yolo_state(path: Path) -> tuple[Mapping[str, Tensor], str]:
    if path.suffix == ".pt":
        module, sha256 = load_checkpoint(path)
        return module.state_dict(), sha256
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights of YOLO26n-pose are .pt or .safetensors files")
    try:
        content = path.read_bytes()
        return safetensors.torch.load(content), hashlib.sha256(content).hexdigest()
    except OSError as err:
        raise WeightsError(f"{path}: cannot be read: {err.strerror}") from err
    except SafetensorError as err:
        raise WeightsError(f"{path}: not a safetensors file: {err}") from err


def _trunk_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Batch norms' counters are not used in folding, and not every file has them.
    return {
        key: tensor
        for key, tensor in state.items()
        if (_LAYER.match(key) or key.startswith(_POINTS)) and not key.endswith(_COUNTER)
    }


def _our_name(key: str) -> str:
    if key.startswith(_POINTS):
        return "trunk.points." + key.removeprefix(_POINTS)
    return "trunk.layers." + key.removeprefix("model.")


def _unpickle(path: Path) -> Any:
    # mmcv stores the best score so far, a NumPy number, beside the weights.
    make_number: Any = np.float64(0).__reduce__()[0]
    allowed = [
        make_number,
        (make_number, "numpy.core.multiarray.scalar"),  # its name before NumPy 2
        np.dtype,
        np.dtypes.Float64DType,
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as err:
        raise WeightsError(f"{path}: no such file") from err
    except pickle.UnpicklingError as err:
        raise WeightsError(
            f"{path}: refused, it is no checkpoint or holds Python objects besides tensors; "
            "save it again with its 'state_dict' alone"
        ) from err
    except Exception as err:
        raise WeightsError(f"{path}: not a readable checkpoint: {err}") from err
