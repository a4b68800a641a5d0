"""Run first in a server: its device is lost as soon as the file TEST_BREAK_DEVICE exists."""

import os
from pathlib import Path
from typing import Any

from distilpose.model.errors import DeviceFault
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.runtime.engine import PoseEngine
from distilpose.model.runtime.openvino.detector import OpenVinoDetector
from distilpose.model.runtime.openvino.engine import OpenVinoEngine

BROKEN = Path(os.environ["TEST_BREAK_DEVICE"])


def breaking(computing: Any) -> Any:
    def run(*arguments: Any) -> Any:
        if BROKEN.exists():
            raise DeviceFault("device-side assert triggered")
        return computing(*arguments)

    return run


for kind in (PoseEngine, OpenVinoEngine, PersonDetector, OpenVinoDetector):
    if "run" in vars(kind):
        kind.run = breaking(kind.run)  # type: ignore[method-assign]  # the fault to inject
