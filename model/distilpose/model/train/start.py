"""The start of a run: a file's weights as far as they fit, a student from its teacher."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from distilpose.model.configs import NETWORKS, NetworkConfig, TrunkConfig
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.header import digest_of
from distilpose.model.load import packaged_student
from distilpose.model.networks import Student, Teacher
from distilpose.model.train import checkpoint
from distilpose.model.train.checkpoint import Origin, licences_after
from distilpose.model.train.settings import TrainSettings
from distilpose.model.weights import load, read_tensors

_STUDENT_HEAD = "keypoint_head.tokenhead."
_TEACHER_HEAD = "keypoint_head.tokenpose."
_TRUNK = "trunk."
_MAP = ("ask.", "spots.")
"""On the trunk: queries and places, whose product is a student's logits or a teacher's heatmap."""


class Start(NamedTuple):
    """Weights and helpers to start from."""

    tensors: int
    """Number of the network's tensors that were taken."""
    crops_seen: int | None
    """Crops that they have learned from; None if the file does not say."""
    helpers: dict[str, Tensor]
    """A checkpoint's helpers, for `helpers.Helped`."""
    origin: Origin | None
    """The file; None where the run begins with nothing."""


FROM_NOTHING = Start(0, 0, {}, None)


class _Source(NamedTuple):
    tensors: dict[str, Tensor]
    crops_seen: int | None
    helpers: dict[str, Tensor]
    origin: Origin


def start_weights(network: Student | Teacher, settings: TrainSettings) -> Start:
    """Give `network` what fits by name and shape of `start_from`, else of a student's teacher.

    A teacher's tokens and transformer fit a student, and the other way round; their last layers do
    not. Of a checkpoint the averaged weights are taken, and the helpers'.

    Raises:
        WeightsError: the file is missing, no weights file, or nothing in it fits.
    """
    path = settings.start_from or settings.teacher
    if path is None or path == "nothing":
        return FROM_NOTHING
    source = _read(packaged_student() if path == "packaged" else Path(path))
    own = network.state_dict()
    taken = {
        key: value.to(own[key].dtype)
        for key, value in _translated(source, network.config).items()
        if key in own and own[key].shape == value.shape
    }
    if not taken:
        raise WeightsError(f"{path}: nothing in it fits {settings.network}")
    network.load_state_dict(taken, strict=False)
    return Start(len(taken), source.crops_seen, source.helpers, source.origin)


def frozen_teacher(path: Path, student: NetworkConfig) -> Teacher:
    """The teacher in the weights file at `path`, if it can teach `student`.

    Raises:
        WeightsError: the file is missing or no weights file.
        ConfigError: it is no teacher, or one whose tokens and input are not the student's.
    """
    teacher = load(path).network
    if not isinstance(teacher, Teacher):
        raise ConfigError(f"{path}: is no teacher's weights")
    if isinstance(teacher.config, TrunkConfig) != isinstance(student, TrunkConfig):
        raise ConfigError(
            f"{path}: {teacher.config.name} cannot teach {student.name}, whose tokens and input "
            "are not its own"
        )
    return teacher.eval().requires_grad_(False)


def _read(path: Path) -> _Source:
    if zipfile.is_zipfile(path):
        state = checkpoint.load(path, torch.device("cpu"))
        origin = Origin(
            path.name,
            state.network_name,
            f"at step {state.step}",
            digest_of(path),
            licences_after(state.began_with),
        )
        return _Source(state.averaged, state.crops_seen, state.helpers, origin)
    tensors, card, digest = read_tensors(path)
    # A bare trunk has seen none of the crops that are counted here.
    is_trunk = all(key.startswith(_TRUNK) for key in tensors)
    origin = Origin.of_weights(path, card, digest)
    return _Source(tensors, 0 if is_trunk else card.crops_seen, {}, origin)


def _translated(source: _Source, to: NetworkConfig) -> dict[str, Tensor]:
    """The source's tensors under the names that they have in `to`, without another role's end."""
    known = NETWORKS.get(source.origin.architecture)
    if known is None or known.role == to.role:
        return source.tensors
    if isinstance(known, TrunkConfig):
        return {key: value for key, value in source.tensors.items() if not key.startswith(_MAP)}
    foreign, own = _TEACHER_HEAD, _STUDENT_HEAD
    if to.role == "teacher":
        foreign, own = own, foreign
    return {
        own + key.removeprefix(foreign) if key.startswith(foreign) else key: value
        for key, value in source.tensors.items()
        if not key.startswith(foreign + "mlp_head")
    }
