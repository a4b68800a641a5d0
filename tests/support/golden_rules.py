"""Weights and images behind the reference values in `golden/`, and a measure of distance.

The rules are those of `golden/README.md`.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_arrays(name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of `golden/<name>.npz`."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def golden_json(name: str) -> Any:
    """Return the content of `golden/<name>.json`."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Return the published names and shapes of a network's state, in their order."""
    entries = golden_json(f"keys/{network}")["entries"]
    return {key: tuple(shape) for key, shape in entries.items()}


def filled_state(network: str, *, seed: int = 0) -> dict[str, Tensor]:
    """Return the network's state, filled the same way as the reference, float32."""
    shapes = golden_shapes(network)
    return {key: filled(key, shape, seed=seed) for key, shape in shapes.items()}


def image_batch() -> Tensor:
    """Return the two normalised crops of the reference, (2, 3, 256, 192) float32."""
    random = _random("input", 0)
    blocks = random.standard_normal((2, 3, 16, 12))
    noise = random.standard_normal((2, 3, 256, 192))
    images = 2 * np.kron(blocks, np.ones((16, 16))) + noise
    return torch.from_numpy(images.astype(np.float32))


def scaled_error(got: Tensor | npt.NDArray[Any], want: npt.NDArray[Any]) -> float:
    """Return the largest |got - want| / (1 + |want|); the shapes must be the same."""
    got_array, want_array = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got_array.shape == want_array.shape
    return float(np.max(np.abs(got_array - want_array) / (1 + np.abs(want_array))))


def _random(text: str, seed: int) -> np.random.RandomState:
    return np.random.RandomState((zlib.crc32(text.encode("ascii")) + seed) % 2**32)


def filled(key: str, shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """Return one entry of a state, filled the same way as the reference, float32."""
    kind = key.rsplit(".", 1)[-1]
    if kind == "pos_embedding":
        return torch.from_numpy(golden_arrays("pos_embedding")["pos_embedding"])
    if kind == "num_batches_tracked":
        return torch.tensor(0)
    random = _random(key, seed)
    in_backbone = key.startswith("backbone.")
    if kind == "running_var":
        values = 0.5 + random.random_sample(shape)
    elif kind in {"running_mean", "bias"}:
        values = (0.02 if in_backbone else 0.1) * random.standard_normal(shape)
    elif kind == "keypoint_token":
        values = 0.5 * random.standard_normal(shape)
    elif len(shape) == 1:
        values = (0.5 if in_backbone else 1.0) + 0.1 * random.standard_normal(shape)
    else:
        # On the trunk no norm keeps activations small.
        gain = 1.55 if key.startswith("trunk.") else 2
        values = np.sqrt(gain / np.prod(shape[1:])) * random.standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))
