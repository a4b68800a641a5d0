"""Convert stored crops to the network's inputs: whole batches, augmented on their own device.

Every choice is a mask over the batch: nothing loops over people, and the host never waits for the
device. (A CPU is faster with one crop at a time: `augment_cpu` does the same there, with the same
draws.) Knows no files and no networks.

Shape letters: B people, K = 17 keypoints, C = 3 channels (RGB, 0..255), H height, W width. Frame:
`_store_px` pixels of a stored crop.
"""

from typing import Final, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH, Normalisation
from distilpose.model.geometry import CROP_PADDING
from distilpose.model.skeleton import KEYPOINT_COUNT
from distilpose.model.train.feed.batch import StoredBatch, TrainBatch
from distilpose.model.train.feed.draws import Draws
from distilpose.model.train.feed.neighbours import Neighbours, coverage, drawn_neighbours
from distilpose.model.train.feed.views import (
    Views,
    centers,
    move_keypoints,
    on_device,
    plain_views,
    region_width,
    resize,
    sample,
    stored_pixels,
)

_UPPER_KEYPOINTS: Final = 11
"""Number of COCO's first keypoints, nose to wrists, that form the upper half of the body; the rest
are the lower half."""
_HALF_BODY_PADDING: Final = 1.5
_SMALLEST_HALF_BODY: Final = 0.3
"""Minimum size as a share of the region's width: a face alone would be a few stored pixels,
magnified."""
BLUR_SHRINK: Final = 4
LUMA_RGB: Final = (0.299, 0.587, 0.114)


