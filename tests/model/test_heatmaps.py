"""Targets, simulated heatmaps, mirroring and decoding against the authors' code."""

import numpy as np
import pytest
import torch
from torch import Tensor

from distilpose.model import heatmaps, networks
from distilpose.model.configs import network_config
from golden_rules import filled_state, golden_arrays, image_batch, scaled_error

TARGETS = {key: torch.from_numpy(value) for key, value in golden_arrays("targets").items()}


def _keypoints() -> tuple[Tensor, Tensor]:
    return TARGETS["joints"][None], TARGETS["visible"][None, :, 0]


def test_the_regression_target_is_the_published_one() -> None:
    target = heatmaps.regression_target(*_keypoints())
    assert scaled_error(target.xy_crop[0], TARGETS["regression_target"].numpy()) <= 1e-6
    assert target.weight[0].tolist() == TARGETS["regression_weight"][:, 0].tolist()


def test_the_heatmap_target_is_the_published_one() -> None:
    target = heatmaps.heatmap_target(*_keypoints())
    maps_KHW = target.heatmaps_BKHW[0]
    assert scaled_error(maps_KHW[:, ::2, ::2], TARGETS["heatmap_target"].numpy()) <= 1e-5
    assert scaled_error(maps_KHW.sum(dim=(1, 2)), TARGETS["heatmap_target_sum"].numpy()) <= 1e-5
    assert scaled_error(maps_KHW.amax(dim=(1, 2)), TARGETS["heatmap_target_max"].numpy()) <= 1e-5
    assert target.weight[0].tolist() == TARGETS["heatmap_weight"][:, 0].tolist()


def test_a_keypoint_half_trusted_keeps_its_weight_and_a_whole_heatmap() -> None:
    target = heatmaps.heatmap_target(torch.tensor([[[96.0, 128.0]]]), torch.tensor([[0.5]]))
    assert target.weight.tolist() == [[0.5]]
    assert float(target.heatmaps_BKHW[0, 0, 32, 24]) == 1


def test_a_keypoint_on_the_crops_last_pixel_is_inside_and_one_beyond_is_not() -> None:
    keypoints = torch.tensor([[[191.0, 255.0], [191.5, 255.0], [-0.5, 0.0]]])
    target = heatmaps.regression_target(keypoints, torch.ones(1, 3))
    assert target.weight.tolist() == [[1, 0, 0]]


def test_simulated_heatmaps_are_the_published_ones() -> None:
    golden = golden_arrays("simulated_heatmap")
    cases = torch.from_numpy(golden["cases"])[None]
    simulated, mask = heatmaps.simulated_heatmaps(cases[..., :2], cases[..., 2:])
    assert scaled_error(simulated[0], golden["heatmap"]) <= 1e-6
    assert mask[0].tolist() == golden["mask"].tolist()


def test_mirrored_heatmaps_come_back_as_published() -> None:
    golden = golden_arrays("heatmap_decode")
    plain, mirrored = _maps(golden["heatmap"]), _maps(golden["heatmap_of_mirrored_image"])
    back = heatmaps.mirror_heatmaps(mirrored)
    assert scaled_error(back[:, :, ::4, ::4], golden["mirrored_back_shifted_sub"]) <= 1e-6
    merged = (plain + back) / 2
    assert scaled_error(merged[:, :, ::4, ::4], golden["merged_sub"]) <= 1e-6


def test_mirroring_swaps_left_and_right_and_moves_one_column() -> None:
    maps_BKHW = torch.zeros(1, 17, 64, 48)
    maps_BKHW[0, 1, 10, 40] = 1
    back = heatmaps.mirror_heatmaps(maps_BKHW)
    assert back.nonzero().tolist() == [[0, 2, 10, 8]]


def test_peaks_are_found_as_published() -> None:
    golden = golden_arrays("heatmap_decode")
    peaks = heatmaps.decode(_maps(golden["heatmap"]))
    difference_cell = peaks.xy_cell.numpy() - golden["decoded_in_heatmap_pixels"]
    assert np.abs(difference_cell).max() <= 1e-3
    assert scaled_error(peaks.value, golden["decoded_maxval"][..., 0]) <= 1e-6


def test_peaks_of_merged_heatmaps_are_found_as_published() -> None:
    golden = golden_arrays("heatmap_decode")
    back = heatmaps.mirror_heatmaps(_maps(golden["heatmap_of_mirrored_image"]))
    peaks = heatmaps.decode((_maps(golden["heatmap"]) + back) / 2)
    size_px = 200 * golden["scale"][:, None]
    corner_px = golden["center"][:, None] - size_px / 2
    xy_px = peaks.xy_cell.numpy() * size_px / [48, 64] + corner_px
    assert np.abs(xy_px - golden["merged_decoded"]).max() <= 1e-3
    assert scaled_error(peaks.value, golden["merged_decoded_maxval"][..., 0]) <= 1e-6


def test_a_gaussian_is_decoded_to_its_mean() -> None:
    target = heatmaps.heatmap_target(torch.tensor([[[100.4, 77.0]]]), torch.ones(1, 1))
    peaks = heatmaps.decode(target.heatmaps_BKHW)
    assert peaks.xy_cell[0, 0].tolist() == pytest.approx([100.4 / 4, 77.0 / 4], abs=1e-3)


def test_a_heatmap_without_a_positive_value_has_no_peak() -> None:
    peaks = heatmaps.decode(torch.zeros(1, 2, 64, 48))
    assert peaks.xy_cell.tolist() == [[[-1, -1], [-1, -1]]]
    assert peaks.value.tolist() == [[0, 0]]


def test_a_peak_at_the_border_keeps_its_cell() -> None:
    maps_BKHW = torch.zeros(1, 1, 64, 48)
    maps_BKHW[0, 0, 63, 1] = 0.7
    peaks = heatmaps.decode(maps_BKHW)
    assert peaks.xy_cell.tolist() == [[[1, 63]]]


def test_a_teachers_flip_test_gives_the_published_heatmaps() -> None:
    teacher = networks.construct(network_config("tokenpose-s"))
    teacher.load_state_dict(filled_state("tokenpose-s"))
    teacher.eval()
    crops_BCHW = image_batch()
    with torch.inference_mode():
        plain = teacher(crops_BCHW).heatmaps_BKHW
        mirrored = teacher(crops_BCHW.flip(-1)).heatmaps_BKHW
    merged = (plain + heatmaps.mirror_heatmaps(mirrored)) / 2
    want = golden_arrays("flip_test_tokenpose-s")["merged_heatmap_sub"]
    assert scaled_error(merged[:, :, ::4, ::4], want) <= 1e-4


def _maps(array: np.ndarray[tuple[int, ...], np.dtype[np.float16]]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def test_shares_of_a_coarser_grid_are_the_means_of_its_cells() -> None:
    target = heatmaps.heatmap_target(torch.tensor([[[96.0, 128.0]]]), torch.ones(1, 1))
    maps = target.heatmaps_BKHW
    shares = heatmaps.cell_shares(maps, (32, 24))
    assert shares.shape == (1, 1, 32, 24)
    expected = maps.view(1, 1, 32, 2, 24, 2).sum(dim=(3, 5)) / maps.sum()
    assert torch.allclose(shares, expected, atol=1e-6)
    assert heatmaps.cell_shares(torch.zeros(1, 1, 64, 48), (32, 24)).sum() == 0
