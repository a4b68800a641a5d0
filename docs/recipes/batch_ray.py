"""Poses of very many photos with Ray Data, on one machine or a cluster.

    pip install 'distilpose[openvino]' 'ray[data]'
    python batch_ray.py PHOTOS OUT

PHOTOS and OUT are folders, local or remote such as s3://bucket/photos. OUT gets Parquet files with
one row per photo: its path, its size, its people, or the error. Ray sends usage statistics to its
makers unless RAY_USAGE_STATS_ENABLED=0 is set.
"""

import argparse
import os
from typing import Any

from distilpose.model import pictures
from distilpose.model.errors import PictureError
from distilpose.model.formats import SUFFIXES
from distilpose.model.load import load_models


class Poser:
    """Both networks, loaded once in each worker."""

    def __init__(self, threads: int) -> None:
        self.predictor = load_models(threads=threads).predictor

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Convert a batch of files to rows."""
        rows = [self.row(*file) for file in zip(batch["path"], batch["bytes"], strict=True)]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def row(self, path: str, data: bytes) -> dict[str, Any]:
        """Find the people in one photo; a broken one does not affect the others."""
        try:
            image = pictures.read(data)
        except PictureError as err:
            return {"path": path, "width": 0, "height": 0, "people": [], "error": str(err)}
        [found] = self.predictor.detect([image], min_box_score=0.25)
        poses = self.predictor.poses(image, found.boxes_xyxy_px, found.scores)
        people = [
            {
                "score": pose.score,
                "box_xyxy_px": pose.box_xyxy_px.tolist(),
                "keypoints_xy_px": pose.keypoints_xy_px.ravel().tolist(),
                "keypoint_score": pose.keypoint_score.tolist(),
            }
            for pose in poses
        ]
        height, width, _ = image.shape
        return {"path": path, "width": width, "height": height, "people": people, "error": ""}


def main() -> None:
    """Read, compute, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=1, help="one for each device")
    spare = max(1, (os.cpu_count() or 1) - 1)
    parser.add_argument(
        "--cpus", type=int, default=spare, help="cores per worker; leave one for reading files"
    )
    parser.add_argument("--gpus", type=float, default=0, help="GPUs per worker")
    arguments = parser.parse_args()

    import ray.data  # noqa: PLC0415 - the rest works, and is tested, without it

    files = ray.data.read_binary_files(
        arguments.photos,
        include_paths=True,
        file_extensions=[suffix.removeprefix(".") for suffix in sorted(SUFFIXES)],
    )
    poses = files.map_batches(
        Poser,
        fn_constructor_args=(arguments.cpus,),
        batch_size=32,
        compute=ray.data.ActorPoolStrategy(size=arguments.workers),
        num_cpus=arguments.cpus,
        num_gpus=arguments.gpus,
    )
    poses.write_parquet(arguments.out)


if __name__ == "__main__":
    main()
