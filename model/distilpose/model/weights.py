"""Weights files: safetensors with an embedded card, written atomically and checked when read.

Card and calibration are JSON in the safetensors metadata, so that they cannot be separated from the
weights; the number of training crops is stored separately as well, for tools that read no cards.
Networks keep matrices in float16, vectors and the position code in float32. The functions for
tensors know no networks: a detector's weights have the same form.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from distilpose.model.calibration import Calibration
from distilpose.model.card import Card
from distilpose.model.configs import TRUNK, network_config
from distilpose.model.errors import ConfigError, WeightsError, one_line
from distilpose.model.files import replacing
from distilpose.model.networks import Student, Teacher, construct

_CARD_KEY: Final = "card"
_CALIBRATION_KEY: Final = "calibration"
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
    tensors, card, digest = read_tensors(path, sha256=sha256)
    network = constructed(card.architecture, path)
    check_fit(tensors, network.state_dict(), f"{path}: {card.architecture}")
    network.load_state_dict(tensors)
    return Weights(network.eval(), card, _read_calibration(path, card), digest)


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
    metadata = {_CARD_KEY: card.model_dump_json()}
    if calibration:
        metadata[_CALIBRATION_KEY] = calibration.model_dump_json()
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
    digest = digest_of(path)
    if sha256 is not None and digest != sha256.lower():
        raise WeightsError(f"{path}: sha256 is {digest}, expected {sha256}")
    with _opened(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        card = _card_of(file, path)
    if broken := _not_finite(tensors):
        raise WeightsError(f"{path}: holds NaN or infinity: {_first_few(broken)}")
    return tensors, card, digest


def read_card(path: Path) -> Card:
    """Return the card of the file at `path`, without reading its tensors.

    Raises:
        WeightsError: the file is missing or not a weights file.
    """
    with _opened(path) as file:
        return _card_of(file, path)


def constructed(name: str, path: Path) -> Student | Teacher:
    """Return the network called `name`, as expected for the file at `path`.

    Raises:
        WeightsError: the network is unknown, or only a part of one.
    """
    if name == TRUNK:
        raise WeightsError(
            f"{path}: {TRUNK} is the bare trunk of a network, which training may start from; it "
            "has no answers to serve, export or measure"
        )
    try:
        return construct(network_config(name))
    except ConfigError as err:
        raise WeightsError(f"{path}: {err}") from err


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


def digest_of(path: Path) -> str:
    """Return the SHA-256 digest of the file at `path`, lower-case hexadecimal.

    Raises:
        WeightsError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as err:
        raise WeightsError(f"{path}: no such file") from err
    except OSError as err:
        raise WeightsError(f"{path}: {err.strerror}") from err


def _opened(path: Path) -> contextlib.AbstractContextManager[Any]:
    try:
        opened: contextlib.AbstractContextManager[Any] = safe_open(path, framework="pt")
    except FileNotFoundError as err:
        raise WeightsError(f"{path}: no such file") from err
    except (OSError, SafetensorError) as err:
        raise WeightsError(f"{path}: not a safetensors file: {err}") from err
    return opened


def _card_of(file: Any, path: Path) -> Card:
    try:
        return Card.model_validate_json((file.metadata() or {})[_CARD_KEY])
    except KeyError as err:
        raise WeightsError(f"{path}: a safetensors file without a card") from err
    except ValidationError as err:
        raise WeightsError(f"{path}: its card is not one of ours: {one_line(err)}") from err


def _read_calibration(path: Path, card: Card) -> Calibration | None:
    if not card.calibrated:
        return None
    try:
        with _opened(path) as file:
            return Calibration.model_validate_json(file.metadata()[_CALIBRATION_KEY])
    except KeyError as err:
        raise WeightsError(f"{path}: its calibration is missing") from err
    except ValidationError as err:
        raise WeightsError(f"{path}: its calibration is not one of ours: {one_line(err)}") from err