class AugmentSettings(BaseModel):
    """The strength of each random change of a crop; the defaults are the published recipe.

    *Source:* DistilPose, arXiv 2303.02455, and its authors' code, which draws the shift once for
    each person and run; here it is drawn for every crop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    flip: float = Field(0.5, ge=0, le=1, description="Probability of a mirrored crop.")
    half_body: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Probability that a person of more than 8 keypoints is cut to one half.",
    )
    scale: float = Field(
        0.35,
        ge=0,
        le=0.9,
        description="Standard deviation of the region's size, relative to 1; the limit is the "
        "same.",
    )
    rotation_degrees: float = Field(
        45,
        ge=0,
        le=90,
        description="Standard deviation of the region's rotation; the limit is twice this.",
    )
    rotation_probability: float = Field(0.6, ge=0, le=1, description="Probability of a rotation.")
    shift: float = Field(
        0.2, ge=0, le=0.5, description="Maximum shift of the region, as a share of the box's sides."
    )
    shift_probability: float = Field(0.3, ge=0, le=1, description="Probability of a shift.")
    box_jitter: float = Field(
        0,
        ge=0,
        le=0.2,
        description="Standard deviation of each edge of the box, as a share of its sides, at "
        "every strength.",
    )
    brightness: float = Field(
        0, ge=0, le=0.9, description="Maximum change of brightness, relative to 1."
    )
    contrast: float = Field(
        0, ge=0, le=0.9, description="Maximum change of contrast, relative to 1."
    )
    saturation: float = Field(
        0, ge=0, le=1, description="Maximum change of saturation, relative to 1."
    )
    blur: float = Field(
        0, ge=0, le=1, description="Probability that a crop shows no more detail than 64x48 pixels."
    )
    cut_outs: int = Field(
        0, ge=0, le=8, description="Number of rectangles that are painted over in every crop."
    )
    cut_out_size: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Maximum side of a painted rectangle, as a share of the crop's sides.",
    )

    neighbour_probability: float = Field(
        0,
        ge=0,
        le=1,
        description="Probability that a person or an arm of another picture is pasted beside or "
        "over the person, at every strength.",
    )

    def scaled(self, strength: float) -> Self:
        """Settings with all but flip, box jitter and neighbours multiplied by `strength`.

        0 turns the others off. Amounts shrink, but not their frequency; half body and blur, which
        have no amount, become rarer. Short runs learn more from weak augmentation.

        Raises:
            ValidationError: naming each field that `strength` would put out of bounds.
        """
        scaled = {name: strength * getattr(self, name) for name in _SCALED_FIELDS}
        return self.model_validate(self.model_dump() | scaled)


_SCALED_FIELDS: Final = (
    "half_body",
    "scale",
    "rotation_degrees",
    "shift",
    "brightness",
    "contrast",
    "saturation",
    "blur",
    "cut_out_size",
)

PUBLISHED: Final = AugmentSettings()
"""The published recipe: no colour changes, no blur, no cut-outs."""
OFF: Final = AugmentSettings(flip=0).scaled(0)
"""No augmentation: the crops of `plain`."""


def augment(
    batch: StoredBatch,
    settings: AugmentSettings,
    *,
    generator: torch.Generator,
    normalisation: Normalisation,
    size_hw: tuple[int, int] = (CROP_HEIGHT, CROP_WIDTH),
) -> TrainBatch:
    """Return the network's inputs for a batch, augmented with `generator` only.

    Keypoints that are painted or pasted over keep their weight: the network has to infer them.
    """
    draws = Draws(generator, batch)
    views = drawn_views(batch, settings, draws)
    pixels_BCHW = sample(stored_pixels(batch), views, size_hw)
    if settings.neighbour_probability > 0:
        neighbours = drawn_neighbours(batch, views, settings.neighbour_probability, draws)
        pixels_BCHW = _paste(pixels_BCHW, batch, neighbours)
    if settings.blur > 0:
        pixels_BCHW = _blur(pixels_BCHW, settings, draws)
    if settings.brightness > 0 or settings.contrast > 0 or settings.saturation > 0:
        pixels_BCHW = _recolour(pixels_BCHW, settings, draws)
    if settings.cut_out_size > 0:
        pixels_BCHW = _cut_out(pixels_BCHW, settings, draws)
    return TrainBatch(_normalise_(pixels_BCHW, normalisation), *move_keypoints(batch, views))


def plain(
    batch: StoredBatch,
    *,
    normalisation: Normalisation,
    size_hw: tuple[int, int] = (CROP_HEIGHT, CROP_WIDTH),
) -> TrainBatch:
    """Return a batch without augmentation: the regions of `crop.cut`, whatever margin is stored."""
    views = plain_views(batch)
    pixels_BCHW = sample(stored_pixels(batch), views, size_hw)
    return TrainBatch(_normalise_(pixels_BCHW, normalisation), *move_keypoints(batch, views))


def drawn_views(batch: StoredBatch, settings: AugmentSettings, draws: Draws) -> Views:
    """Return the regions to show of a batch's people, for these settings and draws."""
    views = plain_views(batch)
    box_wh = batch.box_wh_store_px
    near_xy, far_xy = (settings.box_jitter * draws.normal(2, 2).clamp(-2, 2)).unbind(dim=1)
    shift_xy = settings.shift * (2 * draws.uniform(2) - 1)
    shift_xy = shift_xy * draws.happens(settings.shift_probability)[:, None]
    center = views.center_xy_store_px + ((near_xy + far_xy) / 2 + shift_xy) * box_wh
    width = region_width(box_wh * (1 + far_xy - near_xy), padding=CROP_PADDING)

    half_center, half_width = _half_bodies(batch, draws)
    half_width = torch.maximum(half_width, _SMALLEST_HALF_BODY * views.width_store_px)
    is_half = draws.happens(settings.half_body) & ((batch.weight > 0).sum(dim=1) > 8)
    center = torch.where(is_half[:, None], half_center, center)
    width = torch.where(is_half, half_width, width)

    width = width * (1 + settings.scale * draws.normal().clamp(-1, 1))
    degrees = settings.rotation_degrees * draws.normal().clamp(-2, 2)
    degrees = degrees * draws.happens(settings.rotation_probability)
    return Views(center, width, degrees.deg2rad(), draws.happens(settings.flip))


