"""The programs of one network, one for each shape of its input."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy.typing as npt

from distilpose.model.arrays import FloatArray
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.kept import Kept
from distilpose.model.runtime.precision import Precision

Shape: TypeAlias = tuple[int, ...]


class Programs:
    """A network on the CPU; not thread-safe.

    A program is made when an input of its shape first comes: as it is `kept`, or else compiled from
    the graph that `graph_for` returns for the shape.

    Raises:
        ConfigError: OpenVINO is not installed.
    """

    def __init__(
        self,
        graph_for: Callable[[Shape], graphs.Graph],
        *,
        precision: Precision,
        threads: int,
        kept: Kept | None = None,
    ) -> None:
        graphs.import_openvino()
        self.precision = precision
        self.threads = threads
        self._graph_for = graph_for
        self._options = graphs.options(threads=threads, precision=precision)
        self._kept = kept
        self._programs: dict[Shape, graphs.Program] = {}

    def run(self, array: npt.NDArray[Any]) -> list[FloatArray]:
        """The network's outputs, in their order.

        Raises:
            ConfigError: OpenVINO cannot express the network.
        """
        if array.shape not in self._programs:
            self._programs[array.shape] = self._program(array.shape)
        return graphs.run(self._programs[array.shape], array)

    def restore(self, shapes: Iterable[Shape]) -> None:
        """Make the programs for these shapes that are kept, several at a time."""
        missing = [shape for shape in shapes if shape not in self._programs]
        with ThreadPoolExecutor(self.threads) as pool:
            restored = zip(missing, pool.map(self._restored, missing), strict=True)
            self._programs |= {shape: program for shape, program in restored if program is not None}

    def _program(self, shape: Shape) -> graphs.Program:
        program = self._restored(shape)
        if program is not None:
            return program
        program = graphs.compiled(self._graph_for(shape), self._options, shape=shape)
        if self._kept:
            self._kept.keep(self._what(shape), program)
        return program

    def _restored(self, shape: Shape) -> graphs.Program | None:
        return self._kept.program(self._what(shape), self._options) if self._kept else None

    def _what(self, shape: Shape) -> dict[str, object]:
        return {**self._options, "shape": shape}
