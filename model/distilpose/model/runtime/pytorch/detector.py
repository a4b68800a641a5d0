"""The person detector by torch on one device. Itself, it knows no ultralytics."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import ConfigError
from distilpose.model.runtime.detector import BFLOAT16_LARGEST_PX, PersonDetector
from distilpose.model.runtime.devices import DeviceKind
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.pytorch.devices import TorchDevice, faults_as_errors, torch_dtype
from distilpose.model.runtime.pytorch.served import people_of
from distilpose.model.runtime.pytorch.yolo import DetectorNetwork, load_network

logger = logging.getLogger(__name__)


class TorchDetector(PersonDetector):
    """A `PersonDetector` with torch; takes ownership of the network.

    Raises:
        ConfigError: the size or the overlap is not supported, or not in this `precision`.
    """

    def __init__(
        self,
        network: DetectorNetwork,
        *,
        device: DeviceKind = "cpu",
        precision: Precision = "float32",
        image_size_px: int = 640,
        iou_threshold: float = 0.6,
    ) -> None:
        super().__init__(
            network.facts,
            device=TorchDevice(device),
            precision=precision,
            image_size_px=image_size_px,
            iou_threshold=iou_threshold,
        )
        if precision == "bfloat16" and image_size_px > BFLOAT16_LARGEST_PX:
            raise ConfigError(
                f"detector image size {image_size_px} is over {BFLOAT16_LARGEST_PX}, "
                "the largest at which bfloat16 places boxes exactly"
            )
        self._dtype = torch_dtype(precision)
        self._module = _cast_for_inference(network, device, self._dtype)

    @classmethod
    def load(cls, path: Path | None = None, **options: Any) -> "TorchDetector":
        """Load the detector from `path`, or the packaged one for None; its digest is logged.

        Raises:
            WeightsError: there is no such file, or it is not a detector of people.
            ConfigError: an option is not supported.
        """
        network = load_network(path)
        logger.info("detector %s, sha256 %s", network.facts.name, network.facts.sha256)
        return cls(network, **options)

    @torch.inference_mode()
    def _answer(self, canvases_BHWC: npt.NDArray[np.uint8]) -> FloatArray:
        with faults_as_errors():
            output = self._module(self.normalise(torch.from_numpy(canvases_BHWC)))[0]
            people: FloatArray = people_of(output, self._facts).cpu().numpy()
            return people

    def normalise(self, canvases_BHWC: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (B, H, W, 3) -> the network's input, RGB 0..1 (B, 3, H, W)."""
        canvases = canvases_BHWC.to(self.device.kind, non_blocking=True)
        return canvases.permute(0, 3, 1, 2).to(self._dtype).div_(255)


def _cast_for_inference(network: DetectorNetwork, device: DeviceKind, dtype: torch.dtype) -> Any:
    """The module on `device` in `dtype`, its last convolutions and the decoding in float32.

    In bfloat16 the coordinates of a box at 500 pixels would have a resolution of two pixels.
    """
    module: Any = network.module
    module.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    head: Any = network.head
    branches = head.one2one if head.end2end else head.one2many
    last = [level[-1] for branch in branches.values() for level in branch]
    for layer in (*last, head.dfl):
        layer.float().register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return module
