"""`tokenpose-n`, a teacher on a pretrained trunk: one heatmap for each of 17 keypoints of a crop.

Notable: a heatmap is the dot product of the keypoint token's query with every place of a fine map,
made of the trunk's features at strides 8 and 4. (A linear layer from a token to all 3,072 cells, as
published, learns almost nothing on this trunk.) Heatmaps are neither clipped nor normalised and may
be negative.

Shape letters: B crops, K = 17 keypoints, C channels, H rows and W columns of a map.
Source: TokenPose, arXiv 2104.03516, for the tokens; trunk and map are this project's.
"""

from torch import Tensor, nn
from torch.nn import functional

from distilpose.model.configs import TrunkConfig
from distilpose.model.networks.roles import Teacher, TeacherOut
from distilpose.model.networks.tokens import TrunkTokens, initialise_tokens, reset_layers
from distilpose.model.networks.trunk import Trunk, TrunkOut


class TokenPoseN(TrunkTokens, Teacher):
    """The network `tokenpose-n`."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__(config)
        width, query_width = config.token_width, config.query_width
        self.ask = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, query_width))
        self.spots = nn.Conv2d(Trunk.level_channels[0], query_width, 1)
        self.edges = nn.Conv2d(Trunk.stride_4_channels, query_width, 1, bias=False)

    @property
    def output_layer(self) -> nn.Module:
        """The norm and linear layer to the queries."""
        return self.ask

    def forward(self, crops_BCHW: Tensor) -> TeacherOut:
        """Return the heatmaps of RGB crops in 0..1, (B, 3, H, W); H and W are multiples of 32."""
        features = self.trunk(crops_BCHW)
        encoded = self.encode(features)
        queries_BKC = self.ask(encoded.kpt_token.to(next(self.ask.parameters()).dtype))
        places_BCHW = self._places(features).to(queries_BKC.dtype)
        logits = queries_BKC @ places_BCHW.flatten(2) / self.config.query_width**0.5
        batch, _, rows, columns = places_BCHW.shape
        heatmaps_BKHW = logits.view(batch, -1, rows, columns)
        return TeacherOut(encoded.vis_token, encoded.kpt_token, heatmaps_BKHW)

    def _places(self, features: TrunkOut) -> Tensor:
        """Return the map of places, (B, C, 64, 48): context from stride 8, edges from stride 4."""
        context_BCHW = self.spots(features.levels_BCHW[0])
        fine_BCHW = functional.interpolate(
            context_BCHW, scale_factor=2.0, mode="bilinear", align_corners=False
        )
        places_BCHW: Tensor = fine_BCHW + self.edges(features.stride_4_BCHW)
        return places_BCHW


def initialise_teacher(network: TokenPoseN) -> None:
    """Draw the weights from torch's generator."""
    initialise_tokens(network)
    reset_layers(network.ask, network.spots, network.edges)
