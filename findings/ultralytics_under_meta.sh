#!/usr/bin/env bash
# Versions: ultralytics-opencv-headless 8.4.190, torch 2.13.0 (CPU)
# Guess: where a module is imported says nothing about where its networks live later. Counting a
#   network's operations on torch's meta device, in whose context ultralytics is imported for the
#   first time, leaves detectors that are made afterwards as they are.
# Seen: the class Detect owns two tensors, made when the module is imported and so on the meta
#   device for the rest of the process. Every detector that is made later, outside that context and
#   with real weights, answers .to("cpu") with an error that speaks of weights without data:
#     Detect's own tensors: anchors on meta, strides on meta
#     a detector made later: weights on cpu; to('cpu'): NotImplementedError
#     imported on the CPU first: to('cpu') works
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ultralytics-opencv-headless==8.4.190 torch==2.13.0 \
    torchvision==0.28.0

export YOLO_OFFLINE=true YOLO_AUTOINSTALL=false YOLO_VERBOSE=false YOLO_CONFIG_DIR="$work"
cat > "$work/moves.py" <<'PYTHON'
import sys

import torch

with torch.device(sys.argv[1]):
    from ultralytics.nn.modules.head import Detect
    from ultralytics.nn.tasks import DetectionModel

own = {name: getattr(Detect, name).device.type for name in ("anchors", "strides")}
detector = DetectionModel("yolov8n.yaml", verbose=False)
weights = next(detector.parameters()).device.type
assert weights == "cpu"
try:
    detector.to("cpu")
    moved = "works"
except NotImplementedError as err:
    assert "meta tensor" in str(err)
    moved = type(err).__name__
if sys.argv[1] == "meta":
    print(f"Detect's own tensors: anchors on {own['anchors']}, strides on {own['strides']}")
    print(f"a detector made later: weights on {weights}; to('cpu'): {moved}")
    assert own == {"anchors": "meta", "strides": "meta"} and moved == "NotImplementedError"
else:
    print(f"imported on the CPU first: to('cpu') {moved}")
    assert moved == "works"
PYTHON
"$work/venv/bin/python" "$work/moves.py" meta
"$work/venv/bin/python" "$work/moves.py" cpu
