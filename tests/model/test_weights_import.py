"""Checkpoints as their authors publish them: read without running anything, or refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilpose.model import weights
from distilpose.model.errors import WeightsError
from golden_rules import filled_state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return filled_state("distilpose-s")


def _checkpoint(path: Path, state: dict[str, Tensor], **more: Any) -> Path:
    torch.save({"meta": {"epoch": 210}, "state_dict": state, **more}, path)
    return path


def test_a_published_checkpoint_is_imported(tmp_path: Path, state: dict[str, Tensor]) -> None:
    imported = weights.import_published(_checkpoint(tmp_path / "s.pth", state), "distilpose-s")
    assert list(imported) == list(state)
    assert all(torch.equal(imported[key], tensor) for key, tensor in state.items())


def test_a_wrapped_students_teacher_and_prefix_are_dropped(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    wrapped = {f"module.{key}": tensor for key, tensor in state.items()}
    wrapped["module.teacher_model.backbone.conv1.weight"] = torch.zeros(64, 3, 3, 3)
    imported = weights.import_published(_checkpoint(tmp_path / "s.pth", wrapped), "distilpose-s")
    assert list(imported) == list(state)


def test_a_best_score_kept_as_a_numpy_number_does_not_hinder(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    meta = {"hook_msgs": {"best_score": np.float64(0.716)}}
    path = _checkpoint(tmp_path / "best.pth", state, meta=meta)
    assert len(weights.import_published(path, "distilpose-s")) == 230


def test_a_checkpoint_of_another_network_is_refused_by_names(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = _checkpoint(tmp_path / "s.pth", state)
    with pytest.raises(WeightsError, match=r"tokenpose-s does not fit; \d+ missing: keypoint_head"):
        weights.import_published(path, "tokenpose-s")


def test_a_file_without_a_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "meta.pth"
    torch.save({"meta": {}}, path)
    with pytest.raises(WeightsError, match="'state_dict'"):
        weights.import_published(path, "distilpose-s")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = _checkpoint(tmp_path / "trap.pth", {}, trap=Trap(sprung))
    with pytest.raises(WeightsError, match="holds Python objects besides tensors"):
        weights.import_published(path, "distilpose-s")
    assert not sprung.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"a": 1}, 2)[:-3]])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"noise.pth: "):
        weights.import_published(path, "distilpose-s")
    with pytest.raises(WeightsError, match=r"none.pth: no such file"):
        weights.import_published(tmp_path / "none.pth", "distilpose-s")
