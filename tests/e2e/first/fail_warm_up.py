"""Run first in a server: its warm-up fails as soon as the file TEST_FAIL_WARM_UP exists."""

import os
import time
from pathlib import Path

from distilpose.model.errors import DeviceFault
from distilpose.model.runtime.engine import PoseEngine
from distilpose.model.runtime.openvino.engine import OpenVinoEngine

FAILING = Path(os.environ["TEST_FAIL_WARM_UP"])


def warm_up(_: PoseEngine) -> dict[int, float]:
    while not FAILING.exists():
        time.sleep(0.01)
    raise DeviceFault("no kernel image is available")


for kind in (PoseEngine, OpenVinoEngine):
    kind.warm_up = warm_up  # type: ignore[assignment,method-assign]  # the fault to inject
