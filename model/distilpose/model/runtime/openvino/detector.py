"""The person detector on the CPU, run by OpenVINO: the same boxes, on x86 faster than torch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distilpose.model.errors import ConfigError
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.served import ServedDetector
from distilpose.model.runtime.yolo import DetectorNetwork


class OpenVinoDetector(PersonDetector):
    """A `PersonDetector` with the same options on the CPU.

    It uses as many threads as torch uses when it is created. Each shape of canvas has a program of
    its own, compiled when first needed, by `warm_up` or by an image.

    Raises:
        ConfigError: OpenVINO is not installed or cannot run the network, or device, size or
            overlap are not supported.
    """

    def __init__(
        self, network: DetectorNetwork, *, precision: Precision = "float32", **options: Any
    ) -> None:
        # The graph is made of the network in float32: OpenVINO itself rounds its weights.
        super().__init__(network, **options)
        if self.device.type != "cpu":
            raise ConfigError(f"OpenVINO detects on the cpu only, not on {self.device}")
        self.precision = precision
        self._graph = self._converted(self.canvases[-1])
        self._threads = torch.get_num_threads()
        self._programs: dict[tuple[int, ...], graphs.Run] = {}

    def _answer(self, canvases_BHWC: npt.NDArray[np.uint8]) -> torch.Tensor:
        [output] = self._program(canvases_BHWC.shape)(canvases_BHWC)
        return torch.from_numpy(output)

    def _program(self, shape: tuple[int, ...]) -> graphs.Run:
        if shape not in self._programs:
            # A network's own suppression divides its candidates into groups by their number.
            graph = self._converted(shape[1:3]) if self._end2end else self._graph
            self._programs[shape] = graphs.compiled(
                graph, threads=self._threads, precision=self.precision, shape=shape
            )
        return self._programs[shape]

    def _converted(self, shape_hw: tuple[int, ...]) -> graphs.Graph:
        return graphs.convert(
            ServedDetector(self._module).eval(),
            torch.zeros((1, *shape_hw, 3), dtype=torch.uint8),
            input_name="canvases",
            output_names=["people"],
        )
