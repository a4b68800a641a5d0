"""The photos used in tests, from an installed package, with known facts about them."""

import importlib.util
from pathlib import Path

BUS_SIZE_WH = (810, 1080)
BUS_BOXES_XYXY_PX = (
    (670.45, 380.56, 809.92, 879.65),
    (221.68, 407.42, 343.78, 856.19),
    (50.68, 397.30, 244.40, 905.38),
    (0.45, 549.84, 57.77, 868.30),
)
"""The four people of bus.jpg, as found by the detector's original weights."""
ZIDANE_BOXES_XYXY_PX = ((113.29, 196.94, 1113.23, 711.26), (748.81, 41.97, 1144.49, 710.92))
"""The two people of zidane.jpg, found the same way."""


def photo(name: str) -> bytes:
    """One of the two photos in the ultralytics package, bus.jpg or zidane.jpg."""
    return photo_path(name).read_bytes()


def photo_path(name: str) -> Path:
    """Return the path of that photo."""
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets" / name
