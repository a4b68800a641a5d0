"""Load both networks for OpenVINO; torch is imported only for what is not in the cache."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache as once
from hashlib import sha256 as digest
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from distilpose.model.files.cache import FileCache
from distilpose.model.header import digest_of
from distilpose.model.letterbox import ShapeHW
from distilpose.model.runtime.detector import DetectorFacts, check_path
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.detector import OpenVinoDetector
from distilpose.model.runtime.openvino.engine import OpenVinoEngine
from distilpose.model.runtime.openvino.kept import Kept, key_of
from distilpose.model.runtime.openvino.programs import Programs
from distilpose.model.runtime.precision import Precision

if TYPE_CHECKING:
    from distilpose.model.runtime.pytorch.yolo import DetectorNetwork

_FACTS: Final = TypeAdapter(DetectorFacts)
_CODE: Final = (Path(__file__).parents[1], Path(__file__).parents[2] / "networks")
"""Networks, and what runs them."""
_VERSIONS: Final = {"torch": "version.py", "ultralytics": "__init__.py"}
"""The packages that convert networks to graphs, and the file of each that has its version."""


def load_student(
    path: Path,
    sha256: str,
    *,
    precision: Precision,
    threads: int,
    buckets: Sequence[int],
    cache: FileCache | None,
) -> OpenVinoEngine:
    """The student in the weights file at `path` of this digest.

    Raises:
        ConfigError: OpenVINO is not installed, or `buckets` is empty or not ascending.
        WeightsError: the file is missing or damaged, or has another digest.
    """

    def convert() -> graphs.Graph:
        from distilpose.model.runtime.openvino.conversion import load_student_graph  # noqa: PLC0415 - needs torch

        return load_student_graph(path, sha256)

    kept = Kept(cache, _identity("student", sha256)) if cache else None
    graph = once(lambda: kept.graph({}, convert) if kept else convert())
    if not (kept and kept.has_graph({})):
        graph()  # what is wrong with the file is found here
    programs = Programs(lambda _: graph(), precision=precision, threads=threads, kept=kept)
    return OpenVinoEngine(programs, buckets=buckets)


def load_detector(
    path: Path,
    *,
    precision: Precision,
    threads: int,
    cache: FileCache | None,
    **options: Any,
) -> OpenVinoDetector:
    """The detector in the file at `path`, ultralytics' `.pt` or our `.safetensors`.

    Raises:
        WeightsError: there is no such file, or it is not a detector of people.
        ConfigError: OpenVINO is not installed or cannot express the network, or size or overlap
            are not supported.
    """
    check_path(path)

    @once
    def network() -> "DetectorNetwork":
        from distilpose.model.runtime.pytorch.yolo import load_network  # noqa: PLC0415 - needs torch

        return load_network(path)

    facts = _facts(path, network, cache)
    kept = Kept(cache, _identity("detector", facts.sha256)) if cache else None

    @once
    def graph(canvas_hw: ShapeHW) -> graphs.Graph:
        def convert() -> graphs.Graph:
            from distilpose.model.runtime.openvino.conversion import detector_graph  # noqa: PLC0415 - needs torch

            return detector_graph(network(), canvas_hw)

        return kept.graph({"canvas": canvas_hw}, convert) if kept else convert()

    programs = Programs(
        lambda shape: graph(shape[1:3] if facts.end2end else detector.canvases[-1]),
        precision=precision,
        threads=threads,
        kept=kept,
    )
    detector = OpenVinoDetector(facts, programs, **options)
    largest = detector.canvases[-1]
    if not (kept and kept.has_graph({"canvas": largest})):
        graph(largest)  # what is wrong with the file is found here
    return detector


def _facts(
    path: Path, network: Callable[[], "DetectorNetwork"], cache: FileCache | None
) -> DetectorFacts:
    if cache is None:
        return network().facts
    key = key_of({**_identity("facts", digest_of(path)), "name": path.name})
    if data := cache.get(key):
        with suppress(ValidationError):  # damaged: it is read from the network again
            return _FACTS.validate_json(bytes(data))
    facts = network().facts
    cache.put(key, _FACTS.dump_json(facts))
    return facts


def _identity(what: str, sha256: str) -> Mapping[str, str]:
    """The things that a graph depends on: the weights, and the code that makes a graph of them."""
    return {"what": what, "weights": sha256, "code": _code_digest()}


@once
def _code_digest() -> str:
    together = digest()
    for folder in _CODE:
        for source in sorted(folder.rglob("*.py")):
            together.update(source.read_bytes())
    for package, file in _VERSIONS.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            together.update(Path(spec.origin).with_name(file).read_bytes())
    return together.hexdigest()
