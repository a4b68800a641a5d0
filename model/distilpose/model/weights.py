"""Weights files: safetensors with a header of ours, written atomically and checked when read.

The number of training crops is stored beside the card as well, for tools that read no cards.
Networks keep matrices in float16, vectors and the position code in float32. The functions for
tensors know no networks: a detector's weights have the same form.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from distilpose.model.calibration import Calibration
from distilpose.model.card import Card
from distilpose.model.errors import WeightsError
from distilpose.model.files import replacing
from distilpose.model.header import (
    CALIBRATION_KEY,
    CARD_KEY,
    card_of,
    checked_config,
    checked_digest,
    opened,
    read_header,
)
from distilpose.model.networks import Student, Teacher, construct

_CROPS_KEY: Final = "crops"
_NAMED_AT_MOST: Final = 3


class Weights(NamedTuple):
    """A network read from a file, with the contents of its metadata."""

    network: Student | Teacher
    """The network: float32, in evaluation mode, on the CPU."""
    card: Card
    calibration: Calibration | None
    sha256: str
    """The file's digest, in lower-case hexadecimal."""


def save(path: Path, network_state: Mapping[str, Tensor], card: Card) -> None:
    """Write a network's state and card to `path`, replacing what was there.

    Raises:
        WeightsError: the state does not fit the card's architecture, or a matrix has values out of
            float16's range.
    """
    network = constructed(card.architecture, path)
    check_fit(network_state, network.state_dict(), f"{path}: {card.architecture}")
    write_halved(path, network_state, card)


def write_halved(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write `tensors` of any network, matrices in float16, with `card` to `path`.

    Raises:
        WeightsError: a matrix has values out of float16's range, or the file cannot be written.
    """
    stored = {key: _as_stored(key, tensor) for key, tensor in tensors.items()}
    if broken := _not_finite(stored):
        raise WeightsError(f"{path}: not finite in float16: {_first_few(broken)}")
    write_tensors(path, stored, card)


def load(path: Path, *, sha256: str | None = None) -> Weights:
    """Return the network in the file at `path`, which must have the digest `sha256` if given.

    Raises:
        WeightsError: the file is missing or not a weights file, its architecture is unknown, its
            digest or tensors are not the expected ones, or it holds NaN or infinity.
    """
    header = read_header(path, sha256=sha256)
    tensors, card, _ = read_tensors(path, sha256=header.sha256)
    network = constructed(card.architecture, path)
    check_fit(tensors, network.state_dict(), f"{path}: {card.architecture}")
    network.load_state_dict(tensors)
    return Weights(network.eval(), *header)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], card: Card, *, calibration: Calibration | None = None
) -> None:
    """Write `tensors` unchanged, with `card` and `calibration`, to `path`.

    The card's field `calibrated` is set accordingly. A reader finds the old file or the new one,
    never a part of it.

    Raises:
        WeightsError: the file cannot be written.
    """
    contiguous = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
    card = card.model_copy(update={"calibrated": calibration is not None})
    metadata = {CARD_KEY: card.model_dump_json()}
    if calibration:
        metadata[CALIBRATION_KEY] = calibration.model_dump_json()
    if card.crops_seen is not None:
        metadata[_CROPS_KEY] = str(card.crops_seen)
    data = safetensors.torch.save(contiguous, metadata=metadata)
    try:
        with replacing(path) as unfinished:
            unfinished.write_bytes(data)
    except OSError as err:
        raise WeightsError(f"{path}: cannot be written: {err.strerror}") from err


def read_tensors(path: Path, *, sha256: str | None = None) -> tuple[dict[str, Tensor], Card, str]:
    """Return the tensors by name, the card and the digest of the file at `path`.

    Raises:
        WeightsError: the file is missing or not a weights file, its digest is not `sha256`, or it
            holds NaN or infinity.
    """
    digest = checked_digest(path, sha256)
    with opened(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        card = card_of(file, path)
    if broken := _not_finite(tensors):
        raise WeightsError(f"{path}: holds NaN or infinity: {_first_few(broken)}")
    return tensors, card, digest


def constructed(name: str, path: Path) -> Student | Teacher:
    """Return the network called `name`, as expected for the file at `path`.

    Raises:
        WeightsError: the network is unknown, or only a part of one.
    """
    return construct(checked_config(name, path))


def check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    """Check that `state` has the names, shapes and types of a network's `own` tensors.

    Floating-point types may differ in their width.

    Raises:
        WeightsError: naming the tensors that differ; the message starts with `what`.
    """
    problems = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of wrong shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
        "of wrong type": [
            f"{key} {state[key].dtype}"
            for key in own
            if key in state and state[key].is_floating_point() != own[key].is_floating_point()
        ],
    }
    found = [f"{len(keys)} {kind}: {_first_few(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise WeightsError(f"{what} does not fit; " + "; ".join(found))


def _first_few(names: list[str]) -> str:
    rest = ["..."] if len(names) > _NAMED_AT_MOST else []
    return ", ".join(names[:_NAMED_AT_MOST] + rest)


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The tensors with NaN or infinity, found by their sums: twice as fast as `isfinite`."""
    sums = {key: tensor.sum(dtype=torch.float64) for key, tensor in tensors.items()}
    return [key for key, total in sums.items() if not total.isfinite()]


def _as_stored(key: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    exact = tensor.ndim < 2 or key.endswith("pos_embedding")
    return tensor.to(torch.float32 if exact else torch.float16)
