"""The person detector on the CPU, run by OpenVINO: the same boxes, on x86 faster than torch."""

from typing import Any

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray
from distilpose.model.runtime.detector import DetectorFacts, PersonDetector
from distilpose.model.runtime.devices import ComputeDevice
from distilpose.model.runtime.openvino.programs import Programs


class OpenVinoDetector(PersonDetector):
    """A detector's programs, one for each shape of canvas, ready to find people on the CPU.

    Raises:
        ConfigError: the size or the overlap is not supported.
    """

    def __init__(self, facts: DetectorFacts, programs: Programs, **options: Any) -> None:
        device = ComputeDevice("cpu", programs.threads)
        super().__init__(facts, device=device, precision=programs.precision, **options)
        self._programs = programs

    def restore(self) -> None:
        """Take the programs that earlier starts kept."""
        self._programs.restore((1, *shape_hw, 3) for shape_hw in self.canvases)

    def _answer(self, canvases_BHWC: npt.NDArray[np.uint8]) -> FloatArray:
        [people] = self._programs.run(canvases_BHWC)
        return people
