"""The stages' input to the device, and the meaning of their failures."""

from collections.abc import Sequence

import numpy as np
import pytest

from distilpose.model.errors import ArrayError, DeviceFault, NotFinite, OutOfDeviceMemory
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.service.pipeline.stages import DetectItem, kind_of, run_detector, run_student


class CanvasLog:
    """A detector that finds as many people as the value of a canvas's first pixel."""

    canvases = ((32, 32),)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.least: list[list[float]] = []

    def run(self, canvases: Sequence[np.ndarray], min_box_scores: np.ndarray) -> list[Detections]:
        self.shapes.append(np.stack(canvases).shape)
        self.least.append(min_box_scores.tolist())
        counts = [canvas[0, 0, 0] for canvas in canvases]
        return [Detections(np.zeros((n, 4), np.float32), np.ones(n, np.float32)) for n in counts]


class CropLog:
    """A student that returns NaN for a crop of value 9."""

    def run(self, crops: np.ndarray) -> PoseArrays:
        value = crops[:, 0, 0, 0].astype(np.float32)
        value[value == 9] = np.nan
        flat = np.repeat(value[:, None], 17, 1)
        return PoseArrays(np.stack([flat, flat], 2), flat, np.stack([flat, flat], 2))


def items(*values: int) -> Sequence[DetectItem]:
    return [DetectItem(np.full((32, 32, 3), value, np.uint8), 0.25) for value in values]


def test_canvases_are_filled_up_to_the_bucket_and_the_rest_is_not_answered() -> None:
    detector = CanvasLog()
    found = run_detector(detector, (1, 2, 4))(items(1, 2, 3))  # type: ignore[arg-type]  # as far as it is used
    assert detector.shapes == [(4, 32, 32, 3)]
    assert detector.least == [[0.25, 0.25, 0.25, np.inf]]
    assert [len(each.scores) for each in found if isinstance(each, Detections)] == [1, 2, 3]


def test_a_crop_whose_answer_is_nan_fails_alone() -> None:
    crops = [np.full((256, 192, 3), value, np.uint8) for value in (1, 9, 3)]
    first, second, third = run_student(CropLog())(crops)  # type: ignore[arg-type]  # as far as it is used
    assert isinstance(first, PoseArrays)
    assert isinstance(second, NotFinite)
    assert isinstance(third, PoseArrays)
    assert third.raw_score.tolist() == [3.0] * 17


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFinite("boxes"), "nan"),
        (OutOfDeviceMemory("no room"), "oom"),
        (MemoryError(), "oom"),
        (DeviceFault("device-side assert"), "lost"),
        (ArrayError("a bug"), "fault"),
        (SystemExit(), "fault"),
    ],
)
def test_failures_are_distinguished(error: BaseException, kind: str) -> None:
    assert kind_of(error) == kind
