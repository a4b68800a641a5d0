"""Batches of stored people: their order, shares and contents."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from distilpose.model.errors import DataError
from distilpose.model.train.feed.batch import StoredBatch
from distilpose.model.train.feed.cache import CropCache
from distilpose.model.train.feed.loader import Loader, MappedCrops, ResidentCrops
from distilpose.model.train.feed.table import PeopleTable

CPU = torch.device("cpu")
COUNT = 10


def small_cache() -> CropCache:
    """Ten people, each identified by the colour of a tiny crop; the last two from `lspet`."""
    number = np.arange(COUNT)
    crops_NHWC = np.zeros((COUNT, 4, 3, 3), np.uint8)
    crops_NHWC[:] = number[:, None, None, None]
    weight = np.ones((COUNT, 17), np.float32)
    weight[:, 1], weight[:, 2] = 0.25, 0
    table = PeopleTable(
        xy_store_px=np.tile(number[:, None, None], (1, 17, 2)).astype(np.float32),
        weight=weight,
        box_wh_store_px=np.tile(number[:, None], (1, 2)).astype(np.float32),
        center_xy_px=np.zeros((COUNT, 2), np.float32),
        region_wh_px=np.ones((COUNT, 2), np.float32),
        area_px2=np.ones(COUNT, np.float32),
        xy_px=np.zeros((COUNT, 17, 2), np.float32),
        picture_id=number,
        person_index=np.zeros(COUNT, np.int64),
        label=np.array(["human"] * 8 + ["pseudo"] * 2),
        source=np.array(["coco"] * 8 + ["lspet"] * 2),
    )
    return CropCache(crops_NHWC, table, "digest")


def loader(**options: Any) -> Loader:
    defaults: dict[str, Any] = {"batch_size": 2, "seed": 0, "device": CPU, "resident": False}
    rows = options.pop("rows", np.arange(COUNT))
    return Loader(small_cache(), rows, **defaults | options)


def people(batches: Iterator[StoredBatch]) -> list[list[int]]:
    return [batch.crops_BHWC[:, 0, 0, 0].tolist() for batch in batches]


def everyone(batches: Iterator[StoredBatch]) -> list[int]:
    return sorted(person for batch in people(batches) for person in batch)


def test_an_epoch_has_everyone_once() -> None:
    assert everyone(loader().epoch(0)) == list(range(COUNT))


def test_an_epochs_order_follows_from_seed_and_number_alone() -> None:
    first = loader()
    assert people(first.epoch(3)) == people(first.epoch(3)) == people(loader().epoch(3))


@pytest.mark.parametrize(
    "other", [lambda: loader().epoch(1), lambda: loader(seed=1).epoch(0)], ids=["epoch", "seed"]
)
def test_another_epoch_or_seed_has_another_order(
    other: Callable[[], Iterator[StoredBatch]],
) -> None:
    assert people(other()) != people(loader().epoch(0))


def test_an_epoch_can_begin_in_its_middle() -> None:
    assert people(loader().epoch(0, first_step=3)) == people(loader().epoch(0))[3:]


def test_all_fields_of_a_batch_are_the_same_peoples() -> None:
    batches = list(loader().epoch(0))
    assert len(batches) == COUNT // 2
    for batch in batches:
        number = batch.crops_BHWC[:, 0, 0, 0].float()
        assert batch.crops_BHWC.shape == (2, 4, 3, 3)
        assert batch.crops_BHWC.dtype == torch.uint8
        assert torch.equal(batch.xy_store_px[:, 16, 1], number)
        assert torch.equal(batch.box_wh_store_px[:, 0], number)
        assert batch.picture_id.tolist() == number.tolist()


@pytest.mark.parametrize("kept", [ResidentCrops, MappedCrops])
def test_crops_are_the_same_in_memory_and_on_the_disk(
    kept: type[ResidentCrops] | type[MappedCrops],
) -> None:
    crops_NHWC = np.random.default_rng(0).integers(0, 256, (9, 4, 3, 3), np.uint8)
    rows = np.array([8, 1, 5, 2])
    batches = [np.array([3, 0]), np.array([1, 1]), np.array([2])]
    read = list(kept(crops_NHWC, rows, CPU).read(batches))
    for crops_BHWC, people in zip(read, batches, strict=True):
        assert np.array_equal(crops_BHWC.numpy(), crops_NHWC[rows[people]])


def test_only_the_given_rows_are_loaded() -> None:
    assert everyone(loader(rows=np.array([7, 1, 4, 9])).epoch(0)) == [1, 4, 7, 9]


def test_everyone_comes_in_order_with_a_smaller_last_batch() -> None:
    rows = np.array([7, 1, 4, 9, 2])
    assert people(loader(rows=rows).in_order()) == [[7, 1], [4, 9], [2]]


def test_the_last_batch_is_filled_with_the_epochs_first_people() -> None:
    short = loader(batch_size=4)
    batches = people(short.epoch(0))
    assert short.steps_per_epoch == len(batches) == 3
    assert batches[2][2:] == batches[0][:2]


def test_fewer_people_than_a_batch_fill_it() -> None:
    assert everyone(loader(rows=np.array([3]), batch_size=4).epoch(0)) == [3, 3, 3, 3]


def test_processes_share_the_batch_of_one() -> None:
    shares = [people(loader(rank=rank, world_size=2).epoch(0)) for rank in range(2)]
    together = [[*first, *second] for first, second in zip(*shares, strict=True)]
    assert together == people(loader(batch_size=4).epoch(0))


def test_every_process_has_as_many_batches() -> None:
    loaders = [loader(rank=rank, world_size=3) for rank in range(3)]
    assert [each.steps_per_epoch for each in loaders] == [2, 2, 2]
    assert [len(people(each.epoch(0))) for each in loaders] == [2, 2, 2]


def test_a_source_is_repeated() -> None:
    doubled = loader(repeat={"lspet": 2})
    assert doubled.steps_per_epoch == 6
    assert everyone(doubled.epoch(0)) == [*range(8), 8, 8, 9, 9]


def test_a_repeated_source_must_be_there() -> None:
    with pytest.raises(DataError, match="no source lspt, only coco, lspet"):
        loader(repeat={"lspt": 2})


def test_nobody_to_load_is_refused() -> None:
    with pytest.raises(DataError, match="nobody is left to load"):
        loader(rows=np.array([], np.intp))


def test_weights_are_multiplied_by_their_labels() -> None:
    [batch] = loader(batch_size=COUNT, label_weight={"pseudo": 0.5}).in_order()
    assert batch.weight[7, :3].tolist() == [1, 0.25, 0]
    assert batch.weight[8, :3].tolist() == [0.5, 0.125, 0]


def test_keypoints_of_little_trust_do_not_count() -> None:
    [batch] = loader(
        batch_size=COUNT, label_weight={"pseudo": 0.1}, min_keypoint_weight=0.3
    ).in_order()
    assert batch.weight[0, :2].tolist() == [1, 0]
    assert batch.weight[8, :2].tolist() == pytest.approx([0.1, 0])


def test_an_epoch_left_in_the_middle_leaves_no_reader() -> None:
    before = threading.active_count()
    batches = loader().epoch(0)
    next(batches)
    del batches
    assert threading.active_count() == before


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False])
def test_a_gpu_gets_the_batches_of_the_cpu(resident: bool) -> None:
    on_gpu = loader(device=torch.device("cuda"), resident=resident)
    assert people(on_gpu.epoch(0)) == people(loader().epoch(0))
