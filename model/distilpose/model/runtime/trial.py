"""A trial of both networks on a fixed picture. Knows no service and no schedule."""

from typing import Final

import numpy as np
import numpy.typing as npt

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.errors import NotFinite
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.runtime.engine import PoseEngine

_ADVICE: Final = "the weights are damaged or the device computes wrongly"


def check_student(engine: PoseEngine) -> None:
    """Run one crop through the student.

    Raises:
        NotFinite: the answer has NaN or infinity.
        OutOfDeviceMemory: the crop does not fit into the device's memory.
        DeviceFault: the device no longer computes.
    """
    answer = engine.run(_gradient(CROP_HEIGHT, CROP_WIDTH)[None])
    if not all(np.isfinite(column).all() for column in answer):
        raise NotFinite(f"the student answered a fixed crop with NaN or infinity: {_ADVICE}")


def check_detector(detector: PersonDetector) -> None:
    """Run one canvas through the detector, and look at every candidate.

    Raises:
        NotFinite: the answer has NaN or infinity.
        OutOfDeviceMemory: the canvas does not fit into the device's memory.
        DeviceFault: the device no longer computes.
    """
    every_score = np.full(1, -np.inf, np.float32)
    try:
        detector.run([_gradient(*detector.canvases[-1])], every_score)
    except NotFinite as err:
        raise NotFinite(
            f"the detector answered a fixed picture with NaN or infinity: {_ADVICE}"
        ) from err


def _gradient(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A picture (height, width, 3) in which every colour changes from pixel to pixel."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, rows + columns], -1).astype(np.uint8)
