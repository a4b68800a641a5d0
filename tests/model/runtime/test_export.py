"""Exported students: their outputs, metadata and refusals."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from by_openvino import engine_of
from calibrations import constant_calibration
from distilpose.model import crop, geometry, weights
from distilpose.model.arrays import CropsBHWC
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.load import packaged_student
from distilpose.model.networks import Student, build
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.runtime.export import TOLERANCE, Format, _read_openvino, export
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.conversion import student_graph
from distilpose.model.runtime.pytorch.engine import TorchEngine
from golden_rules import scaled_error
from odd_images import read
from photos import BUS_BOXES_XYXY_PX, photo

CROPS_BHWC = np.random.default_rng(1).integers(0, 256, (5, 256, 192, 3), np.uint8)
OPTIONS = graphs.options(threads=1, precision="float32")
CALIBRATION = constant_calibration(score=0.75, sigma_cell=1.0)


def packaged() -> weights.Weights:
    return weights.load(packaged_student())


def student() -> Student:
    network = packaged().network
    assert isinstance(network, Student)
    return network


@pytest.fixture(scope="module")
def by_torch() -> PoseArrays:
    engine = TorchEngine(packaged().network, device="cpu", precision="float32", buckets=(5,))
    return engine.run(CROPS_BHWC)


def test_the_packaged_student_answers_alike_by_torch_onnx_and_openvino(tmp_path: Path) -> None:
    boxes_xyxy_px = np.array(BUS_BOXES_XYXY_PX, np.float32)
    crops_BHWC = crop.cut(read(photo("bus.jpg")), geometry.crop_regions(boxes_xyxy_px))
    engine = TorchEngine(packaged().network, device="cpu", precision="float32", buckets=(4,))
    by_torch = engine.run(crops_BHWC)

    export(packaged(), tmp_path / "student.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    by_onnx = PoseArrays(*session.run(None, {"crops": crops_BHWC}))
    by_openvino = engine_of(student(), buckets=(4,)).run(crops_BHWC)

    for answers in (by_onnx, by_openvino):
        shift_crop_px = np.abs(answers.xy_crop - by_torch.xy_crop) * [192, 256]
        assert shift_crop_px.max() <= 0.02
        np.testing.assert_allclose(answers.raw_score, by_torch.raw_score, atol=1e-3)


@pytest.mark.slow
def test_an_onnx_file_answers_as_torch_and_brings_its_card(
    tmp_path: Path, by_torch: PoseArrays
) -> None:
    path = tmp_path / "student.onnx"
    loaded = packaged()._replace(calibration=CALIBRATION)
    assert export(loaded, path, "onnx") <= TOLERANCE

    session = onnxruntime.InferenceSession(path)
    answers = dict(zip(PoseArrays._fields, session.run(None, {"crops": CROPS_BHWC}), strict=True))

    for name, expected in by_torch._asdict().items():
        assert scaled_error(answers[name], expected) <= TOLERANCE
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["card"] == loaded.card.model_dump_json()
    assert metadata["calibration"] == CALIBRATION.model_dump_json()
    assert [file.name for file in tmp_path.iterdir()] == ["student.onnx"]


def test_an_openvino_file_answers_as_torch_and_brings_its_card(
    tmp_path: Path, by_torch: PoseArrays
) -> None:
    path = tmp_path / "student.xml"
    loaded = packaged()
    assert export(loaded, path, "openvino") <= TOLERANCE

    graph = graphs.read(path)
    answers = graphs.run(graphs.compiled(graph, OPTIONS), CROPS_BHWC)

    for ours, expected in zip(answers, by_torch, strict=True):
        assert scaled_error(ours, expected) <= TOLERANCE
    assert [output.any_name for output in graph.outputs] == list(PoseArrays._fields)
    assert graph.get_rt_info("card").astype(str) == loaded.card.model_dump_json()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["student.bin", "student.xml"]


@pytest.fixture(scope="module")
def on_trunk() -> weights.Weights:
    """A `distilpose-n` with random weights."""
    torch.manual_seed(0)
    card = packaged().card.model_copy(update={"architecture": "distilpose-n", "calibrated": False})
    return weights.Weights(build("distilpose-n").eval(), card, None, "")


def answers_of_torch(loaded: weights.Weights, crops_BHWC: CropsBHWC) -> PoseArrays:
    buckets = (len(crops_BHWC),)
    engine = TorchEngine(loaded.network, device="cpu", precision="float32", buckets=buckets)
    return engine.run(crops_BHWC)


@pytest.fixture(scope="module")
def trunk_file(on_trunk: weights.Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trunk") / "n.xml"
    export(on_trunk, path, "openvino")
    return path


@pytest.mark.parametrize("people", [1, 3])
def test_an_openvino_file_of_a_student_on_the_trunk_answers_as_torch(
    trunk_file: Path, on_trunk: weights.Weights, people: int
) -> None:
    program = graphs.compiled(graphs.read(trunk_file), OPTIONS)
    answers = graphs.run(program, CROPS_BHWC[:people])
    expected = answers_of_torch(on_trunk, CROPS_BHWC[:people])
    for ours, want in zip(answers, expected, strict=True):
        assert scaled_error(ours, want) <= TOLERANCE


@pytest.mark.slow
def test_an_onnx_file_of_a_student_on_the_trunk_answers_as_torch(
    tmp_path: Path, on_trunk: weights.Weights
) -> None:
    export(on_trunk, tmp_path / "n.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx")
    for people in (1, 3):
        crops_BHWC = CROPS_BHWC[:people]
        answers = session.run(list(PoseArrays._fields), {"crops": crops_BHWC})
        expected = answers_of_torch(on_trunk, crops_BHWC)
        for ours, want in zip(answers, expected, strict=True):
            assert scaled_error(ours, want) <= TOLERANCE


def test_a_file_that_answers_otherwise_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distilpose.model.runtime.export.TOLERANCE", 0.0)
    path = tmp_path / "student.xml"
    path.write_text("before")
    with pytest.raises(WeightsError, match=r"student\.xml: differs from torch by \d"):
        export(packaged(), path, "openvino")
    assert path.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture(scope="module")
def converted() -> graphs.Graph:
    """The packaged student, converted once for all files of it that are refused."""
    return student_graph(student())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", range(len(PoseArrays._fields)))
def test_a_file_that_answers_with_no_number_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    converted: graphs.Graph,
    field: int,
    value: float,
) -> None:
    def spoiled(path: Path, crops_BHWC: CropsBHWC) -> PoseArrays:
        answers = _read_openvino(path, crops_BHWC)
        answers[field].flat[0] = value
        return answers

    monkeypatch.setattr("distilpose.model.runtime.export.student_graph", lambda _: converted)
    monkeypatch.setattr("distilpose.model.runtime.export._read_openvino", spoiled)
    with pytest.raises(WeightsError, match=r"differs from torch by (nan|inf)"):
        export(packaged(), tmp_path / "student.xml", "openvino")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "file_format", "message"),
    [
        ("student.xml", "onnx", r"a file for onnx ends in \.onnx"),
        ("student.onnx", "openvino", r"a file for openvino ends in \.xml"),
    ],
)
def test_the_name_must_end_as_the_format_wants(
    tmp_path: Path, name: str, file_format: Format, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(packaged(), tmp_path / name, file_format)


def test_a_teacher_is_not_exported(tmp_path: Path) -> None:
    card = packaged().card.model_copy(update={"architecture": "tokenpose-s"})
    teacher = packaged()._replace(network=build("tokenpose-s"), card=card)
    with pytest.raises(WeightsError, match="tokenpose-s is not a student and cannot be exported"):
        export(teacher, tmp_path / "teacher.onnx", "onnx")


def test_what_onnx_needs_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "distilpose.model.runtime.export._ONNX_PACKAGES", ("onnx", "no_such_package")
    )
    with pytest.raises(ConfigError, match=r"needs no_such_package: pip install .*\[export\]"):
        export(packaged(), tmp_path / "student.onnx", "onnx")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere/s\.xml: cannot be written: No such file"):
        export(packaged(), tmp_path / "nowhere" / "s.xml", "openvino")
