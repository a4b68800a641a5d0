"""The header of a weights file: card, calibration and digest, read without torch or the tensors.

Card and calibration are JSON in the safetensors metadata, so that they cannot be separated from the
weights.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from distilpose.model.calibration import Calibration
from distilpose.model.card import Card
from distilpose.model.configs import TRUNK, NetworkConfig, network_config
from distilpose.model.errors import ConfigError, WeightsError, one_line

CARD_KEY: Final = "card"
CALIBRATION_KEY: Final = "calibration"


class Header(NamedTuple):
    """All that a weights file says beside its tensors."""

    card: Card
    calibration: Calibration | None
    sha256: str
    """The file's digest, in lower-case hexadecimal."""


def read_header(path: Path, *, sha256: str | None = None) -> Header:
    """Return the header of the file at `path`, which must have the digest `sha256` if given.

    Raises:
        WeightsError: the file is missing or not a weights file, or its digest is another.
    """
    digest = checked_digest(path, sha256)
    with opened(path) as file:
        card = card_of(file, path)
        return Header(card, _calibration_of(file, path) if card.calibrated else None, digest)


def read_card(path: Path) -> Card:
    """Return the card of the file at `path`, without reading its tensors.

    Raises:
        WeightsError: the file is missing or not a weights file.
    """
    with opened(path) as file:
        return card_of(file, path)


def checked_digest(path: Path, expected: str | None) -> str:
    """Return the digest of the file at `path`, which must be the `expected` one if given.

    Raises:
        WeightsError: the file is missing or cannot be read, or its digest is another.
    """
    digest = digest_of(path)
    if expected is not None and digest != expected.lower():
        raise WeightsError(f"{path}: sha256 is {digest}, expected {expected}")
    return digest


def checked_config(architecture: str, path: Path) -> NetworkConfig:
    """Return the network that the file at `path` names as its architecture.

    Raises:
        WeightsError: the network is unknown, or only a part of one.
    """
    if architecture == TRUNK:
        raise WeightsError(
            f"{path}: {TRUNK} is the bare trunk of a network, which training may start from; it "
            "has no answers to serve, export or measure"
        )
    try:
        return network_config(architecture)
    except ConfigError as err:
        raise WeightsError(f"{path}: {err}") from err


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


def opened(path: Path, framework: str = "np") -> contextlib.AbstractContextManager[Any]:
    """Open a safetensors file, for tensors of a `framework`: `np`, or `pt` for torch's.

    Raises:
        WeightsError: the file is missing or not a safetensors file.
    """
    try:
        file: contextlib.AbstractContextManager[Any] = safe_open(path, framework=framework)
    except FileNotFoundError as err:
        raise WeightsError(f"{path}: no such file") from err
    except (OSError, SafetensorError) as err:
        raise WeightsError(f"{path}: not a safetensors file: {err}") from err
    return file


def card_of(file: Any, path: Path) -> Card:
    """The card in an opened file.

    Raises:
        WeightsError: it has none, or not one of ours.
    """
    try:
        return Card.model_validate_json((file.metadata() or {})[CARD_KEY])
    except KeyError as err:
        raise WeightsError(f"{path}: a safetensors file without a card") from err
    except ValidationError as err:
        raise WeightsError(f"{path}: its card is not one of ours: {one_line(err)}") from err


def _calibration_of(file: Any, path: Path) -> Calibration:
    try:
        return Calibration.model_validate_json(file.metadata()[CALIBRATION_KEY])
    except KeyError as err:
        raise WeightsError(f"{path}: its calibration is missing") from err
    except ValidationError as err:
        raise WeightsError(f"{path}: its calibration is not one of ours: {one_line(err)}") from err
