#!/usr/bin/env bash
# Versions: pose-format 0.15.0, numpy 2.4.6, scipy 1.17.1
# Guess: Pose.interpolate(50) on 25 frames a second keeps every frame and puts one between each
#   two; a joint that was missing for 15 frames stays missing there, and confidences stay
#   between 0 and 1.
# Seen: coordinates and confidences go through one cubic spline across every gap. The missing
#   joint is there in all frames, with confidences far below 0, and not masked, since only a
#   confidence of exactly 0 masks. The first and the last frame keep their places, the number
#   doubles, so 49 steps cover what 48 should, and time runs slow:
#     joint missing in 15 of 25 frames at 25 a second, in 0 of 50 at 50 a second
#     confidence -3.71 to 1.06
#     a joint that moves at 250 px/s: 244.9 px/s
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pose-format==0.15.0 numpy==2.4.6 scipy==1.17.1

cd "$work"
venv/bin/python - <<'PYTHON'
import numpy as np
from pose_format import Pose, PoseHeader
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeaderComponent, PoseHeaderDimensions

FRAMES, FPS, SPEED_PX_S = 25, 25, 250
joints = np.zeros((FRAMES, 1, 2, 2), np.float32)
joints[..., 0] = (np.arange(FRAMES) * SPEED_PX_S / FPS)[:, None, None]
joints[..., 1] = 50
confidence = np.ones((FRAMES, 1, 2), np.float32)
confidence[[4, 20], 0, 1] = 0.2  # on its way out, and coming back
confidence[5:20, 0, 1] = 0
missing = np.repeat((confidence == 0)[..., None], 2, axis=-1)

hand = PoseHeaderComponent("hand", ["wrist", "thumb"], [(0, 1)], [(255, 0, 0)], "XYC")
header = PoseHeader(0.2, PoseHeaderDimensions(640, 480, 0), [hand])
pose = Pose(header, NumPyPoseBody(FPS, np.ma.array(joints, mask=missing), confidence))
twice = pose.interpolate(2 * FPS).body

gaps = [int(body.data.mask[:, 0, 1, 0].sum()) for body in (pose.body, twice)]
low, high = twice.confidence.min(), twice.confidence.max()
speed_px_s = float(np.diff(twice.data[:, 0, 0, 0]).mean()) * twice.fps
print(f"joint missing in {gaps[0]} of {FRAMES} frames at {FPS} a second, "
      f"in {gaps[1]} of {len(twice.data)} at {twice.fps} a second")
print(f"confidence {low:.2f} to {high:.2f}")
print(f"a joint that moves at {SPEED_PX_S} px/s: {speed_px_s:.1f} px/s")
assert gaps == [15, 0] and len(twice.data) == 50
assert low < -3 and high > 1.05
assert abs(speed_px_s - 244.9) < 0.1
PYTHON
