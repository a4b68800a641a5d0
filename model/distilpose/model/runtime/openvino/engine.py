"""The student on the CPU, run by OpenVINO: the same answers, on x86 faster than torch."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch

from distilpose.model.arrays import CropsBHWC
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.networks import Student
from distilpose.model.runtime.engine import PoseArrays, PoseEngine
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.served import ServedStudent

PARTS: Final = (4, 2, 1)
"""The numbers of crops that a program is compiled for."""


def student_graph(student: Student) -> graphs.Graph:
    """The graph of a student on the CPU: `crops` in, the fields of `PoseArrays` out.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    example_BHWC = torch.zeros((1, CROP_HEIGHT, CROP_WIDTH, 3), dtype=torch.uint8)
    return graphs.convert(
        ServedStudent(student).eval(),
        example_BHWC,
        input_name="crops",
        output_names=PoseArrays._fields,
    )


class OpenVinoEngine(PoseEngine):
    """A student network ready to run on the CPU in `precision`; takes ownership of the network.

    It uses as many threads as torch uses when it is created. A batch is run in parts of 4, 2 and 1
    crops, each by a program of its own, compiled when first needed: larger parts are no faster.
    Programs of one fixed size give a crop the same answer, bit for bit. One program for any size
    is 12 to 14 % slower, and in bfloat16 it moves keypoints by up to 0.4 crop pixels.

    Raises:
        ConfigError: OpenVINO is not installed, or `buckets` is empty or not ascending.
    """

    runtime = "openvino"

    def __init__(
        self, network: Student, *, precision: Precision = "float32", buckets: Sequence[int]
    ) -> None:
        # The graph is made of the network in float32: OpenVINO itself rounds its weights.
        cpu = torch.device("cpu")
        super().__init__(network, device=cpu, precision="float32", buckets=buckets)
        self.precision = precision
        self._graph = student_graph(network)
        self._threads = torch.get_num_threads()
        self._programs: dict[int, graphs.Run] = {}

    def _answer(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        parts = [self._program(len(part))(part) for part in _parts(crops_BHWC)]
        return PoseArrays(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _program(self, size: int) -> graphs.Run:
        if size not in self._programs:
            self._programs[size] = graphs.compiled(
                self._graph,
                threads=self._threads,
                precision=self.precision,
                shape=(size, CROP_HEIGHT, CROP_WIDTH, 3),
            )
        return self._programs[size]


def _parts(crops_BHWC: CropsBHWC) -> Iterator[CropsBHWC]:
    """Divide a batch into parts of the sizes in `PARTS`, largest first."""
    start = 0
    for size in PARTS:
        while start + size <= len(crops_BHWC):
            yield crops_BHWC[start : start + size]
            start += size