def _half_bodies(batch: StoredBatch, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return centre (B, 2) and width (B,) of one half of each person, in stored pixels.

    It is the upper half in 69 of 100 draws, and always if the lower one has fewer than 3 keypoints.
    With more than 8 keypoints, at least 3 are in the upper half; for other people the result is
    meaningless.
    """
    seen = batch.weight > 0
    is_upper = torch.arange(KEYPOINT_COUNT, device=seen.device) < _UPPER_KEYPOINTS
    take_upper = (draws.normal() < 0.5) | ((seen & ~is_upper).sum(dim=1) < 3)
    chosen = (seen & (is_upper == take_upper[:, None]))[..., None]
    xy = batch.xy_store_px
    center = (xy * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
    chosen_xy = torch.where(chosen, xy, center[:, None])
    extent_wh = chosen_xy.amax(dim=1) - chosen_xy.amin(dim=1)
    return center, region_width(extent_wh, padding=_HALF_BODY_PADDING)


def _paste(pixels_BCHW: Tensor, batch: StoredBatch, neighbours: Neighbours) -> Tensor:
    """Return the crops with their neighbours; nothing is covered where none was drawn."""
    size_hw = pixels_BCHW.shape[2], pixels_BCHW.shape[3]
    stored_BCHW = stored_pixels(batch)[neighbours.row]
    others_BCHW = sample(stored_BCHW, neighbours.views, size_hw)
    covered_B1HW = resize(coverage(neighbours)[:, None], size_hw)
    return torch.where(
        neighbours.is_pasted[:, None, None, None],
        torch.lerp(pixels_BCHW, others_BCHW, covered_B1HW),
        pixels_BCHW,
    )


def _blur(pixels_BCHW: Tensor, settings: AugmentSettings, draws: Draws) -> Tensor:
    """Return the crops, with some of them blurred like people who are small in their picture."""
    size_hw = pixels_BCHW.shape[2], pixels_BCHW.shape[3]
    coarse_BCHW = resize(pixels_BCHW, (CROP_HEIGHT // BLUR_SHRINK, CROP_WIDTH // BLUR_SHRINK))
    is_blurred = draws.happens(settings.blur)[:, None, None, None]
    return torch.where(is_blurred, resize(coarse_BCHW, size_hw), pixels_BCHW)


def _recolour(pixels_BCHW: Tensor, settings: AugmentSettings, draws: Draws) -> Tensor:
    """Return crops of other saturation, contrast and brightness: one 3x3 matrix and offset each."""
    brightness = draws.factor(settings.brightness)
    contrast = draws.factor(settings.contrast)
    saturation = draws.factor(settings.saturation)
    luma = on_device(LUMA_RGB, pixels_BCHW)
    same = torch.eye(3, device=luma.device)
    mix_B33 = brightness * contrast * (saturation * same + (1 - saturation) * luma)
    grey_B11 = (pixels_BCHW.mean(dim=(2, 3)) * luma).sum(dim=1)[:, None, None]
    offset_B11 = brightness * (1 - contrast) * grey_B11
    mixed = torch.baddbmm(offset_B11, mix_B33, pixels_BCHW.flatten(2))
    return mixed.view_as(pixels_BCHW).clamp_(0, 255)


def _cut_out(pixels_BCHW: Tensor, settings: AugmentSettings, draws: Draws) -> Tensor:
    """Return the crops with rectangles of random position, size and colour painted over them."""
    rows, columns = (centers(count, pixels_BCHW) for count in pixels_BCHW.shape[2:])
    for _ in range(settings.cut_outs):
        x, y = draws.uniform(2, 1).unbind(dim=1)
        half_width, half_height = (settings.cut_out_size / 2 * draws.uniform(2, 1)).unbind(dim=1)
        across_BW, along_BH = (columns - x).abs() < half_width, (rows - y).abs() < half_height
        hole_B1HW = across_BW[:, None, None, :] & along_BH[:, None, :, None]
        pixels_BCHW = torch.where(hole_B1HW, 255 * draws.uniform(3, 1, 1), pixels_BCHW)
    return pixels_BCHW


def _normalise_(pixels_BCHW: Tensor, normalisation: Normalisation) -> Tensor:
    """Return the network's input, in the memory of `pixels_BCHW`."""
    mean, std = (255 * on_device(values, pixels_BCHW)[:, None, None] for values in normalisation)
    return pixels_BCHW.sub_(mean).div_(std)
