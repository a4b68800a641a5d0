"""TokenPose as published, a teacher: one heatmap for each of the 17 keypoints of a crop.

Notable: the head is linear from the keypoint token to the whole heatmap, with two layer norms and
no activation. Heatmaps are neither clipped nor normalised and may be negative.

Source: TokenPose, arXiv 2104.03516, as the DistilPose authors use it.
"""

from torch import Tensor, nn

from distilpose.model.configs import HEATMAP_HEIGHT, HEATMAP_WIDTH, PublishedConfig
from distilpose.model.networks.backbones import build_backbone
from distilpose.model.networks.layers import TokenHead
from distilpose.model.networks.roles import Teacher, TeacherOut


def heatmap_head(token_width: int) -> nn.Sequential:
    """Return the layers from a keypoint token (..., D) to its heatmap, flat (..., 64 * 48)."""
    return nn.Sequential(
        nn.LayerNorm(token_width),
        nn.Linear(token_width, 2 * token_width),
        nn.LayerNorm(2 * token_width),
        nn.Linear(2 * token_width, HEATMAP_HEIGHT * HEATMAP_WIDTH),
    )


class TokenPose(Teacher):
    """A TokenPose network in its published form."""

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config.backbone)
        mlp_head = heatmap_head(config.token_width)
        head = TokenHead(config, channels=self.backbone.channels, mlp_head=mlp_head)
        self.keypoint_head = nn.ModuleDict({"tokenpose": head})

    @property
    def convolutions(self) -> nn.Module:
        """The backbone."""
        return self.backbone

    @property
    def output_layer(self) -> nn.Module:
        """The layers from token to heatmap, which may be kept in higher precision."""
        return self.keypoint_head.get_submodule("tokenpose.mlp_head")

    def forward(self, crops_BCHW: Tensor) -> TeacherOut:
        """Return the heatmaps of normalised RGB crops, (B, 3, H, W), 256x192 as published.

        H must be a multiple of 16 and W of 12.
        """
        features_BCHW = self.backbone(crops_BCHW)
        vis_token, kpt_token, values = self.keypoint_head["tokenpose"](features_BCHW)
        heatmaps_BKHW = values.unflatten(-1, (HEATMAP_HEIGHT, HEATMAP_WIDTH))
        return TeacherOut(vis_token, kpt_token, heatmaps_BKHW)
