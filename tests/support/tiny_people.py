"""A folder of six people cut from two photos, with anatomically plausible keypoints."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from photos import photo_path

BOXES_XYWH_PX = {
    "bus.jpg": [(670, 380, 140, 500), (222, 407, 122, 449), (51, 397, 193, 508), (0, 550, 58, 318)],
    "zidane.jpg": [(113, 197, 1000, 514), (749, 42, 395, 669)],
}
# Of a standing person, as fractions of the box.
_BODY = (
    (0.5, 0.08), (0.54, 0.06), (0.46, 0.06), (0.6, 0.07), (0.4, 0.07), (0.7, 0.2), (0.3, 0.2),
    (0.8, 0.35), (0.2, 0.35), (0.85, 0.48), (0.15, 0.48), (0.62, 0.52), (0.38, 0.52),
    (0.64, 0.74), (0.36, 0.74), (0.66, 0.95), (0.34, 0.95),
)  # fmt: skip


def write_people(folder: Path, *, label: str = "human") -> Path:
    """Write COCO annotations and the photos they refer to, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for image_id, (name, boxes) in enumerate(BOXES_XYWH_PX.items(), start=1):
        file_name = f"{image_id:012d}.png"
        with Image.open(photo_path(name)) as photo:
            photo.save(folder / file_name)
            width, height = photo.size
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        annotations += [_person(box, image_id, label) for box in boxes]
    for annotation_id, annotation in enumerate(annotations, start=1):
        annotation["id"] = annotation_id
    categories = [{"id": 1, "name": "person"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "people.json").write_text(json.dumps(document))
    return folder


def _person(box: tuple[int, int, int, int], image_id: int, label: str) -> dict[str, Any]:
    x, y, width, height = box
    keypoints = [value for u, v in _BODY for value in (x + u * width, y + v * height, 2)]
    return {
        "image_id": image_id,
        "category_id": 1,
        "bbox": list(box),
        "area": 0.53 * width * height,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": 17,
        "label": label,
    }
