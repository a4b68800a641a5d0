"""The detector's processing of a network's raw output, with a stand-in for the network."""

import numpy as np
import pytest
import torch
from torch import nn

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import ConfigError, NotFinite
from distilpose.model.runtime.detector import MAX_BOXES, Detections, DetectorFacts, PersonDetector
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.runtime.pytorch.yolo import DetectorNetwork


class Answer(nn.Module):
    """Returns the same output for every batch, in place of a network and its head."""

    def __init__(self, output: torch.Tensor, *, end2end: bool) -> None:
        super().__init__()
        self.output = output
        self.end2end = end2end
        self.one2many: dict[str, list[nn.Module]] = {}
        self.one2one: dict[str, list[nn.Module]] = {}
        self.dfl = nn.Identity()

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        assert len(pixels) == len(self.output)
        return (self.output,)


def network(output: torch.Tensor, *, end2end: bool = False, person: int = 0) -> DetectorNetwork:
    module = Answer(output, end2end=end2end)
    facts = DetectorFacts(
        name="answer", sha256="0" * 64, person_class=person, end2end=end2end, stride_px=32
    )
    return DetectorNetwork(module, module, facts)


def answering(output: torch.Tensor, *, end2end: bool = False, person: int = 0) -> PersonDetector:
    return TorchDetector(network(output, end2end=end2end, person=person), image_size_px=32)


def candidates(*rows: list[float]) -> torch.Tensor:
    """Rows of centre x, centre y, width, height and class scores, as one image's raw output."""
    return torch.tensor(rows).T[None]


def run_one(detector: PersonDetector, min_box_score: float = 0.25) -> Detections:
    canvas = np.zeros((32, 32, 3), np.uint8)
    (found,) = detector.run([canvas], np.array([min_box_score], np.float32))
    return found


def test_the_worse_of_two_overlapping_boxes_is_dropped() -> None:
    detector = answering(
        candidates([10, 10, 10, 10, 0.5], [11, 10, 10, 10, 0.9], [25, 10, 10, 10, 0.7])
    )

    found = run_one(detector)

    assert found.boxes_xyxy_px.tolist() == [[6, 5, 16, 15], [20, 5, 30, 15]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.boxes_xyxy_px.dtype.name == found.scores.dtype.name == "float32"


def test_two_boxes_that_overlap_by_less_than_the_threshold_are_kept() -> None:
    """Shifted by 3 of 10 pixels they share 7 / 13 = 0.54 of their union."""
    detector = answering(candidates([10, 10, 10, 10, 0.9], [13, 10, 10, 10, 0.8]))

    assert len(run_one(detector).scores) == 2


def test_a_box_dropped_by_a_better_one_drops_no_other() -> None:
    """The middle box overlaps both; the outer ones share 0.43 of their union."""
    detector = answering(
        candidates([10, 10, 10, 10, 0.9], [12, 10, 10, 10, 0.8], [14, 10, 10, 10, 0.7])
    )

    assert run_one(detector).boxes_xyxy_px[:, 0].tolist() == [5, 9]


def test_of_two_equal_boxes_one_is_kept() -> None:
    detector = answering(candidates([10, 10, 10, 10, 0.9], [10, 10, 10, 10, 0.9]))

    assert len(run_one(detector).scores) == 1


def test_a_score_equal_to_the_least_is_kept() -> None:
    detector = answering(candidates([10, 10, 10, 10, 0.5], [25, 10, 10, 10, 0.4999]))

    assert run_one(detector, min_box_score=0.5).scores.tolist() == [0.5]


def test_only_the_class_person_counts() -> None:
    detector = answering(
        candidates([10, 10, 10, 10, 0.9, 0.3], [11, 10, 10, 10, 0.1, 0.6]), person=1
    )

    assert run_one(detector).scores.tolist() == pytest.approx([0.6])


def test_at_most_three_hundred_boxes_are_kept() -> None:
    scores = np.linspace(0.3, 0.9, 400)
    detector = answering(candidates(*([20.0 * i, 10, 10, 10, scores[i]] for i in range(400))))

    found = run_one(detector)

    assert found.scores.tolist() == pytest.approx(scores[:99:-1])
    assert len(found.scores) == MAX_BOXES


def test_a_network_that_suppresses_by_itself_is_taken_at_its_word() -> None:
    """Rows are corners, score, class; two people and something else."""
    rows: FloatArray = np.array(
        [
            [5, 5, 15, 15, 0.4, 1],
            [0, 0, 30, 30, 0.95, 0],
            [6, 5, 16, 15, 0.9, 1],
            [0, 0, 9, 9, 0.1, 1],
        ],
        np.float32,
    )
    detector = answering(torch.from_numpy(rows)[None], end2end=True, person=1)

    found = run_one(detector)

    assert found.boxes_xyxy_px.tolist() == [[6, 5, 16, 15], [5, 5, 15, 15]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])


def test_an_answer_that_is_not_a_number_is_not_an_empty_image() -> None:
    detector = answering(candidates([10, 10, 10, 10, float("nan")]))

    with pytest.raises(NotFinite, match="not finite"):
        run_one(detector)


def test_an_image_size_off_the_stride_is_refused() -> None:
    with pytest.raises(ConfigError, match="650 is not a multiple of 32"):
        TorchDetector(network(torch.zeros(1, 5, 1)), image_size_px=650)


def test_an_image_size_too_large_for_bfloat16_is_refused() -> None:
    with pytest.raises(ConfigError, match="1280 is over 1024"):
        TorchDetector(network(torch.zeros(1, 5, 1)), image_size_px=1280, precision="bfloat16")


def test_an_overlap_above_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"60 is not within 0\.\.1"):
        TorchDetector(network(torch.zeros(1, 5, 1)), iou_threshold=60)
