"""Weights files: a round trip, and rejection of unsuitable files by name."""

import errno
import hashlib
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from calibrations import constant_calibration
from distilpose.model import weights
from distilpose.model.card import Card, Figure, card_markdown
from distilpose.model.configs import TRUNK
from distilpose.model.errors import WeightsError
from distilpose.model.header import read_card
from distilpose.model.networks import Student
from golden_rules import filled_state

HEAD = "keypoint_head.tokenhead."


def _card(architecture: str = "distilpose-s") -> Card:
    return Card(
        architecture=architecture,
        version="1",
        created=date(2024, 5, 6),
        source="Drawn at random.",
        training_data="none",
        licences=("Apache-2.0",),
        accuracy=(Figure(name="AP", value=0.25, protocol="two crops"),),
        calibrated=False,
        limitations=("finds nothing",),
    )


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return filled_state("distilpose-s")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Path:
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    weights.save(path, state, _card())
    return path


def test_a_saved_network_comes_back_in_float32_and_evaluation_mode(
    saved: Path, state: dict[str, Tensor]
) -> None:
    network = weights.load(saved).network
    assert isinstance(network, Student)
    assert not network.training
    loaded = network.state_dict()
    assert list(loaded) == list(state)
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32, torch.int64}
    for key, tensor in state.items():
        assert torch.allclose(loaded[key], tensor, rtol=2**-11, atol=2**-25), key


def test_matrices_are_stored_in_half_precision_vectors_and_position_code_are_not(
    saved: Path,
) -> None:
    with safe_open(saved, framework="pt") as file:
        dtype = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - no mapping
    assert dtype["backbone.conv1.weight"] == "F16"
    assert dtype[HEAD + "mlp_head.1.weight"] == "F16"
    assert dtype[HEAD + "mlp_head.1.bias"] == "F32"
    assert dtype["backbone.bn1.running_var"] == "F32"
    assert dtype[HEAD + "pos_embedding"] == "F32"
    assert dtype["backbone.bn1.num_batches_tracked"] == "I64"


def test_the_position_code_stays_frozen_after_loading(saved: Path) -> None:
    network = weights.load(saved).network
    frozen = [key for key, value in network.named_parameters() if not value.requires_grad]
    assert frozen == [HEAD + "pos_embedding"]


def test_the_card_comes_back(saved: Path) -> None:
    assert weights.load(saved).card == _card()
    assert read_card(saved) == _card()


def test_the_digest_is_that_of_the_file(saved: Path) -> None:
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    assert weights.load(saved).sha256 == digest
    assert weights.load(saved, sha256=digest.upper()).sha256 == digest


def test_another_digest_than_expected_is_refused(saved: Path) -> None:
    with pytest.raises(WeightsError, match=r"student.safetensors: sha256 is \w{64}, expected 00ff"):
        weights.load(saved, sha256="00ff")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none.safetensors: no such file"):
        weights.load(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"none.safetensors: no such file"):
        read_card(tmp_path / "none.safetensors")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        weights.load(tmp_path)
    with pytest.raises(WeightsError):
        read_card(tmp_path)


