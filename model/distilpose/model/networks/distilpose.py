"""DistilPose as published, a student: 17 keypoints of a crop, each with a score and a spread.

Notable: the head is a layer norm and one linear layer to five numbers per keypoint. Coordinates
pass through a sigmoid and spreads through a softplus; the score is unbounded and may be negative.

Source: DistilPose, arXiv 2303.02455.
"""

from torch import Tensor, nn
from torch.nn import functional

from distilpose.model.configs import PublishedConfig
from distilpose.model.networks.backbones import build_backbone
from distilpose.model.networks.layers import TokenHead
from distilpose.model.networks.roles import Student, StudentOut


class DistilPose(Student):
    """A DistilPose network in its published form."""

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config.backbone)
        mlp_head = nn.Sequential(nn.LayerNorm(config.token_width), nn.Linear(config.token_width, 5))
        head = TokenHead(config, channels=self.backbone.channels, mlp_head=mlp_head)
        self.keypoint_head = nn.ModuleDict({"tokenhead": head})

    @property
    def convolutions(self) -> nn.Module:
        """The backbone."""
        return self.backbone

    @property
    def output_layer(self) -> nn.Module:
        """The norm and linear layer to the five numbers, which may be kept in higher precision."""
        return self.keypoint_head.get_submodule("tokenhead.mlp_head")

    def forward(self, crops_BCHW: Tensor) -> StudentOut:
        """Return the keypoints of normalised RGB crops, (B, 3, H, W), 256x192 as published.

        H must be a multiple of 16 and W of 12.
        """
        features_BCHW = self.backbone(crops_BCHW)
        vis_token, kpt_token, values_BK5 = self.keypoint_head["tokenhead"](features_BCHW)
        return StudentOut(
            vis_token=vis_token,
            kpt_token=kpt_token,
            xy_crop=values_BK5[..., :2].sigmoid(),
            raw_score=values_BK5[..., 2],
            sigma_cell=functional.softplus(values_BK5[..., 3:]),
        )
