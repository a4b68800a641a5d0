"""Both networks from their files or, without torch, from the cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distilpose.model.container import usable_cpus
from distilpose.model.errors import WeightsError
from distilpose.model.files.cache import FileCache
from distilpose.model.header import digest_of
from distilpose.model.load import packaged_student
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.runtime.openvino import loading
from distilpose.model.runtime.openvino.detector import OpenVinoDetector
from distilpose.model.runtime.openvino.engine import OpenVinoEngine
from distilpose.model.runtime.precision import PRECISIONS, Precision
from distilpose.model.weights import read_tensors, write_tensors

_ONE_PHOTO = """
import sys
from pathlib import Path
import numpy as np
from distilpose.model.files.cache import FileCache
from distilpose.model.load import load_models
from photos import photo
from odd_images import read

image = read(photo("bus.jpg"))
predictor = load_models(device=sys.argv[2], cache=FileCache(Path(sys.argv[1]))).predictor
[found] = predictor.detect([image], min_box_score=0.25)
poses = predictor.poses(image, *found)
print(np.stack([pose.keypoints_xy_px for pose in poses]).tobytes().hex())
print(sorted({"torch", "ultralytics"} & sys.modules.keys()))
"""


def answered(folder: Path, device: str = "cpu") -> list[str]:
    """The keypoints of a photo in a process of its own, and the heavy packages it imported."""
    command = [sys.executable, "-c", _ONE_PHOTO, str(folder), device]
    support = str(Path(__file__).parents[3] / "support")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([support, os.environ.get("PYTHONPATH", "")]),
        },
    )
    return done.stdout.splitlines()


def test_the_second_process_answers_the_same_without_torch(tmp_path: Path) -> None:
    first, second = answered(tmp_path), answered(tmp_path)
    assert len(first[0]) > 4 * 17 * 2
    assert second[0] == first[0]
    assert [first[1], second[1]] == ["['torch', 'ultralytics']", "[]"]


def detector(path: Path, cache: FileCache) -> OpenVinoDetector:
    return loading.load_detector(
        path, precision="float32", threads=usable_cpus(), cache=cache, image_size_px=64
    )


def student(cache: FileCache | None, precision: Precision) -> OpenVinoEngine:
    return loading.load_student(
        packaged_student(),
        digest_of(packaged_student()),
        precision=precision,
        threads=usable_cpus(),
        buckets=(1, 2),
        cache=cache,
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_answer_does_not_depend_on_what_is_kept(tmp_path: Path, precision: Precision) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (1, 256, 192, 3), np.uint8)
    student(FileCache(tmp_path), precision)  # which keeps the graph, and no program
    answers = [
        student(cache, precision).run(crops) for cache in (None, FileCache(tmp_path / "new"))
    ]
    answers += [student(FileCache(tmp_path), precision).run(crops) for _ in range(2)]
    for answer in answers[1:]:
        for column, expected in zip(answer, answers[0], strict=True):
            np.testing.assert_array_equal(column, expected)


def test_facts_of_a_detector_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FileCache(tmp_path)
    first = detector(PACKAGED, cache)
    first.warm_up()
    monkeypatch.setitem(sys.modules, "distilpose.model.runtime.pytorch.yolo", None)
    second = detector(PACKAGED, cache)
    assert (second.name, second.sha256, second.canvases) == (
        first.name,
        first.sha256,
        first.canvases,
    )
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    least = np.zeros(1, np.float32)
    [expected], [found] = first.run([noise], least), second.run([noise], least)
    np.testing.assert_array_equal(found.boxes_xyxy_px, expected.boxes_xyxy_px)


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    expected = detector(PACKAGED, cache)
    expected.warm_up()
    for file in tmp_path.iterdir():
        file.write_bytes(b"{}")
    again = detector(PACKAGED, cache)
    again.warm_up()
    assert (again.name, again.sha256) == (expected.name, expected.sha256)
    assert min(file.stat().st_size for file in tmp_path.iterdir()) > len("{}")


def test_another_file_of_the_same_name_is_another_network(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache")
    detector(PACKAGED, cache).warm_up()
    before = len(list(cache.folder.iterdir()))
    tensors, card, _ = read_tensors(PACKAGED)
    name = next(iter(tensors))
    write_tensors(tmp_path / PACKAGED.name, {**tensors, name: tensors[name] * 2}, card)
    detector(tmp_path / PACKAGED.name, cache).warm_up()
    assert len(list(cache.folder.iterdir())) == 2 * before


def test_other_code_makes_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FileCache(tmp_path)
    detector(PACKAGED, cache).warm_up()
    before = len(list(tmp_path.iterdir()))
    monkeypatch.setattr(loading, "_code_digest", lambda: "later")
    detector(PACKAGED, cache).warm_up()
    assert len(list(tmp_path.iterdir())) == 2 * before


def test_a_file_that_is_gone_is_missed_whatever_is_kept(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    detector(PACKAGED, cache).warm_up()
    with pytest.raises(WeightsError, match="no such file"):
        detector(tmp_path / PACKAGED.name, cache)


def test_damaged_weights_are_found_when_they_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    path.write_bytes(packaged_student().read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="not a safetensors file"):
        loading.load_student(
            path,
            digest_of(path),
            precision="float32",
            threads=1,
            buckets=(1,),
            cache=FileCache(tmp_path / "cache"),
        )
