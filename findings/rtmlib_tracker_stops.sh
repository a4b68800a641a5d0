#!/usr/bin/env bash
# Versions: rtmlib 0.0.16, numpy 2.4.6, opencv-python-headless 5.0.0.93, tqdm 4.70.1
# Guess: PoseTracker(det_frequency=5) looks for people on every fifth frame, whoever comes and
#   goes, and returns people in the order of their ids.
# Seen: ids are used as positions in the list of poses. Once the highest id is not below the
#   number of people, an IndexError is swallowed and the frame is not counted. So after one of
#   two people has left, the detector does not run again, and the next one to come is never seen:
#     detector runs in 60 frames: 2, people in the last frame: 1 of 2, frames counted: 7
#   Three people found in a new order come back in an order that is neither:
#     found: [B, C, A], returned: [C, A, B]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
# Without dependencies: it asks for two builds of OpenCV that overwrite each other.
"$work/venv/bin/pip" install --quiet --no-deps \
    rtmlib==0.0.16 numpy==2.4.6 opencv-python-headless==5.0.0.93 tqdm==4.70.1

cd "$work"
venv/bin/python - <<'PYTHON'
import numpy as np
from rtmlib import PoseTracker

IMAGE = np.zeros((480, 1600, 3), np.uint8)
FRAMES = 60
BODY_PX = np.array([[0, 0], [100, 0], [0, 100], [100, 100], [50, 50]], float)
scene: list[np.ndarray] = []  # the joints of everyone in the picture


class Detector:
    """Finds everyone, in the order of the scene."""

    det_mode = "human"
    runs = 0

    def __call__(self, image):
        Detector.runs += 1
        return np.array([[*joints.min(0), *joints.max(0)] for joints in scene])


class Pose:
    """Gives each box the joints of the person next to its middle."""

    def __call__(self, image, bboxes):
        if len(bboxes) == 0:  # as rtmlib's own: the whole picture is the box
            bboxes = [[0, 0, image.shape[1], image.shape[0]]]
        middles = [np.array([box[0] + box[2], box[1] + box[3]]) / 2 for box in bboxes]
        found = [
            min(scene, key=lambda joints: np.abs(joints.mean(0) - middle).sum())
            for middle in middles
        ]
        return np.array(found), np.ones((len(found), len(BODY_PX)))


class Solution:
    def __init__(self, **options):
        self.det_model, self.pose_model = Detector(), Pose()


def person(x_px: float) -> np.ndarray:
    return BODY_PX + [x_px, 100]


tracker = PoseTracker(Solution, det_frequency=5)
for frame in range(FRAMES):
    scene = [person(500 + 4 * frame)]  # one who stays
    if frame < 7:
        scene.insert(0, person(4 * frame))  # one who leaves
    if frame >= 20:
        scene.append(person(1200 + 4 * frame - 80))  # one who comes
    poses, _ = tracker(IMAGE)
print(f"detector runs in {FRAMES} frames: {Detector.runs}, people in the last frame: "
      f"{len(poses)} of {len(scene)}, frames counted: {tracker.frame_cnt}")
assert (Detector.runs, len(poses), len(scene), tracker.frame_cnt) == (2, 1, 2, 7)

names = {0: "A", 400: "B", 800: "C"}
tracker = PoseTracker(Solution, det_frequency=1)
for order in ([0, 400, 800], [400, 800, 0]):
    scene = [person(x_px) for x_px in order]
    poses, _ = tracker(IMAGE)
returned = [names[int(joints[0, 0])] for joints in poses]
print(f"found: [B, C, A], returned: [{', '.join(returned)}]")
assert returned == ["C", "A", "B"]
PYTHON
