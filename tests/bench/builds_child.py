"""Run crops through the student of this interpreter's build. `builds.py` starts it.

    PYTHON tests/bench/builds_child.py CROPS.npy THREADS DTYPE

It first prints one line of JSON that describes the build. Then it answers each line {"batch": 4,
"seconds": 3} with the number of crops and the time taken. It uses only `load_models` of the build,
so that old and future builds can be measured.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch


def main() -> None:
    """Load the build's models, and answer until the end of standard input."""
    replies, sys.stdout = sys.stdout, sys.stderr  # prints of others are not replies
    crops_BHWC = np.load(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))

    from distilpose.model import load

    settings: Any = {"device": "cpu", "dtype": sys.argv[3]}  # as older builds take them
    engine = load.load_models(**settings).predictor.engine
    about = {"version": version("distilpose"), "source": str(Path(load.__file__).parent)}
    about["runtime"] = str(getattr(engine, "runtime", "unknown"))
    _reply(replies, about)
    for line in sys.stdin:
        asked = json.loads(line)
        _reply(replies, _run(engine, crops_BHWC[: asked["batch"]], asked["seconds"]))


def _run(engine: Any, crops_BHWC: np.ndarray, seconds: float) -> dict[str, float]:
    """Repeat the same batch, after one run that does not count."""
    engine.run(crops_BHWC)
    crops, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        engine.run(crops_BHWC)
        crops += len(crops_BHWC)
    return {"crops": crops, "seconds": took}


def _reply(replies: TextIO, document: dict[str, Any]) -> None:
    print(json.dumps(document), file=replies, flush=True)


if __name__ == "__main__":
    main()
