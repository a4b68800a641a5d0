"""Both networks run by OpenVINO, with one thread for each CPU and without a cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilpose.model.container import usable_cpus
from distilpose.model.networks import Student
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.runtime.openvino.conversion import student_graph
from distilpose.model.runtime.openvino.detector import OpenVinoDetector
from distilpose.model.runtime.openvino.engine import OpenVinoEngine
from distilpose.model.runtime.openvino.loading import load_detector
from distilpose.model.runtime.openvino.programs import Programs
from distilpose.model.runtime.precision import Precision


def engine_of(
    student: Student, *, precision: Precision = "float32", buckets: Sequence[int]
) -> OpenVinoEngine:
    graph = student_graph(student)
    programs = Programs(lambda _: graph, precision=precision, threads=usable_cpus())
    return OpenVinoEngine(programs, buckets=buckets)


def detector(
    path: Path = PACKAGED, *, precision: Precision = "float32", **options: Any
) -> OpenVinoDetector:
    return load_detector(path, precision=precision, threads=usable_cpus(), cache=None, **options)
