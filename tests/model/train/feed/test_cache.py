"""Crops on disk: their contents, when the cache is rebuilt, and rejected input."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from distilpose.model import crop
from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.geometry import CropRegions
from distilpose.model.train.feed.cache import (
    EVALUATION,
    STORE_MARGIN,
    CropCache,
    build_cache,
    open_cache,
    select,
)
from distilpose.model.train.feed.table import CropFormat
from labelled import FRONTAL, encoded, person, picture, write_folder

SMALL = CropFormat(64, 48, margin=1.0)


def two_pictures(folder: Path) -> PeopleFolder:
    pictures = [picture(20), picture(31)]
    return write_folder(folder, pictures, [person(20, FRONTAL), person(31, FRONTAL), person(31)])


def build(people_folder: PeopleFolder, out: Path, **options: Any) -> CropCache:
    return build_cache(people_folder, out, **{"workers": 1} | options)


def test_an_evaluation_crop_is_the_networks_input(tmp_path: Path) -> None:
    people_folder = two_pictures(tmp_path)
    cache = build(people_folder, tmp_path / "cache", crop_format=EVALUATION)
    regions = CropRegions(cache.table.center_xy_px[:1], cache.table.region_wh_px[:1])
    want = crop.cut(people_folder.read(people_folder.pictures[0]), regions)
    assert np.array_equal(cache.crops_NHWC[:1], want)


def test_a_training_crop_shows_what_its_keypoints_lie_on(tmp_path: Path) -> None:
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[29:32, 69:72] = (0, 255, 0)  # around the left shoulder
    files = {"1.png": encoded(pixels)}
    people_folder = write_folder(tmp_path, [picture(1)], [person(1, FRONTAL)], files=files)
    cache = build(people_folder, tmp_path / "cache")
    assert cache.crops_NHWC.shape == (1, 352, 264, 3)
    bright_yx = np.argwhere(cache.crops_NHWC[0, :, :, 1] > 127)
    assert bright_yx.mean(axis=0)[::-1] == pytest.approx(cache.table.xy_store_px[0, 5], abs=0.5)
    region_wh_store_px = np.array([264, 352]) / STORE_MARGIN
    box_px = cache.table.box_wh_store_px[0] / region_wh_store_px * cache.table.region_wh_px[0]
    assert box_px == pytest.approx([29, 79])


def test_crops_are_black_outside_the_picture(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [picture(1)], [person(1, FRONTAL)])
    corner = build(people_folder, tmp_path / "cache").crops_NHWC[0, 0]
    assert corner.max() == 0


def test_several_processes_cut_what_one_does(tmp_path: Path) -> None:
    people_folder = two_pictures(tmp_path)
    one = build(people_folder, tmp_path / "one", crop_format=SMALL)
    two = build(people_folder, tmp_path / "two", crop_format=SMALL, workers=2)
    assert np.array_equal(one.crops_NHWC, two.crops_NHWC)
    assert one.crops_NHWC.std() > 0


def test_progress_counts_pictures(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    people_folder = two_pictures(tmp_path)
    build(people_folder, tmp_path / "cache", on_progress=lambda *counts: progress.append(counts))
    assert progress == [(1, 2), (2, 2)]


class Count:
    """Counts the pictures that were cut."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, done: int, total: int) -> None:
        self.pictures += 1


def test_a_cache_that_fits_is_not_cut_again(tmp_path: Path) -> None:
    first = build(two_pictures(tmp_path), tmp_path / "cache", crop_format=SMALL)
    count = Count()
    again = build(PeopleFolder(tmp_path), tmp_path / "cache", crop_format=SMALL, on_progress=count)
    assert count.pictures == 0
    assert again.digest == first.digest


def moved_nose(folder: Path) -> PeopleFolder:
    path = folder / "coco.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["keypoints"][0] += 1
    path.write_text(json.dumps(document))
    return PeopleFolder(folder)


def renamed_picture(folder: Path) -> PeopleFolder:
    (folder / "20.png").rename(folder / "0020.png")
    path = folder / "coco.json"
    path.write_text(path.read_text().replace('"20.png"', '"0020.png"'))
    return PeopleFolder(folder)


