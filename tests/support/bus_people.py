"""The bus photo as a folder of labelled people, some of them labelled wrongly."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from photos import BUS_BOXES_XYXY_PX, BUS_SIZE_WH, photo

KEYPOINTS: Final = 4
"""Labelled keypoints of each person."""
PEOPLE: Final = 3


def bus_people(folder: Path, picture_id: int) -> Path:
    """Write the photo and its first people: shoulders by eye, ankles wrongly on their heads."""
    folder.mkdir()
    (folder / "bus.jpg").write_bytes(photo("bus.jpg"))
    annotations = []
    for number, (x1, y1, x2, y2) in enumerate(BUS_BOXES_XYXY_PX[:PEOPLE], start=1):
        width, height = x2 - x1, y2 - y1
        keypoints = np.zeros((17, 3))
        for joint, (x, y) in {5: (0.6, 0.2), 6: (0.3, 0.2), 15: (0.5, 0), 16: (0.5, 0)}.items():
            keypoints[joint] = x1 + x * width, y1 + y * height, 2
        person: dict[str, Any] = {
            "id": number,
            "image_id": picture_id,
            "category_id": 1,
            "bbox": [x1, y1, width, height],
            "area": width * height / 2,
            "keypoints": keypoints.ravel().tolist(),
            "num_keypoints": KEYPOINTS,
            "iscrowd": 0,
        }
        annotations.append(person)
    width, height = BUS_SIZE_WH
    image = {"id": picture_id, "file_name": "bus.jpg", "width": width, "height": height}
    categories = [{"id": 1, "name": "person"}]
    document = {"images": [image], "annotations": annotations, "categories": categories}
    (folder / "street.json").write_text(json.dumps(document))
    return folder
