#!/usr/bin/env bash
# Versions: ultralytics-opencv-headless 8.4.190, torch 2.13.0, torchvision 0.28.0, numpy 2.4.6
# Guess: COCO keypoints that convert_coco has converted can be loaded. A hidden ankle 3 px below
#   the edge of a picture of 240 px is clipped or ignored; one with v=0 is not looked at.
# Seen: the converter says that it succeeded. The loader drops the whole picture, with everyone
#   in it, as soon as one joint of one person lies more than 1 % outside, v=0 or not; a warning
#   calls it corrupt, and training goes on without it:
#     converted: 2 people in each picture
#     loaded: ankle_2_px_out 2 people, people_inside 2 people
#     dropped: ankle_3_px_out, unlabelled_3_px_out
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ultralytics-opencv-headless==8.4.190 torch==2.13.0 \
    torchvision==0.28.0 numpy==2.4.6

cd "$work"
export YOLO_OFFLINE=true YOLO_AUTOINSTALL=false YOLO_CONFIG_DIR=$work/settings
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics.cfg import get_cfg
from ultralytics.data.converter import convert_coco
from ultralytics.data.dataset import YOLODataset

WIDTH_PX, HEIGHT_PX = 320, 240
PICTURES = {  # y and v of one ankle of one of the two people
    "people_inside": (230, 2),
    "ankle_2_px_out": (242, 1),
    "ankle_3_px_out": (243, 1),
    "unlabelled_3_px_out": (243, 0),
}


def person(picture: int, x_px: int, y_px: int, v: int) -> dict:
    joints = [[x_px + 10, 40 + 10 * joint, 2] for joint in range(16)] + [[x_px + 20, y_px, v]]
    return {
        "id": 1000 * picture + x_px,
        "image_id": picture,
        "category_id": 1,
        "iscrowd": 0,
        "area": 8000,
        "bbox": [x_px, 30, 40, 200],
        "num_keypoints": sum(v > 0 for _, _, v in joints),
        "keypoints": [number for joint in joints for number in joint],
    }


images, annotations = [], []
Path("annotations").mkdir()
Path("data/images").mkdir(parents=True)
for number, (name, (y_px, v)) in enumerate(PICTURES.items(), start=1):
    picture = np.full((HEIGHT_PX, WIDTH_PX, 3), 128, np.uint8)
    Image.fromarray(picture).save(f"data/images/{name}.png")
    images.append(
        {"id": number, "file_name": f"{name}.png", "width": WIDTH_PX, "height": HEIGHT_PX}
    )
    annotations += [person(number, 50, 200, 2), person(number, 200, y_px, v)]
truth = {
    "images": images,
    "annotations": annotations,
    "categories": [{"id": 1, "name": "person"}],
}
Path("annotations/people.json").write_text(json.dumps(truth))

convert_coco("annotations", save_dir="converted", use_keypoints=True, cls91to80=False)
labels = {path.stem: path for path in Path("converted/labels/people").glob("*.txt")}
people = {len(path.read_text().splitlines()) for path in labels.values()}
assert set(labels) == set(PICTURES) and people == {2}
Path("converted/labels/people").rename("data/labels")

dataset = YOLODataset(
    img_path="data/images",
    data={"names": {0: "person"}, "nc": 1, "kpt_shape": [17, 3], "channels": 3},
    task="pose",
    augment=False,
    hyp=get_cfg(),
)
loaded = {Path(label["im_file"]).stem: len(label["bboxes"]) for label in dataset.labels}
dropped = sorted(set(PICTURES) - set(loaded))
print(f"converted: {people.pop()} people in each picture")
print("loaded:", ", ".join(f"{name} {number} people" for name, number in loaded.items()))
print("dropped:", ", ".join(dropped))
assert loaded == {"people_inside": 2, "ankle_2_px_out": 2}
assert dropped == ["ankle_3_px_out", "unlabelled_3_px_out"]
PYTHON