def test_a_pickle_is_no_weights_file(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "student.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        weights.load(path)


def test_a_truncated_file_is_refused(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    path.write_bytes(saved.read_bytes()[:1_000_000])
    with pytest.raises(WeightsError, match="not a safetensors file"):
        weights.load(path)


def test_a_file_without_a_card_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "bare.safetensors"
    save_file(state, path)
    with pytest.raises(WeightsError, match="without a card"):
        weights.load(path)


def test_a_card_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    card = _card().model_dump_json().replace('"version"', '"edition"')
    save_file({"weight": torch.zeros(1)}, path, metadata={"card": card})
    with pytest.raises(WeightsError, match=r"(?s)its card is not one of ours.*edition"):
        read_card(path)


def test_missing_unexpected_and_misshapen_tensors_are_named(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "student.safetensors"
    changed = {key: value for key, value in state.items() if not key.startswith(HEAD + "mlp_head")}
    changed["extra.weight"] = torch.zeros(1)
    changed["backbone.bn1.bias"] = torch.zeros(32)
    weights.write_tensors(path, changed, _card())
    with pytest.raises(WeightsError) as raised:
        weights.load(path)
    assert str(raised.value) == (
        f"{path}: distilpose-s does not fit; "
        f"4 missing: {HEAD}mlp_head.0.weight, {HEAD}mlp_head.0.bias, {HEAD}mlp_head.1.weight, ...; "
        "1 unexpected: extra.weight; "
        "1 of wrong shape: backbone.bn1.bias (32,) for (64,)"
    )


def test_an_architecture_that_is_no_pose_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    weights.write_tensors(path, {"weight": torch.zeros(2, 2)}, _card("yolov8n"))
    with pytest.raises(WeightsError, match="unknown network 'yolov8n'"):
        weights.load(path)


def test_a_state_that_does_not_fit_its_card_is_not_written(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    with pytest.raises(WeightsError, match="tokenpose-s does not fit"):
        weights.save(tmp_path / "teacher.safetensors", state, _card("tokenpose-s"))
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_half_precision_are_not_written(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    large = state | {"backbone.conv1.weight": torch.full((64, 3, 3, 3), 1e6)}
    with pytest.raises(WeightsError, match=r"not finite in float16: backbone.conv1.weight"):
        weights.save(tmp_path / "student.safetensors", large, _card())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_file_with_a_value_that_is_no_number_is_refused_by_its_tensor(
    tmp_path: Path, value: float
) -> None:
    path = tmp_path / "student.safetensors"
    tensors = {"good": torch.ones(2), "bad": torch.tensor([0.0, value]), "count": torch.tensor(1)}
    weights.write_tensors(path, tensors, _card())
    for read in (weights.read_tensors, weights.load):
        with pytest.raises(
            WeightsError, match=r"student\.safetensors: holds NaN or infinity: bad$"
        ):
            read(path)


def test_a_detectors_tensors_come_back_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    tensors = {"weight": torch.tensor([[1.5, 2.5]]), "half": torch.ones(3, dtype=torch.float16)}
    weights.write_tensors(path, tensors, _card("yolov8n"))
    read, card, digest = weights.read_tensors(path)
    assert {key: tensor.tolist() for key, tensor in read.items()} == {
        "weight": [[1.5, 2.5]],
        "half": [1, 1, 1],
    }
    assert read["half"].dtype == torch.float16
    assert card.architecture == "yolov8n"
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    weights.write_tensors(path, {"weight": torch.zeros(1)}, _card())
    weights.write_tensors(path, {"weight": torch.ones(1)}, _card())
    assert weights.read_tensors(path)[0]["weight"].tolist() == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_calibration_comes_back_with_the_weights_and_the_card_says_so(
    tmp_path: Path, saved: Path
) -> None:
    path = tmp_path / "calibrated.safetensors"
    tensors, card, _ = weights.read_tensors(saved)
    calibration = constant_calibration(score=0.75, sigma_cell=1.0)
    weights.write_tensors(path, tensors, card, calibration=calibration)
    loaded = weights.load(path)
    assert loaded.calibration == calibration
    assert loaded.card == card.model_copy(update={"calibrated": True})


def test_weights_without_a_calibration_have_none(saved: Path) -> None:
    assert weights.load(saved).calibration is None


def test_weights_written_without_their_calibration_no_longer_say_that_they_have_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "student.safetensors"
    card = _card().model_copy(update={"calibrated": True})
    weights.write_tensors(path, {"weight": torch.ones(1)}, card)
    assert not read_card(path).calibrated


@pytest.mark.parametrize("stored", [{}, {"calibration": '{"log_odds": {}}'}])
def test_a_calibration_that_the_card_promises_must_be_there_and_whole(
    tmp_path: Path, state: dict[str, Tensor], stored: dict[str, str]
) -> None:
    path = tmp_path / "student.safetensors"
    card = _card().model_copy(update={"calibrated": True}).model_dump_json()
    save_file(state, path, metadata={"card": card, **stored})
    with pytest.raises(WeightsError, match=r"calibration is (missing|not one of ours)"):
        weights.load(path)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "detector.safetensors"
    weights.write_tensors(path, {"weight": torch.zeros(1)}, _card())

    def write_half(unfinished: Path, data: bytes) -> int:
        with unfinished.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(WeightsError, match="cannot be written: No space left on device"):
        weights.write_tensors(path, {"weight": torch.ones(1)}, _card())
    assert weights.read_tensors(path)[0]["weight"].tolist() == [0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_when_writing(tmp_path: Path) -> None:
    path = tmp_path / "none" / "detector.safetensors"
    with pytest.raises(WeightsError, match=r"none/detector.safetensors: cannot be written"):
        weights.write_tensors(path, {"weight": torch.ones(1)}, _card())


def test_a_bare_trunk_has_a_card_but_is_no_network_to_load(tmp_path: Path) -> None:
    path = tmp_path / "trunk.safetensors"
    weights.write_halved(path, {"trunk.layers.0.conv.weight": torch.ones(2, 3)}, _card(TRUNK))
    assert read_card(path).architecture == "yolo26n-pose-trunk"
    with pytest.raises(
        WeightsError, match=r"trunk\.safetensors: yolo26n-pose-trunk is the bare tr"
    ):
        weights.load(path)


def test_the_packaged_student_fits_its_architecture_and_its_page_shows_its_card() -> None:
    path = Path(str(files("distilpose.model"))) / "packaged" / "distilpose-n.safetensors"
    loaded = weights.load(path)
    assert loaded.card.architecture == "distilpose-n"
    assert path.with_suffix(".md").read_text() == card_markdown(loaded.card)


def test_the_packaged_student_says_how_many_crops_it_has_seen_to_readers_of_cards_and_others() -> (
    None
):
    path = Path(str(files("distilpose.model"))) / "packaged" / "distilpose-n.safetensors"
    seen = read_card(path).crops_seen
    assert seen is not None
    assert seen >= 401_048
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["crops"] == str(seen)


def test_a_card_without_a_count_of_crops_brings_none_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights.write_tensors(path, {"weight": torch.ones(1)}, _card())
    with safe_open(path, framework="pt") as file:
        assert "crops" not in file.metadata()


def test_training_aids_are_not_among_the_packaged_tensors() -> None:
    path = Path(str(files("distilpose.model"))) / "packaged" / "distilpose-n.safetensors"
    tensors, _, _ = weights.read_tensors(path)
    assert not any(key.startswith(("dense", "attention", "position")) for key in tensors)
