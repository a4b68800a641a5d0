"""Run first in a server: its container has the memory limit that the folder TEST_CGROUP shows."""

import os
from functools import partial
from pathlib import Path

from distilpose.model import container

container.memory_limit_bytes = partial(
    container.memory_limit_bytes, Path(os.environ["TEST_CGROUP"])
)
