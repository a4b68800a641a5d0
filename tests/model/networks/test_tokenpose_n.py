"""The teacher on the trunk: shapes that distillation relies on."""

import torch

from distilpose.model import networks
from distilpose.model.configs import network_config


def test_a_teacher_shows_heatmaps_of_the_published_size_and_the_students_tokens() -> None:
    teacher, student = (
        networks.construct(network_config(name)).eval() for name in ("tokenpose-n", "distilpose-n")
    )
    crops_BCHW = torch.zeros(2, 3, 256, 192)
    with torch.inference_mode():
        out, of_student = teacher(crops_BCHW), student(crops_BCHW)
    assert out.heatmaps_BKHW.shape == (2, 17, 64, 48)
    assert out.kpt_token.shape == of_student.kpt_token.shape == (2, 17, 192)
    assert out.vis_token.shape == of_student.vis_token.shape == (2, 192, 192)