@pytest.mark.parametrize("change", [moved_nose, renamed_picture])
def test_changed_annotations_are_cut_anew(tmp_path: Path, change: Any) -> None:
    first = build(two_pictures(tmp_path), tmp_path / "cache", crop_format=SMALL)
    count = Count()
    again = build(change(tmp_path), tmp_path / "cache", crop_format=SMALL, on_progress=count)
    assert count.pictures == 2
    assert again.digest != first.digest


def test_another_format_is_cut_anew(tmp_path: Path) -> None:
    people_folder = two_pictures(tmp_path)
    build(people_folder, tmp_path / "cache", crop_format=SMALL)
    again = build(people_folder, tmp_path / "cache", crop_format=SMALL._replace(margin=1.5))
    assert again.crops_NHWC.shape == (3, 64, 48, 3)
    assert again.digest != build(people_folder, tmp_path / "other", crop_format=SMALL).digest


def test_two_builders_of_one_folder_cut_it_once(tmp_path: Path) -> None:
    people_folder, count = two_pictures(tmp_path), Count()
    with ThreadPoolExecutor(2) as builders:
        caches = builders.map(
            lambda _: build(people_folder, tmp_path / "cache", on_progress=count), range(2)
        )
        assert [len(cache) for cache in caches] == [3, 3]
    assert count.pictures == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_picture_that_cannot_be_read_stops_the_build_by_name(
    tmp_path: Path, workers: int
) -> None:
    people_folder = write_folder(
        tmp_path,
        [picture(1), picture(2)],
        [person(1), person(2)],
        files={"2.png": b"no picture"},
    )
    with pytest.raises(DataError, match=r"2\.png: the image is not of a known format"):
        build(people_folder, tmp_path / "cache", workers=workers)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_disk_that_is_too_small_is_refused_before_anything_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(NamedTuple):
        free: int = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Full())
    with pytest.raises(DataError, match=r"needs 0\.00 GB for 3 people, and the disk has 0\.00 GB"):
        build(two_pictures(tmp_path), tmp_path / "cache")


@pytest.mark.parametrize("missing", ["people.npz", "crops.npy"])
def test_an_unfinished_cache_is_refused(tmp_path: Path, missing: str) -> None:
    build(two_pictures(tmp_path), tmp_path / "cache", crop_format=SMALL)
    (tmp_path / "cache" / missing).unlink()
    with pytest.raises(DataError, match="cache: is not a finished crop cache"):
        open_cache(tmp_path / "cache")


def test_a_table_of_other_crops_is_refused(tmp_path: Path) -> None:
    build(two_pictures(tmp_path), tmp_path / "cache", crop_format=SMALL)
    np.save(tmp_path / "cache" / "crops.npy", np.zeros((2, 64, 48, 3), np.uint8))
    with pytest.raises(DataError, match="has 2 crops for 3 people"):
        open_cache(tmp_path / "cache")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> CropCache:
    """A cache with rows 0 to 4, the first two of a held-out picture."""
    folder = tmp_path_factory.mktemp("mixed")
    write_folder(folder, [picture(20), picture(21)], [person(20, FRONTAL), person(20), person(21)])
    people = [person(40, FRONTAL, label="mixed"), person(41, FRONTAL, label="pseudo")]
    write_folder(folder, [picture(40), picture(41)], people, source="lspet")
    return build(PeopleFolder(folder), folder / "cache", crop_format=SMALL)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({}, [2, 4]),
        ({"holdout": "only"}, [0, 1, 3]),
        ({"holdout": "include"}, [0, 1, 2, 3, 4]),
    ],
)
def test_people_are_selected(mixed: CropCache, wanted: dict[str, Any], rows: list[int]) -> None:
    assert select(mixed, **wanted).tolist() == rows


def test_a_selection_of_nobody_is_refused(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [picture(1)], [person(1, FRONTAL)])
    cache = build(people_folder, tmp_path / "cache", crop_format=SMALL)
    with pytest.raises(DataError, match="nobody is left of 1 people: hold-out only"):
        select(cache, holdout="only")
