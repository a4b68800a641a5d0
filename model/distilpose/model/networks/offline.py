"""Ultralytics, imported offline and without its side effects.

Nothing is downloaded, installed or reported, and importing it leaves no trace in the settings of
the process.
"""

import atexit
import contextlib
import hashlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from distilpose.model.errors import WeightsError
from distilpose.model.files.scratch import scratch_folder


def import_ultralytics(submodule: str) -> Any:
    """Import a module of ultralytics, offline and without its side effects."""
    # Its classes hold tensors: created on the meta device, they would stay there.
    with torch.device("cpu"):
        if "ultralytics" not in sys.modules:
            _set_switches()
            with _process_settings_kept():
                importlib.import_module("ultralytics").settings.update(sync=False)
            logger = logging.getLogger("ultralytics")
            logger.handlers.clear()
            logger.propagate = True
        return importlib.import_module(f"ultralytics.{submodule}")


def load_checkpoint(path: Path) -> tuple[Any, str]:
    """Return the network of an ultralytics checkpoint, a pickle, and the digest of the file.

    The network is float32, on the CPU, in evaluation mode. Only ultralytics' known classes are
    built, and no other code in the file is run, unless the environment sets
    ULTRALYTICS_SAFE_LOAD=false.

    Raises:
        WeightsError: the file is missing or holds no ultralytics network.
    """
    tasks = import_ultralytics("nn.tasks")
    try:
        content = path.read_bytes()
    except OSError as err:
        raise WeightsError(f"{path}: cannot be read: {err.strerror}") from err
    with scratch_folder() as folder:
        # Ultralytics rewrites some file names, and then downloads files that it does not find.
        plainly_named = folder / "weights.pt"
        plainly_named.write_bytes(content)
        try:
            module, _ = tasks.load_checkpoint(plainly_named)
        except Exception as err:  # a damaged or foreign pickle can raise anything
            raise WeightsError(f"{path}: not an ultralytics checkpoint: {err}") from err
    return module, hashlib.sha256(content).hexdigest()


def _set_switches() -> None:
    """Set the environment variables that ultralytics reads at import."""
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")
    if "YOLO_CONFIG_DIR" not in os.environ:
        kept = contextlib.ExitStack()
        atexit.register(kept.close)
        os.environ["YOLO_CONFIG_DIR"] = str(kept.enter_context(scratch_folder()))


@contextlib.contextmanager
def _process_settings_kept() -> Iterator[None]:
    """Restore the process-wide settings that importing ultralytics changes."""
    environment, cv2_threads = dict(os.environ), cv2.getNumThreads()
    # Patched to install packages when a picture's format is unknown, and to retry.
    image_open, torch_save = Image.open, torch.save
    try:
        with np.printoptions(), warnings.catch_warnings():
            yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        cv2.setNumThreads(cv2_threads)
        Image.open, torch.save = image_open, torch_save
        torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call] # torch's own
