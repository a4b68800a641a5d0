"""Both networks with the normalisation of pixels included, for other runtimes.

Shape letters: B batch, H height, W width, K = 17 keypoints, A places where a person may be.
"""

import torch
from torch import Tensor, nn

from distilpose.model.networks import Student
from distilpose.model.runtime.detector import DetectorFacts


class ServedStudent(nn.Module):
    """A student that takes unprocessed crops."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        parameter = next(student.parameters())
        for name, rgb in student.config.normalisation._asdict().items():
            level_C11 = parameter.new_tensor(rgb).mul(255).view(3, 1, 1)
            self.register_buffer(name, level_C11, persistent=False)

    def forward(self, crops_BHWC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return keypoints (B, K, 2) in the crop frame, raw scores (B, K) and sigmas (B, K, 2).

        Crops are uint8 RGB.
        """
        # Transposed as bytes, which OpenVINO does not copy; floats would be copied.
        levels_BCHW = crops_BHWC.permute(0, 3, 1, 2).float()
        out = self.student((levels_BCHW - self.get_buffer("mean_rgb")) / self.get_buffer("std_rgb"))
        return out.xy_crop, out.raw_score, out.sigma_cell


class ServedDetector(nn.Module):
    """A YOLO network that takes unprocessed letterboxed canvases."""

    def __init__(self, network: nn.Module, facts: DetectorFacts) -> None:
        super().__init__()
        self.network = network
        self.facts = facts

    def forward(self, canvases_BHWC: Tensor) -> Tensor:
        """Return the boxes of people as `PersonDetector` takes them.

        Canvases are uint8 RGB, of one shape.
        """
        output: Tensor = self.network(canvases_BHWC.permute(0, 3, 1, 2).float() / 255)[0]
        return people_of(output, self.facts)


def people_of(output: Tensor, facts: DetectorFacts) -> Tensor:
    """A YOLO network's output without the scores of other classes than person.

    One that suppresses overlapping boxes itself returns few, with their class: (B, A, 6). Of any
    other one (B, 4 + classes, A) remain boxes and scores of people, (B, 5, A).
    """
    if facts.end2end:
        return output
    score = 4 + facts.person_class
    return torch.cat([output[:, :4], output[:, score : score + 1]], 1)
