"""The person detector on the CPU, run by OpenVINO: the same boxes, on x86 faster than torch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distilpose.model.errors import ConfigError
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.served import ServedDetector
from distilpose.model.runtime.yolo import DetectorNetwork


class OpenVinoDetector(PersonDetector):
    """A `PersonDetector` with the same options on the CPU in float32.

    It uses as many threads as torch uses when it is created.

    Raises:
        ConfigError: OpenVINO is not installed or cannot run the network, or device, precision,
            size or overlap are not supported.
    """

    def __init__(self, network: DetectorNetwork, **options: Any) -> None:
        super().__init__(network, **options)
        if self.device.type != "cpu" or self.dtype != torch.float32:
            raise ConfigError(
                f"OpenVINO detects on the cpu in float32 only, not on {self.device} in {self.dtype}"
            )
        side = self.image_size_px
        graph = graphs.convert(
            ServedDetector(self._module).eval(),
            torch.zeros((1, side, side, 3), dtype=torch.uint8),
            input_name="squares",
            output_names=["people"],
        )
        self._program = graphs.compiled(graph, threads=torch.get_num_threads())

    def _answer(self, squares_BHWC: npt.NDArray[np.uint8]) -> torch.Tensor:
        [output] = self._program(squares_BHWC)
        return torch.from_numpy(output)
