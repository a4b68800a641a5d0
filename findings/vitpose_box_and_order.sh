#!/usr/bin/env bash
# Versions: transformers 5.23.0, supervision 0.31.2, torch 2.13.0, numpy 2.4.6
# Guess: `bbox` in the answer of ViTPose's post_process_pose_estimation is the box that was
#   asked about, in corners; and KeyPoints.from_transformers keeps a joint in its column when
#   `threshold` has dropped another, since the answer names its joints in `labels`.
# Seen: `bbox` is made of the middle of the box, and of that plus the padded size in units of
#   200 px less 1, so its right edge lies left of its left one. `labels` is not read: without
#   the nose, everyone's left eye stands in the nose's column, the right eye in the left
#   eye's; two who lack different joints are mixed in one array without a word. And each
#   person is a class of its own:
#     box asked: [100.0, 50.0, 220.0, 210.0], bbox answered: [160.0, 130.0, 159.75, 130.0]
#     joints in supervision's column 0: left_eye, nose; columns: 16; class ids: [0, 1]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    transformers==5.23.0 supervision==0.31.2 torch==2.13.0 numpy==2.4.6

cd "$work"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import supervision as sv
import torch
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil
from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

NAMES = {0: "nose", 1: "left_eye"}
ROWS, COLUMNS = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")


def heatmaps(unsure: int) -> torch.Tensor:
    """17 blobs down a slope; the peak of one of them is low."""
    peaks = torch.full((17, 1, 1), 0.9)
    peaks[unsure] = 0.1
    blobs = [
        torch.exp(-((COLUMNS - 8 - 2 * j) ** 2 + (ROWS - 5 - 3 * j) ** 2) / 8)
        for j in range(17)
    ]
    return peaks * torch.stack(blobs)


processor = VitPoseImageProcessorPil()
boxes = [[100.0, 50.0, 120.0, 160.0], [300.0, 50.0, 120.0, 160.0]]  # x, y, width, height
outputs = VitPoseEstimatorOutput(heatmaps=torch.stack([heatmaps(0), heatmaps(1)]))
people = processor.post_process_pose_estimation(outputs, boxes=[boxes], threshold=0.3)[0]

x, y, width, height = boxes[0]
answered = people[0]["bbox"].tolist()
print(f"box asked: {[x, y, x + width, y + height]}, bbox answered: {answered}")
assert answered == [160.0, 130.0, 159.75, 130.0]

key_points = sv.KeyPoints.from_transformers(people)
first = []
for person, joints in zip(people, key_points.xy, strict=True):
    assert joints[0].tolist() == person["keypoints"][0].tolist()
    first.append(NAMES[int(person["labels"][0])])
columns, classes = key_points.xy.shape[1], key_points.class_id.tolist()
print(f"joints in supervision's column 0: {', '.join(first)}; columns: {columns}; "
      f"class ids: {classes}")
assert (first, columns, classes) == (["left_eye", "nose"], 16, [0, 1])
PYTHON
