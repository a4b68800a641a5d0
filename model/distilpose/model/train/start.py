"""What a run starts from: a file's weights as far as they fit, a student from its teacher."""

from pathlib import Path

from torch import Tensor, nn

from distilpose.model.errors import WeightsError
from distilpose.model.load import packaged_student
from distilpose.model.networks import Student, Teacher
from distilpose.model.train.settings import TrainSettings
from distilpose.model.weights import read_tensors

_STUDENT_HEAD = "keypoint_head.tokenhead."
_TEACHER_HEAD = "keypoint_head.tokenpose."


def teacher_file(settings: TrainSettings) -> Path | None:
    """The weights file of a student's teacher, where it has one."""
    return settings.teacher


def start_weights(network: Student | Teacher, settings: TrainSettings) -> int:
    """Give `network` what fits by name and shape of `start_from`, else of a student's teacher.

    A teacher's tokens and transformer fit a student under the student's name; its last layers do
    not. Returns how many tensors were taken.

    Raises:
        WeightsError: the file is missing or no weights file.
    """
    is_student = isinstance(network, Student)
    path = settings.start_from or teacher_file(settings)
    if path is None or path == "nothing":
        return 0
    if path == "packaged":
        path = packaged_student()
    tensors, _, _ = read_tensors(path)
    own = network.state_dict()
    taken = {
        key: value.to(own[key].dtype)
        for key, value in _renamed(tensors, is_student).items()
        if key in own and own[key].shape == value.shape
    }
    network.load_state_dict(taken, strict=False)
    return len(taken)


def start_heatmap_head(head: nn.Module, settings: TrainSettings) -> None:
    """Give a joint student's heatmap head the last layers of its teacher's file, if it has one.

    Raises:
        WeightsError: the file is missing, no weights file, or not of such a teacher.
    """
    path = teacher_file(settings)
    if path is None:
        return
    tensors, _, _ = read_tensors(path)
    place = _TEACHER_HEAD + "mlp_head."
    own = {
        key.removeprefix(place): t.float() for key, t in tensors.items() if key.startswith(place)
    }
    try:
        head.load_state_dict(own)
    except RuntimeError as err:
        raise WeightsError(f"{path}: is not of a teacher that fits: {err}") from err


def _renamed(tensors: dict[str, Tensor], for_student: bool) -> dict[str, Tensor]:
    foreign, own = _TEACHER_HEAD, _STUDENT_HEAD
    if not for_student:
        foreign, own = own, foreign
    return {
        own + key.removeprefix(foreign) if key.startswith(foreign) else key: value
        for key, value in tensors.items()
        if not key.startswith(foreign + "mlp_head")
    }
