"""Python runs this first in every process that a test starts: those must not phone home either."""

import os
import runpy
from pathlib import Path

if "TEST_FORBIDDEN_CALLS" in os.environ:
    loopback = runpy.run_path(str(Path(__file__).parents[1] / "loopback.py"))
    loopback["forbid_the_rest"](Path(os.environ["TEST_FORBIDDEN_CALLS"]))
if "TEST_RUN_FIRST" in os.environ:
    runpy.run_path(os.environ["TEST_RUN_FIRST"])
