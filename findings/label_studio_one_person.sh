#!/usr/bin/env bash
# Versions: label-studio-sdk 2.1.2, numpy 2.2.6, Pillow 13.0.0
# Guess: two people who are labelled as Label Studio's guide asks (a box each, the joints as
#   children of their box, a model_index for each joint) are two people with joints in any export.
# Seen: YOLO has both. COCO has both boxes without joints, and one more annotation with the joints
#   of the whole picture, of a category `default`: the parent is not read, and the last of two
#   joints of one name stays. So one person's nose and wrist are joined to the other's ankle, 660 px
#   away, all visible, in a box across both people and without an area:
#     YOLO: 2 people; joints 3, 2
#     COCO: person [50, 50, 200, 400], no joints
#     COCO: person [700, 50, 200, 400], no joints
#     COCO: default [140, 80, 710, 360], nose of B, left_wrist of B, left_ankle of A
#   Where both have all their joints, the one who was labelled first has none:
#     COCO: default [800, 80, 50, 360], nose of B, left_wrist of B, left_ankle of B
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet label-studio-sdk==2.1.2 numpy==2.2.6 pillow==13.0.0

cd "$work"
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

from label_studio_sdk.converter import Converter
from PIL import Image

WIDTH_PX, HEIGHT_PX = 1000, 500
NAMES = ["nose", "left_wrist", "left_ankle"]
JOINTS_PX = {
    "A": {"nose": (150, 80), "left_wrist": (80, 250), "left_ankle": (140, 440)},
    "B": {"nose": (800, 80), "left_wrist": (850, 250), "left_ankle": (810, 440)},
}
BOXES_PX = {"A": [50, 50, 200, 400], "B": [700, 50, 200, 400]}
CONFIG = f"""
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image"><Label value="person"/></RectangleLabels>
  <KeyPointLabels name="joint" toName="image">
    {"".join(f'<Label value="{name}" model_index="{at}"/>' for at, name in enumerate(NAMES))}
  </KeyPointLabels>
</View>"""


def region(name: str, tag: str, kind: str, label: str, x_px: float, y_px: float, **value) -> dict:
    place = {"x": 100 * x_px / WIDTH_PX, "y": 100 * y_px / HEIGHT_PX}
    return {
        "id": name,
        "from_name": tag,
        "to_name": "image",
        "type": kind,
        "original_width": WIDTH_PX,
        "original_height": HEIGHT_PX,
        "image_rotation": 0,
        "value": {**place, **value, kind: [label]},
    }


def regions(unlabelled: set[tuple[str, str]]) -> list[dict]:
    made = []
    for person, (x_px, y_px, width_px, height_px) in BOXES_PX.items():
        size = {"width": 100 * width_px / WIDTH_PX, "height": 100 * height_px / HEIGHT_PX}
        made.append(
            region(person, "box", "rectanglelabels", "person", x_px, y_px, rotation=0, **size)
        )
        for joint, (x_px, y_px) in JOINTS_PX[person].items():
            if (person, joint) not in unlabelled:
                point = region(
                    person + joint, "joint", "keypointlabels", joint, x_px, y_px, width=0.5
                )
                made.append(point | {"parentID": person})
    return made


def export(unlabelled: set[tuple[str, str]]) -> tuple[list[int], list[dict]]:
    """The number of joints of each person in YOLO, and the annotations in COCO."""
    result = regions(unlabelled)
    task = {"id": 1, "data": {"image": str(Path("two.png").resolve())}}
    task["annotations"] = [{"id": 1, "result": result, "was_cancelled": False}]
    Path("tasks.json").write_text(json.dumps([task]))
    for name in ("COCO", "YOLO"):
        Converter(CONFIG, project_dir=".").convert("tasks.json", name, name, is_dir=False)
    lines = Path("YOLO/labels/two.txt").read_text().splitlines()
    coco = json.loads(Path("COCO/result.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for annotation in coco["annotations"]:
        annotation["category"] = names[annotation["category_id"]]
    return [line.split()[7::3].count("2") for line in lines], coco["annotations"]


def owners(annotation: dict) -> list[str]:
    given = annotation.get("keypoints", [])
    found = []
    for name, x_px, y_px, v in zip(NAMES, given[::3], given[1::3], given[2::3], strict=False):
        whose = next(who for who in JOINTS_PX if JOINTS_PX[who][name] == (x_px, y_px))
        assert v == 2
        found.append(f"{name} of {whose}")
    return found


Image.new("RGB", (WIDTH_PX, HEIGHT_PX)).save("two.png")
yolo, coco = export({("B", "left_ankle")})
print(f"YOLO: {len(yolo)} people; joints {', '.join(map(str, yolo))}")
seen = []
for annotation in coco:
    box = [round(side) for side in annotation["bbox"]]
    seen.append((annotation["category"], box, owners(annotation)))
    print(f"COCO: {seen[-1][0]} {box}, {', '.join(seen[-1][2]) or 'no joints'}")
assert yolo == [3, 2]
assert seen[:2] == [("person", box, []) for box in BOXES_PX.values()] and len(seen) == 3
mixed = ["nose of B", "left_wrist of B", "left_ankle of A"]
assert seen[2] == ("default", [140, 80, 710, 360], mixed) and "area" not in coco[2]

_, coco = export(set())
(only,) = [annotation for annotation in coco if "keypoints" in annotation]
print(f"COCO: {only['category']} {only['bbox']}, {', '.join(owners(only))}")
assert owners(only) == [f"{name} of B" for name in NAMES]
PYTHON
