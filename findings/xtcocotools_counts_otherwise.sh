#!/usr/bin/env bash
# Versions: xtcocotools 1.14.3, pycocotools 2.0.11, numpy 1.26.4
# Guess: xtcocotools, MMPose's evaluator, is pycocotools with more kinds of keypoints: it does not
#   look at the third number of a result's joints, which COCO calls unused, and summarize() sums up
#   what accumulate() has made, as often as it is called.
# Seen: a person none of whose third numbers is above 0 is left out without a word, so exact results
#   with v = 0, or with logits below 0, score nothing:
#     third number 1: pycocotools AP 1.000, xtcocotools AP 1.000
#     third number 0: pycocotools AP 1.000, xtcocotools AP 0.000
#     third number -1.5: pycocotools AP 1.000, xtcocotools AP 0.000
#   For CrowdPose, summarize() evaluates again for easy, medium and hard pictures, and leaves the
#   hard ones' evaluation behind, in `eval` and in `params`. Called twice, with wrong results in the
#   hard one of three pictures:
#     first: AP 0.663, easy 1.000, medium 1.000, hard 0.000; pictures [1, 2, 3]
#     second: AP 0.000, easy 1.000, medium 1.000, hard 0.000; pictures [3]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet xtcocotools==1.14.3 pycocotools==2.0.11 numpy==1.26.4

cd "$work"
venv/bin/python - <<'PYTHON'
import contextlib
import io
import json
from pathlib import Path

import pycocotools.coco
import pycocotools.cocoeval
import xtcocotools.coco
import xtcocotools.cocoeval

JOINTS = 17
CROWD_INDICES = {1: 0.1, 2: 0.5, 3: 0.9}  # easy, medium, hard
quiet = contextlib.redirect_stdout(io.StringIO())


def joints(x_px: int, y_px: int, third: float) -> list[float]:
    places = [(x_px + 8 * joint, y_px + 37 * joint % 90, third) for joint in range(JOINTS)]
    return [number for place in places for number in place]


def person(picture: int, x_px: int, y_px: int) -> dict:
    return {
        "id": 1000 * picture + x_px,
        "image_id": picture,
        "category_id": 1,
        "keypoints": joints(x_px, y_px, 2),
        "num_keypoints": JOINTS,
        "bbox": [x_px, y_px, 8 * JOINTS, 90],
        "area": 8000,
        "iscrowd": 0,
    }


def result(truth: dict, third: float, wrong: bool) -> dict:
    x_px, y_px = truth["bbox"][:2]
    return {
        "image_id": truth["image_id"],
        "category_id": 1,
        "keypoints": joints(x_px + 200 * wrong, y_px, third),
        "score": 0.9,
    }


def evaluated(package, kind: str, results: list[dict]):
    truth = package.coco.COCO("truth.json")
    run = package.cocoeval.COCOeval(truth, truth.loadRes(results), kind)
    run.evaluate()
    run.accumulate()
    return run


people = [person(picture, *at) for picture in CROWD_INDICES for at in ((50, 50), (350, 250))]
pictures = [
    {"id": picture, "file_name": f"{picture}.jpg", "width": 640, "height": 480, "crowdIndex": index}
    for picture, index in CROWD_INDICES.items()
]
categories = [{"id": 1, "name": "person"}]
truth = {"images": pictures, "annotations": people, "categories": categories}
Path("truth.json").write_text(json.dumps(truth))

for third in (1, 0, -1.5):
    results = [result(one, third, wrong=False) for one in people]
    aps = {}
    for package in (pycocotools, xtcocotools):
        with quiet:
            run = evaluated(package, "keypoints", results)
            run.summarize()
        aps[package.__name__] = run.stats[0]
    print(f"third number {third}:", ", ".join(f"{name} AP {ap:.3f}" for name, ap in aps.items()))
    assert aps["pycocotools"] > 0.999
    assert aps["xtcocotools"] > 0.999 if third > 0 else aps["xtcocotools"] == 0

results = [result(one, 1, wrong=one["image_id"] == 3) for one in people]
with quiet:
    run = evaluated(xtcocotools, "keypoints_crowd", results)
seen = []
for name in ("first", "second"):
    looked_at = sorted(int(picture) for picture in run.params.imgIds)
    with quiet:
        run.summarize()
    ap, easy, medium, hard = (float(run.stats[at]) for at in (0, 6, 7, 8))
    print(f"{name}: AP {ap:.3f}, easy {easy:.3f}, medium {medium:.3f}, hard {hard:.3f}; "
          f"pictures {looked_at}")
    seen.append((looked_at, round(ap, 3), easy, medium, hard))
assert seen == [([1, 2, 3], 0.663, 1, 1, 0), ([3], 0, 1, 1, 0)]
PYTHON
