"""Cut the network's inputs out of images. Knows no networks.

Crops stay uint8 until they are on the device: a quarter of the bytes to copy.
"""

import cv2
import numpy as np

from distilpose.model.arrays import CropsBHWC, ImageHWC
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.geometry import CropRegions, image_to_crop_affine


def cut(image_HWC: ImageHWC, regions: CropRegions) -> CropsBHWC:
    """The crops (N, 256, 192, 3) of N regions, bilinear, black outside the image."""
    crops = np.empty((len(regions.centers_xy_px), CROP_HEIGHT, CROP_WIDTH, 3), np.uint8)
    for crop, center, size in zip(crops, regions.centers_xy_px, regions.sizes_wh_px, strict=True):
        affine = image_to_crop_affine(center, size[0])
        cv2.warpAffine(
            image_HWC, affine, (CROP_WIDTH, CROP_HEIGHT), dst=crop, flags=cv2.INTER_LINEAR
        )
    return crops


def mirror(crops_BHWC: CropsBHWC) -> CropsBHWC:
    """The mirror images of the crops, for the flip test."""
    return np.ascontiguousarray(crops_BHWC[:, :, ::-1])
