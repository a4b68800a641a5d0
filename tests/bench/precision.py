"""The changes by bfloat16 on a folder of labelled people, beside the limits of the tests.

    python tests/bench/precision.py FOLDER [PICTURES]

ONEDNN_MAX_CPU_ISA=AVX2, AVX512_CORE or AVX512_CORE_BF16 selects the kernels of another CPU.
"""

import os
import sys
from itertools import islice
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

import numpy as np
import torch

import precisions
from distilpose.model import crop, geometry
from distilpose.model.arrays import CropsBHWC
from distilpose.model.data.people import PeopleFolder
from distilpose.model.data.person import Picture
from distilpose.model.load import packaged_student
from distilpose.model.runtime.precision import PRECISIONS
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.runtime.pytorch.devices import use_threads
from distilpose.model.runtime.pytorch.engine import TorchEngine
from distilpose.model.weights import load

CPU = torch.device("cpu")
PICTURES = 75


def of_people(folder: PeopleFolder, count: int) -> list[Picture]:
    """The first pictures with a person who has labelled keypoints."""
    theirs = (each for each in folder.pictures if any(p.can_be_measured for p in each.people))
    return list(islice(theirs, count))


def boxes(folder: PeopleFolder, pictures: list[Picture]) -> None:
    """Print the differences for people whom one precision finds with certainty."""
    detectors = [TorchDetector.load(precision=precision) for precision in PRECISIONS]
    changes = []
    for picture in pictures:
        image = folder.read(picture)
        exact, rough = (each.detect([image], min_box_score=0.05)[0] for each in detectors)
        changes += [precisions.box_changes(exact, rough), precisions.box_changes(rough, exact)]
    ious, scores = (np.concatenate(column) for column in zip(*changes, strict=True))
    print(f"boxes from score {precisions.SURE_BOX_SCORE}: {len(ious)} in {len(pictures)} pictures")
    print(f"  least IoU            {ious.min():.4f}, allowed {precisions.MIN_IOU}")
    print(f"  most change of score {scores.max():.4f}, allowed {precisions.MAX_BOX_SCORE_CHANGE}")


def people(folder: PeopleFolder, pictures: list[Picture]) -> CropsBHWC:
    """Crops of the labelled people."""
    crops = []
    for picture in pictures:
        labelled = [each.box_xyxy_px for each in picture.people if each.can_be_measured]
        crops.append(crop.cut(folder.read(picture), geometry.crop_regions(np.array(labelled))))
    return np.concatenate(crops)


def poses(crops_BHWC: CropsBHWC) -> None:
    """Print the shifts of keypoints."""
    exact, rough = (
        TorchEngine(
            load(packaged_student()).network, device="cpu", precision=precision, buckets=(8,)
        )
        for precision in PRECISIONS
    )
    changes = precisions.pose_changes(exact.run(crops_BHWC), rough.run(crops_BHWC))
    shift, score = changes.sure_shift_crop_px.max(), changes.raw_score.max()
    print(f"poses of {len(crops_BHWC)} people")
    print(f"  least OKS            {changes.oks.min():.4f}, allowed {precisions.MIN_OKS}")
    print(f"  most shift, if sure  {shift:.3f} crop px, allowed {precisions.MAX_SHIFT_CROP_PX}")
    print(f"  most change of score {score:.4f}, allowed {precisions.MAX_RAW_SCORE_CHANGE}")


def main() -> None:
    """Print the changes."""
    folder = PeopleFolder(Path(sys.argv[1]))
    pictures = of_people(folder, int(sys.argv[2]) if len(sys.argv) > 2 else PICTURES)
    use_threads()
    print(f"oneDNN's kernels: up to {os.environ.get('ONEDNN_MAX_CPU_ISA', 'what the CPU has')}")
    boxes(folder, pictures)
    poses(people(folder, pictures))


if __name__ == "__main__":
    main()
