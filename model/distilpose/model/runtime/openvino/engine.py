"""The student on the CPU, run by OpenVINO: the same answers, on x86 faster than torch."""

from collections.abc import Sequence

import torch

from distilpose.model.arrays import CropsBHWC
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.networks import Student
from distilpose.model.runtime.engine import PoseArrays, PoseEngine
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.served import ServedStudent


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
    """A student network ready to run on the CPU in float32; takes ownership of the network.

    It uses as many threads as torch uses when it is created. The smallest and the largest bucket
    have their own programs, the others share one: a program costs 0.4 s and up to 70 MB. Each is
    compiled when first needed, by `warm_up` or by a batch.

    Raises:
        ConfigError: OpenVINO is not installed, or `buckets` is empty or not ascending.
    """

    runtime = "openvino"

    def __init__(self, network: Student, *, buckets: Sequence[int]) -> None:
        cpu = torch.device("cpu")
        super().__init__(network, device=cpu, dtype=torch.float32, buckets=buckets)
        self._graph = student_graph(network)
        self._threads = torch.get_num_threads()
        self._programs: dict[int | None, graphs.Run] = {}

    def _answer(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        return PoseArrays(*self._program(len(crops_BHWC))(crops_BHWC))

    def _program(self, bucket: int) -> graphs.Run:
        own_size = bucket if bucket in (self.buckets[0], self.buckets[-1]) else None
        if own_size not in self._programs:
            self._programs[own_size] = graphs.compiled(
                self._graph, threads=self._threads, batch_size=own_size
            )
        return self._programs[own_size]
