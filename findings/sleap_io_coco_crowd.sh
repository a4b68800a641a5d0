#!/usr/bin/env bash
# Versions: sleap-io 0.9.5, pycocotools 2.0.11, numpy 2.4.6
# Guess: a COCO keypoint file that sleap-io loads and saves says the same as before: one
#   person with her mask, box and area, one joint hidden (v=1), and no crowd.
# Seen: the one person comes back as two annotations. The first has her joints, the hidden
#   one as visible, and the hull of her joints for a box; the second has her mask, as a
#   crowd. A crowd excuses every detection on it, so a second person found on the same body
#   no longer counts as wrong:
#     before: 1 annotation, crowds 0, v of the elbow 1, box [60, 20, 80, 160], AP50 0.500
#     after: 2 annotations, crowds 1, v of the elbow 2, box [65, 25, 70, 150], AP50 1.000
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet sleap-io==0.9.5 pycocotools==2.0.11 numpy==2.4.6

cd "$work"
venv/bin/python - <<'PYTHON'
import contextlib
import io
import json
from pathlib import Path

import numpy as np
import sleap_io
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save("person.png")
joints = [100, 25, 2, 65, 100, 1, 135, 175, 2]  # head, elbow, foot
truth = {
    "images": [{"id": 1, "file_name": "person.png", "width": 200, "height": 200}],
    "categories": [{"id": 1, "name": "person", "keypoints": ["head", "elbow", "foot"]}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "keypoints": joints,
            "num_keypoints": 3,
            "bbox": [60, 20, 80, 160],
            "area": 12800,
            "iscrowd": 0,
            "segmentation": [[60, 20, 140, 20, 140, 180, 60, 180]],
        }
    ],
}
Path("before.json").write_text(json.dumps(truth))
labels = sleap_io.load_coco("before.json", dataset_root=".")
sleap_io.save_coco(labels, "after.json")

# The person, and with a higher score a second one on the same body who is not there.
results = [
    {"image_id": 1, "category_id": 1, "bbox": [60, 20, 80, 160], "score": 0.8},
    {"image_id": 1, "category_id": 1, "bbox": [70, 30, 40, 60], "score": 0.9},
]


def look(path: str) -> tuple[int, int, int, list[float], float]:
    annotations = json.loads(Path(path).read_text())["annotations"]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
        run = COCOeval(coco, coco.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    person = annotations[0]
    crowds = sum(annotation["iscrowd"] for annotation in annotations)
    return len(annotations), crowds, person["keypoints"][5], person["bbox"], run.stats[1]


seen = {path: look(f"{path}.json") for path in ("before", "after")}
for name, (number, crowds, elbow, box, ap50) in seen.items():
    box = [round(side) for side in box]
    print(f"{name}: {number} annotations, crowds {crowds}, v of the elbow {elbow}, "
          f"box {box}, AP50 {ap50:.3f}")
assert seen["before"][:4] == (1, 0, 1, [60, 20, 80, 160])
assert seen["after"][:4] == (2, 1, 2, [65, 25, 70, 150])
assert seen["before"][4] < 0.51 and seen["after"][4] > 0.99
PYTHON
