#!/usr/bin/env bash
# Versions: norfair 2.3.0, filterpy 1.4.5, numpy 1.26.4, scipy 1.17.1
# Guess: a joint whose score passes the tracker's threshold for the first time is put where it was
#   detected, and starts at rest; that is what norfair's code sets out to do, since OpenPose has
#   unsure joints at (0, 0). Which other joints are seen does not matter.
# Seen: two masks of the joints are compared, one laid out as x, y, x, y, the other as all joints
#   twice. So the x of joint k is put in place only if joint 2k (modulo their number) is seen too,
#   and its y only if joint 2k + 1 is. For a left wrist those are the eyes. The wrist of someone who
#   stands still is right at once if he faces the camera. Seen from behind, it is drawn out of the
#   corner, past its place and back, and counts as live all the while:
#     facing the camera: wrist off by 0 0 0 0 0 0 0 0 px, live in all 8 frames
#     seen from behind: wrist off by 223 104 33 6 25 31 31 27 px, live in all 8 frames
#   Each of 17 joints, with one of the others unseen:
#     x wrong if that is joint 2k mod 17, y wrong if it is joint 2k + 1 mod 17, else right
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    norfair==2.3.0 filterpy==1.4.5 numpy==1.26.4 scipy==1.17.1

cd "$work"
venv/bin/python - 2> log <<'PYTHON' || { cat log >&2; exit 1; }
import numpy as np
from norfair import Detection, Tracker
from norfair.distances import create_keypoints_voting_distance

JOINTS, LEFT_EYE, RIGHT_EYE, LEFT_WRIST = 17, 1, 2, 9
STANDING_PX = np.array([[600 + 10 * joint, 300 + 20 * joint] for joint in range(JOINTS)], float)


def follow(late: int, unseen: set[int], frames: int) -> list[tuple[np.ndarray, bool]]:
    """Where `late` is estimated, less where it is; its score is low in the first frame alone."""
    same = create_keypoints_voting_distance(keypoint_distance_threshold=50, detection_threshold=0.3)
    tracker = Tracker(same, distance_threshold=1, detection_threshold=0.3, initialization_delay=0)
    seen = []
    for frame in range(frames + 1):
        scores = np.full(JOINTS, 0.9)
        scores[list(unseen | ({late} if frame == 0 else set()))] = 0.05
        joints = np.where(scores[:, None] > 0.3, STANDING_PX, 0)  # OpenPose's way
        (person,) = tracker.update([Detection(joints, scores)])
        seen.append((person.estimate[late] - STANDING_PX[late], bool(person.live_points[late])))
    return seen[1:]


off_px = {}
for name, unseen in (("facing the camera", set()), ("seen from behind", {LEFT_EYE, RIGHT_EYE})):
    wrist = follow(LEFT_WRIST, unseen, frames=8)
    assert all(live for _, live in wrist)
    off_px[name] = [float(np.hypot(*off)) for off, _ in wrist]
    print(f"{name}: wrist off by {' '.join(f'{px:.0f}' for px in off_px[name])} px, "
          f"live in all {len(wrist)} frames")
assert max(off_px["facing the camera"]) < 1e-6
assert off_px["seen from behind"][0] > 200 and max(off_px["seen from behind"][4:]) > 25

for late in range(JOINTS):
    for other in set(range(JOINTS)) - {late}:
        ((x_px, y_px), _), = follow(late, {other}, frames=1)
        assert abs(x_px) > 100 if other == 2 * late % JOINTS else abs(x_px) < 1e-6
        assert abs(y_px) > 50 if other == (2 * late + 1) % JOINTS else abs(y_px) < 1e-6
print("x wrong if that is joint 2k mod 17, y wrong if it is joint 2k + 1 mod 17, else right")
PYTHON
