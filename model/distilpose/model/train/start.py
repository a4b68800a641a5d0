"""What a run starts from: a file's weights as far as they fit, a student from its teacher."""

from pathlib import Path

from torch import Tensor

from distilpose.model.load import packaged_teacher
from distilpose.model.networks import Student, Teacher
from distilpose.model.train.settings import TrainSettings
from distilpose.model.weights import read_tensors

_STUDENT_HEAD = "keypoint_head.tokenhead."
_TEACHER_HEAD = "keypoint_head.tokenpose."


def teacher_file(settings: TrainSettings) -> Path | None:
    """The weights file of a student's teacher, where it has one."""
    return packaged_teacher() if settings.teacher == "packaged" else settings.teacher


def start_weights(network: Student | Teacher, settings: TrainSettings) -> int:
    """Give `network` what fits by name and shape of `start_from`, else of a student's teacher.

    A teacher's tokens and transformer fit a student under the student's name; its last layers do
    not. Returns how many tensors were taken.

    Raises:
        WeightsError: the file is missing or no weights file.
    """
    path = settings.start_from or teacher_file(settings)
    if path is None or path == "nothing":
        return 0
    tensors, _, _ = read_tensors(path)
    own = network.state_dict()
    taken = {
        key: value.to(own[key].dtype)
        for key, value in _renamed(tensors, isinstance(network, Student)).items()
        if key in own and own[key].shape == value.shape
    }
    network.load_state_dict(taken, strict=False)
    return len(taken)


def _renamed(tensors: dict[str, Tensor], for_student: bool) -> dict[str, Tensor]:
    foreign, own = _TEACHER_HEAD, _STUDENT_HEAD
    if not for_student:
        foreign, own = own, foreign
    return {
        own + key.removeprefix(foreign) if key.startswith(foreign) else key: value
        for key, value in tensors.items()
        if not key.startswith(foreign + "mlp_head")
    }
